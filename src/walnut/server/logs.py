"""The server's own log: structlog over Python's logging, so that libraries' lines look like ours.

    structlog.get_logger() ─┐
    logging.getLogger(...)  ┴▶ one handler ─▶ context, time, level ─▶ hide ─▶ JSON or text ─▶ stderr

What must stay true: no secret is ever written. What looks like one is cut out of the finished line, so
that it doesn't matter in which field, message or traceback it stood.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import msgspec
import structlog

from walnut.server.config.model import LoggingSection

HIDDEN: Final = "(hidden)"

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""As Python's logging numbers them."""

_SECRET_KEYS: Final = frozenset(
    {
        "authorization",
        "cookie",
        "set-cookie",
        "set_cookie",
        "password",
        "secret",
        "token",
        "api_key",
    }
)
"""Fields whose value is never written, in whatever mapping they stand."""

_SECRETS: Final = re.compile(
    r"(walnut_[A-Za-z0-9]+_)[A-Za-z0-9_-]{8,}"  # our tokens; who they are of stays visible
    r"|(\b(?:[Bb]earer|[Bb]asic) +)[A-Za-z0-9._~+/=-]{8,}"
    r"|(\b(?i:authorization|cookie|password|secret|access_token|api_key)[\"']?\s*[:=]\s*[\"']?)"
    r"(?!\(hidden\))(?:(?i:bearer|basic) +)?[^\s\"',;&]+"
    r"|(://[^/\s:@]*:)[^/\s@]+(?=@)"  # a URL's password
)

_QUIET: Final = {
    "asyncio": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    # Below an error it names WebSockets with their whole address, heads of requests, and upgrades that
    # it does not know: the query, which may hold secrets, and whatever any client likes to send.
    "uvicorn.error": logging.ERROR,
}
"""Loggers of libraries that say more than is of use, at whatever level the log is: requests have lines of
our own, without their queries."""


def configure(section: LoggingSection, stream: TextIO | None = None) -> None:
    """Write the log as the section says; call it again to change that. `stream`: instead of stderr."""
    stream = stream or sys.stderr
    text = section.format == "text" or (section.format == "auto" and stream.isatty())
    # Who watches wants the time on the wall; who reads it later, elsewhere, the whole moment.
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        stamp,
        hide_fields,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(text=text, colors=stream.isatty()),
                hide_in_line,
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    set_level(section)
    logging.captureWarnings(capture=True)


def set_level(section: LoggingSection) -> None:
    """Write what is of this level or above."""
    level = LEVELS[section.level]
    logging.getLogger().setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))


def hide_fields(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave out the values of fields that hold secrets."""
    del logger, method
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS:
            event[key] = HIDDEN
        elif isinstance(value, dict):
            event[key] = {
                name: HIDDEN if str(name).lower() in _SECRET_KEYS else each
                for name, each in value.items()
            }
    return event


def hide_in_line(logger: Any, method: str, line: Any) -> str:
    """Cut out of a finished line what looks like a secret."""
    del logger, method
    return hidden(str(line))


def hidden(text: str) -> str:
    """The text without what looks like a secret in it."""
    return _SECRETS.sub(lambda found: f"{next(filter(None, found.groups()), '')}{HIDDEN}", text)


def _rendering(*, text: bool, colors: bool) -> list[structlog.typing.Processor]:
    if text:
        # Never the tracebacks that show variables: those hold what people sent us.
        return [
            structlog.dev.ConsoleRenderer(
                colors=colors,
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _in_order,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


_FIRST: Final = ("timestamp", "level", "logger", "message")


def _in_order(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """What every line has comes first."""
    del logger, method
    first = {key: event[key] for key in _FIRST if key in event}
    return {**first, **{key: value for key, value in event.items() if key not in first}}


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
