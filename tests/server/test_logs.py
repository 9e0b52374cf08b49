"""The server's log: JSON or text, of one form whoever writes, and never a secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from walnut.server.config.model import LoggingSection
from walnut.server.logs import HIDDEN, configure, hidden

TOKEN = "walnut_8fK2pQ7xTz0c_" + "s3cr3t" * 7 + "x"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def written(section: LoggingSection, stream: io.StringIO, **facts: Any) -> str:
    configure(section, stream)
    structlog.get_logger("walnut.test").info("it happened", **facts)
    return stream.getvalue()


def test_it_is_json_where_no_terminal_is_and_text_where_one_is() -> None:
    line = json.loads(written(LoggingSection(), io.StringIO(), lsn=7))
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "logger": "walnut.test", "message": "it happened", "lsn": 7}
    shown = written(LoggingSection(), Terminal(), lsn=7)
    assert "it happened" in shown
    assert "{" not in shown
    assert written(LoggingSection(format="json"), Terminal()).startswith("{")
    assert not written(LoggingSection(format="text"), io.StringIO()).startswith("{")


def test_lines_of_libraries_look_like_ours_and_carry_the_request() -> None:
    stream = io.StringIO()
    configure(LoggingSection(), stream)
    structlog.contextvars.bind_contextvars(request_id="r1")
    # Not uvicorn itself: tests before this one may have configured its logger.
    logging.getLogger("some.library").warning("odd %s", "bytes")
    line = json.loads(stream.getvalue())
    assert (line["logger"], line["message"], line["request_id"]) == (
        "some.library", "odd bytes", "r1",
    )  # fmt: skip


def test_a_level_is_kept_to_and_configuring_again_writes_each_line_once() -> None:
    stream = io.StringIO()
    configure(LoggingSection(level="debug"), io.StringIO())
    configure(LoggingSection(level="warning"), stream)
    structlog.get_logger("a").info("no")
    logging.getLogger("b").info("no")
    structlog.get_logger("a").warning("yes")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["yes"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_is_written_wherever_it_stands(form: Any) -> None:
    stream = io.StringIO()
    configure(LoggingSection(format=form), stream)
    log = structlog.get_logger("walnut.test")
    log.info(TOKEN, authorization=f"Bearer {TOKEN}", headers={"Cookie": "session=s3cr3t"})
    log.info("url", url="https://me:s3cr3t@host/x", note="password=s3cr3t&x=1")
    logging.getLogger("lib").info("Authorization: Bearer abc.s3cr3t")
    log.error("failed", exc_info=ValueError(f"bad {TOKEN}"))
    assert "s3cr3t" not in stream.getvalue()
    assert stream.getvalue().count(HIDDEN) >= 7
    assert "walnut_8fK2pQ7xTz0c_" in stream.getvalue()  # whose it was is no secret


def test_what_only_looks_a_little_like_a_secret_stays() -> None:
    for text in ("bearer of news", "token: revoked", "walnut_log_bytes", "http://127.0.0.1:8420/x"):
        assert hidden(text) == text
