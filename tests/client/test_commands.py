"""The command line on a directory that a server has open, by its socket and by its URL: the same words
and exit codes as without a server."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.client.server import Scripted
from tests.jobs.office import fill
from tests.store.helpers import SMALL
from walnut.cli import walnut
from walnut.client import Client
from walnut.server.directory import OPERATOR_TOKEN
from walnut.store import Store
from walnut.store.document import Document
from walnut.testing.serving import Serving, serving

Run = Callable[..., Result]


def make(data: Path) -> None:
    """A data directory with notes, and jobs in every state."""
    with Store(data / "store", SMALL) as store:
        notes = store.table("notes", Document, key=lambda note: note.key)
        with store.transaction() as tx:
            notes.put(tx, Document("n1", "buy walnuts"))
        fill(store)
    (data / "walnut.json").write_text('{"format":1,"made_by":"a test"}\n')


def command(where: list[str], place: str | None) -> Run:
    def run(*args: str, stdin: str = "") -> Result:
        named = 1 if args[0] in {"status", "top"} else 2
        words = [*where, *args[:named], *([] if place is None else [place]), *args[named:]]
        return CliRunner().invoke(walnut, words, input=stdin, prog_name="walnut")

    return run


@pytest.fixture(scope="module", params=["stopped", "socket", "url"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a command without its DIR: on a directory nobody has open, that a server has open, or by URL."""
    home = tmp_path_factory.mktemp("commands")
    make(home / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        if request.param == "stopped":
            yield command([], "data")
            return
        with serving(home / "data") as server:
            if request.param == "socket":
                yield command([], "data")
            else:
                patch.setenv("WALNUT_TOKEN", token_of(server))
                yield command(["--url", url_of(server)], None)


def url_of(server: Serving) -> str:
    return str(re.findall(r'"url":"([^"]+)"', server.log.read_text())[-1])


def token_of(server: Serving) -> str:
    return (server.data / OPERATOR_TOKEN).read_text(encoding="utf-8").strip()


def lines(result: Result) -> list[Any]:
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_status_and_top_tell_what_there_is_and_what_to_do(run: Run) -> None:
    told = json.loads(run("status", "--format", "json").stdout)
    assert told["state"] in {"closed", "running"}
    assert (told["jobs"]["dead"], told["paused"]) == (1, ["pages"])
    assert told["durable_lsn"] == told["applied_lsn"] > 0
    assert any("1 job failed for good" in warning for warning in told["warnings"])
    for words in (("status",), ("top", "--once", "--interval", "0.1")):
        shown = run(*words).stdout
        assert "! queue pages is paused" in shown
        assert ("running since" in shown) == (told["state"] == "running")
        assert max(map(len, shown.splitlines())) <= 80


def test_rows_are_put_read_and_deleted_wherever_the_store_is_open(run: Run) -> None:
    assert lines(run("store", "get", "notes", "n1")) == [{"key": "n1", "value": "buy walnuts"}]
    assert run("store", "put", "--new", "rows", '{"key": "a", "value": 1}').stdout == "1 row put\n"
    many = "".join(json.dumps({"key": f"k{n:04}", "value": n}) + "\n" for n in range(1500))
    assert run("store", "put", "rows", "-", stdin=many).stdout == "1,500 rows put\n"
    found = lines(run("store", "scan", "rows", "--start", "k0010", "--limit", "2"))
    assert found == [{"key": "k0010", "value": 10}, {"key": "k0011", "value": 11}]
    assert len(lines(run("store", "scan", "rows"))) == 1501
    assert run("store", "delete", "rows", "a").stdout == "1 row deleted\n"
    gone = run("store", "delete", "rows", "a")
    assert (gone.exit_code, gone.stderr) == (1, "walnut: rows has no row with the key a\n")
    missing = run("store", "get", "rows", "a")
    assert (missing.exit_code, missing.stderr) == (1, "walnut: rows has no row with the key a\n")
    unknown = run("store", "put", "nothing", "{}")
    assert unknown.exit_code == 1
    assert "there is no table 'nothing' in " in unknown.stderr
    assert unknown.stderr.endswith("--new makes one\n")
    names = [table["name"] for table in lines(run("store", "tables"))]
    assert {"notes", "rows"} <= set(names)


def test_a_line_that_is_no_row_is_named_and_whole_transactions_before_it_stay(run: Run) -> None:
    good = "".join(json.dumps({"key": f"g{n:04}", "value": n}) + "\n" for n in range(1500))
    refused = run("store", "put", "--new", "lines", "-", stdin=good + "{oops\n")
    assert refused.exit_code == 1
    assert "row 1501 is none of lines" in refused.stderr
    assert "1000 of them" in refused.stderr
    assert len(lines(run("store", "scan", "lines"))) == 1000


def test_changes_are_told_with_who_and_why(run: Run) -> None:
    row = '{"key": "a", "value": 1}'
    put = run("store", "put", "--new", "told", row, "--by", "ann", "--why", "a test: größer")
    assert put.exit_code == 0
    (last,) = lines(run("store", "changes", "--table", "told"))
    assert (last["table"], last["key"], last["before"]) == ("told", "a", None)
    assert last["after"] == {"key": "a", "value": 1}
    assert "ann" in last["principal"] + last["reason"]
    assert "a test: größer" in last["reason"]
    table = run("store", "changes", "--table", "told", "--format", "table")
    assert table.stdout.splitlines()[0].split() == ["lsn", "time", "table", "key", "now", "by"]


def test_messages_are_appended_read_and_let_go_of(run: Run) -> None:
    assert (
        "made; keeps messages within 1,000 messages"
        in run("topics", "create", "orders", "--keep-messages", "1000").stdout
    )
    again = run("topics", "create", "orders")
    assert again.exit_code == 1
    assert "there is a topic orders already" in again.stderr
    appended = run("topics", "append", "orders", stdin='one\ntwo\n{"three": 3}\n')
    assert appended.stdout == "3 messages appended to orders\n"
    found = lines(run("topics", "read", "orders"))
    assert [(line["offset"], line["value"]) for line in found] == [
        (0, "one"), (1, "two"), (2, '{"three": 3}'),
    ]  # fmt: skip
    assert len(lines(run("topics", "read", "orders", "--start", "1", "--limit", "1"))) == 1
    assert len(lines(run("topics", "tail", "orders", "-n", "2"))) == 2
    whole = "".join(json.dumps(line) + "\n" for line in found)
    copied = run("topics", "append", "--new", "copies", "--json", stdin=whole)
    assert copied.stdout == "3 messages appended to copies\n"
    assert run("topics", "truncate", "orders", "2").stdout == "orders begins at offset 2\n"
    (shown,) = lines(run("topics", "stat", "orders", "--json"))
    assert (shown["first"], shown["next"]) == (2, 3)
    names = [line["name"] for line in lines(run("topics", "list"))]
    assert names == ["copies", "orders"]
    assert run("topics", "delete", "copies").stdout == "copies deleted; it held 3 messages\n"
    unknown = run("topics", "append", "copies", stdin="x\n")
    assert unknown.exit_code == 1
    assert "copies" in unknown.stderr


def test_the_tables_are_flushed(run: Run) -> None:
    done = run("store", "checkpoint")
    assert done.exit_code == 0
    assert "flushed up to LSN" in done.stdout


def test_jobs_are_put_right_wherever_the_store_is_open(run: Run) -> None:
    dead = run("jobs", "dead", "--format", "ids").stdout.split()
    assert len(dead) == 1
    assert run("jobs", "retry", dead[0], "--by", "ann").stdout == "1 job retried\n"
    assert run("jobs", "retry", "--all-dead").stdout == "no dead letters\n"
    again = run("jobs", "drop", dead[0])
    assert again.exit_code == 1
    assert "has not ended" in again.stderr
    assert run("jobs", "cancel", dead[0], "--why", "no more").stdout == "1 job cancelled\n"
    table = run("jobs", "list", "--state", "cancelled")
    assert dead[0][:16] in table.stdout
    assert run("jobs", "drop", dead[0][:16]).stdout == "1 job dropped\n"
    assert run("jobs", "pause", "mail").stdout == "mail is paused\n"
    assert "paused already" in run("jobs", "pause", "mail").stdout
    assert run("jobs", "resume", "mail").stdout == "mail goes on\n"
    refused = run("jobs", "resume", "mail")
    assert refused.exit_code == 1
    assert "mail is not paused" in refused.stderr
    unknown = run("jobs", "pause", "nothing")
    assert unknown.exit_code == 1
    assert "no job is of the queue 'nothing'" in unknown.stderr
    assert run("jobs", "pause", "nothing", "--new").exit_code == 0
    (job,) = lines(run("jobs", "list", "--limit", "1", "--format", "json"))
    (shown,) = lines(run("jobs", "show", job["id"], "--format", "json"))
    assert shown["history"]


# -- what can go wrong ------------------------------------------------------------------------------


def refused(*args: str) -> str:
    done = CliRunner().invoke(walnut, list(args), prog_name="walnut")
    assert done.exit_code == 1
    assert done.stderr.startswith("walnut: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_who_is_not_there_and_who_may_not_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no server answers at http://127.0.0.1:1" in refused(
        "store", "scan", "--url", "http://127.0.0.1:1", "notes"
    )
    with serving("data") as server:
        url = url_of(server)
        monkeypatch.delenv("WALNUT_TOKEN", raising=False)
        assert "token" in refused("store", "tables", "--url", url)
        monkeypatch.setenv("WALNUT_TOKEN", "walnut_wrong_token")
        assert "token" in refused("--url", url, "status")
        monkeypatch.setenv("WALNUT_TOKEN", token_of(server))
        monkeypatch.setenv("WALNUT_URL", url)
        assert CliRunner().invoke(walnut, ["store", "tables"]).exit_code == 0
        monkeypatch.delenv("WALNUT_URL")
        assert "walnut topics append" in refused("log", "append", "data")
        assert "stop the server first" in refused("store", "verify", "data")
        assert "no place for backups is called" in refused("store", "backup", "data", "elsewhere")
    wrong = CliRunner().invoke(walnut, ["log", "verify", "http://localhost:1"], prog_name="walnut")
    assert wrong.exit_code == 2
    assert "works on a directory" in wrong.stderr


def test_a_write_whose_answer_was_lost_is_told_with_the_key_to_send_it_again_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "data")
    monkeypatch.setitem(Client.__init__.__kwdefaults__, "patience", 0.5)  # type: ignore[arg-type]
    with Scripted([None], tmp_path / "data" / "walnut.sock") as server:
        told = refused("store", "put", "data", "notes", '{"key": "a", "value": 1}')
        keys = {request.headers["idempotency-key"] for request in server.requests if request.body}
    assert len(keys) == 1
    assert "may or may not have been done" in told
    assert keys.pop() in told


def test_the_program_starts_without_what_it_does_not_need() -> None:
    code = (
        "import sys; sys.argv = ['walnut', '--version']\n"
        "from walnut.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'rich', 'rocksdict', 'asyncio', 'http.client', 'litestar', 'walnut.log.log'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


# -- completion -----------------------------------------------------------------------------------


COMPLETE = """
set -e
walnut() { %s "$@"; }
source <(walnut completion bash)
complete_() {
    COMP_WORDS=("$@"); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
    _walnut_completion %s
    echo "${COMPREPLY[@]}"
}
complete_ walnut sto
complete_ walnut store scan data no
complete_ walnut store scan nowhere ""
complete_ walnut topics read data ""
"""


@pytest.mark.parametrize("served", [False, True])
def test_bash_completes_commands_tables_and_topics(tmp_path: Path, *, served: bool) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash; enable with: sudo apt-get install bash")
    make(tmp_path / "data")
    program = tmp_path / "walnut"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m walnut.cli "$@"\n')
    program.chmod(0o755)
    with serving(tmp_path / "data") if served else contextlib.nullcontext():
        done = subprocess.run(
            ["bash", "-c", COMPLETE % (program, program)], check=False, cwd=tmp_path,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["store", "notes", "", ""]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    done = CliRunner().invoke(walnut, ["completion", shell], prog_name="walnut")
    assert done.exit_code == 0
    assert "_WALNUT_COMPLETE" in done.stdout
