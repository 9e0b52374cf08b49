"""`walnut jobs`, as people and scripts meet it."""

from __future__ import annotations

import importlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.jobs import office
from tests.jobs.office import fill, jobs_of, put, try_
from tests.store.helpers import SMALL
from walnut.cli import walnut
from walnut.jobs.cli.tables import Layout
from walnut.jobs.graph import Node
from walnut.jobs.history import EVENTS
from walnut.jobs.model import Job, State
from walnut.jobs.overview import endpoints, id_of, tables_of
from walnut.store import Store, StoreReader
from walnut.store.errors import TablesLost

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A directory to be in, with a store `work` that has jobs in every state; their ids."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    with Store("work", SMALL) as store:
        return fill(store)


def run(*args: object) -> Result:
    return CliRunner().invoke(walnut, ["jobs", *map(str, args)], prog_name="walnut")


def said(*args: object) -> str:
    result = run(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def lines(*args: object) -> list[Any]:
    """The lines of JSON that a command printed."""
    return [json.loads(line) for line in said(*args, "--format", "json").splitlines()]


def refused(*args: object, code: int = 1) -> str:
    result = run(*args)
    assert result.exit_code == code
    assert result.stderr.startswith("walnut: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def stored(id_: str) -> Job | None:
    with Store("work", SMALL) as store:
        return jobs_of(store).get(store, id_)


# -- list, dead -----------------------------------------------------------------------------------


def test_jobs_are_listed_the_newest_first_in_whatever_state_they_are(ids: dict[str, str]) -> None:
    found = lines("list", "work")
    assert {job["state"]: job["id"] for job in found} == ids
    assert [job["id"] for job in found] == sorted(ids.values(), reverse=True)
    assert all(TIME.fullmatch(job["created"]) for job in found)
    assert said("list", "work", "--limit", 2, "--format", "ids").split() == [
        job["id"] for job in found[:2]
    ]


def test_a_list_is_of_those_in_a_state_a_queue_of_a_task_and_for_a_tenant(
    ids: dict[str, str],
) -> None:
    def states(*args: object) -> set[str]:
        return {job["state"] for job in lines("list", "work", *args)}

    assert states("--state", "dead", "--state", "DONE") == {"dead", "done"}
    assert states("--queue", "pages") == {"ready", "running"}
    assert states("--task", "app.render", "--state", "ready") == {"ready"}
    assert states("--tenant", "acme") == {"done"}
    assert states("--tenant", "acme", "--state", "dead") == set()


def test_a_table_says_what_there_is_to_say_of_each_job(ids: dict[str, str]) -> None:
    table = said("list", "work")
    for words in ("40%, page 40 of", "waits for 1 job", "TypeError: there is no nob", "OSError: ",
                  "Cancelled: a mistake", "took "):  # fmt: skip
        assert words in table
    assert max(map(len, table.splitlines())) <= 100


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_where_there_is_little_room_an_id_is_still_whole(
    ids: dict[str, str], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in ("list", "dead"):
        table = said(command, "work")
        assert max(map(len, table.splitlines())) <= columns
        assert run("show", "work", table.splitlines()[1].split()[0]).exit_code == 0
    for command in ("timers", "top"):
        assert max(map(len, said(command, "work").splitlines())) <= columns


def test_ids_that_are_shown_are_long_enough_where_jobs_were_made_together(
    ids: dict[str, str],
) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        with store.transaction() as tx:
            for page in range(600):
                jobs.enqueue(tx, jobs._registry.need("app.render"), page)
    shown = [line.split()[0] for line in said("list", "work", "--limit", 600).splitlines()[1:]]
    assert len(set(shown)) == 600
    with StoreReader("work") as reader:
        everything = [job.id for job in tables_of(reader).jobs.scan(reader)]
    assert all(sum(id_.startswith(one) for id_ in everything) == 1 for one in shown)


def test_dead_letters_have_their_error_and_say_how_long_they_are_dead(ids: dict[str, str]) -> None:
    (letter,) = lines("dead", "work")
    assert letter["id"] == ids["dead"]
    assert letter["error"]["message"] == "there is no nobody"
    assert "raise error" in letter["error"]["trace"]
    assert re.search(r"\d (s|ms|min) ago +TypeError: there is no nobody", said("dead", "work"))
    assert lines("dead", "work", "--queue", "pages") == []
    assert said("dead", "work", "--queue", "pages") == "no dead letters\n"


def test_the_letter_that_died_last_is_the_first(ids: dict[str, str]) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        first, second = put(jobs, "app.send", "x"), put(jobs, "app.send", "y")
        try_(jobs, second, TypeError("later enqueued, earlier dead"))
        try_(jobs, first, TypeError("dead at last"))
    assert said("dead", "work", "--limit", 2, "--format", "ids").split() == [first.id, second.id]


# -- show -----------------------------------------------------------------------------------------


def test_show_tells_all_about_a_job(ids: dict[str, str]) -> None:
    (done,) = lines("show", "work", ids["done"])
    assert (done["arguments"], done["result"], done["tenant"]) == (["ann", 2], "ann", "acme")
    (dead,) = lines("show", "work", ids["dead"])
    assert "TypeError" in dead["error"]["trace"]
    assert said("show", "work", ids["dead"]).count("TypeError: there is no nobody") == 3
    blocked = said("show", "work", ids["blocked"])
    assert f"{ids['ready']} app.render, ready" in blocked
    assert "lane cy" in blocked
    assert "priority 2" in said("show", "work", ids["ready"])


def test_the_history_says_when_which_state_by_whom_and_why(ids: dict[str, str]) -> None:
    (job,) = lines("show", "work", ids["cancelled"])
    created, cancelled = job["history"]
    assert (created["state"], created["by"], created["time"]) == ("ready", "ann", job["created"])
    assert (cancelled["state"], cancelled["by"], cancelled["why"]) == (
        "cancelled", "bo", "a mistake",
    )  # fmt: skip
    assert job["history_whole"]
    said_ = said("show", "work", ids["waiting"])
    assert re.search(r"waiting +1 +OSError: connection refused, again in \d", said_)
    assert said("retry", "work", ids["dead"], "--by", "eve", "--why", "fixed") == "1 job retried\n"
    (again,) = lines("show", "work", ids["dead"])
    assert [event["state"] for event in again["history"]] == ["ready", "running", "dead", "ready"]
    assert (again["history"][-1]["by"], again["history"][-1]["why"]) == ("eve", "fixed")


def test_a_long_history_is_shown_from_its_end(ids: dict[str, str]) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        job = put(jobs, "app.render", 1)
        for _ in range(EVENTS):
            with store.transaction() as tx:
                jobs._ledger.claim(tx, [job.id])
            with store.transaction() as tx:
                jobs._ledger._ready(tx, jobs._ledger.need(tx, job.id))
    (found,) = lines("show", "work", job.id)
    assert len(found["history"]) == EVENTS
    assert found["history_left_out"] == EVENTS + 1
    assert f"{EVENTS + 1} changes before these" in said("show", "work", job.id)


def test_history_that_the_log_has_no_more_is_said_to_be_missing(ids: dict[str, str]) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        store.checkpoint()
        many = [put(jobs, "app.send", "x" * 200_000) for _ in range(8)]
        store.checkpoint()
        store.log.truncate_before(store.log.durable_lsn - 2)
        assert store.log.first_lsn > 30
    (old,) = lines("show", "work", ids["dead"])
    assert old["history"] == []
    assert not old["history_whole"]
    assert "the log begins later" in said("show", "work", ids["dead"])
    (new,) = lines("show", "work", many[-1].id)
    assert new["history_whole"]


def test_the_beginning_of_an_id_will_do_and_a_uuid_too(ids: dict[str, str]) -> None:
    id_ = ids["done"]
    hyphened = "-".join((id_[:8], id_[8:12], id_[12:16], id_[16:20], id_[20:]))
    for name in (id_[:20], id_.upper(), hyphened):
        assert lines("show", "work", name)[0]["id"] == id_
    assert id_of("01234567") == "01234567"
    assert id_of("0123456") is id_of("x" * 32) is id_of("0" * 33) is None


def test_arguments_of_any_kind_are_shown(ids: dict[str, str]) -> None:
    given = {"text": b"body", "bytes": b"\xff\x00", "deep": [{"n": None}], "big": 2**63}
    with Store("work", SMALL) as store:
        id_ = put(jobs_of(store), "app.anything", given, {7: (1, 2)}).id
    (job,) = lines("show", "work", id_)
    assert job["arguments"] == [
        {"text": "body", "bytes": {"bytes": "/wA="}, "deep": [{"n": None}], "big": 2**63},
        {"7": [1, 2]},
    ]
    with Store("work", SMALL) as store:
        long = put(jobs_of(store), "app.anything", "x" * 5000, {}).id
    assert "characters more: --format json has them" in " ".join(said("show", "work", long).split())


def test_what_a_task_says_cannot_move_the_cursor(ids: dict[str, str]) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        evil = "\x1b[2J\r\n\x9b"
        id_ = try_(jobs, put(jobs, "app.send", evil, tenant=evil), ValueError(evil)).id
        dead = try_(jobs, put(jobs, "app.send", evil, queue=evil, key=evil), TypeError(evil)).id
        with jobs.store.transaction() as tx:
            jobs.pause(tx, evil)
    for args in (("list",), ("dead",), ("timers",), ("top",), ("show", id_), ("show", dead)):
        shown = said(args[0], "work", *args[1:])
        assert not set(shown) & {"\x1b", "\r", "\x9b"}


# -- workflows ------------------------------------------------------------------------------------


def test_a_workflow_is_shown_with_its_steps_and_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        flow = put(jobs, "app.welcome", "ann")
        with jobs:
            wait_until(lambda: len(list(jobs._steps.steps.scan(store, flow.id))) == 2)
            with store.transaction() as tx:
                jobs.signal(tx, flow, "unasked", 7)
    (found,) = lines("show", "work", flow.id)
    first, second = found["steps"]
    assert (first["done"], first["result"]) == (True, "hello ann")
    assert (second["done"], second["signal"]) == (False, "answer")
    assert TIME.fullmatch(second["due"])
    assert found["signals"] == [{"name": "unasked", "payload": 7}]
    shown = said("show", "work", flow.id)
    assert '"hello ann"' in shown
    assert "signal 'unasked' has come" in shown
    assert "step 1 of app.welcome" in said("timers", "work")


# -- timers ---------------------------------------------------------------------------------------


def test_timers_are_listed_with_their_lateness_and_schedules_with_next_and_last(
    ids: dict[str, str],
) -> None:
    retried, schedule_timer, timer, schedule = lines("timers", "work")
    assert (retried["kind"], retried["target"], retried["id"]) == ("timer", "job", ids["waiting"])
    assert schedule_timer["target"] == "schedule"
    assert (timer["key"], timer["late"], timer["grace_seconds"]) == ("remind ann", "skip", 1.0)
    assert timer["arguments"] == ["ann"]
    assert (schedule["kind"], schedule["name"], schedule["missed"]) == (
        "schedule", "digest", "each",
    )  # fmt: skip
    assert schedule["recurrence"] == "30 2 * * 1-5 Europe/Berlin"
    assert (schedule["last"], schedule["next"]) == (None, schedule_timer["due"])
    table = said("timers", "work")
    assert "skipped after 1.0 s" in table
    assert ids["waiting"][:16] in table
    assert "and more: --limit 10" in said("timers", "work", "--limit", 1)


# -- top ------------------------------------------------------------------------------------------


def test_top_counts_each_queue_or_task_by_state(ids: dict[str, str]) -> None:
    mail, pages = lines("top", "work", "--over", 3600)
    assert (mail["queue"], mail["paused"], pages["paused"]) == ("mail", False, True)
    counted = {state: mail[state] + pages[state] for state in ids}
    assert counted == dict.fromkeys(ids, 1)
    assert mail["failures"] == 1
    assert pages["oldest_ready_seconds"] > 0
    assert mail["oldest_ready_seconds"] is None
    per = {key: round(value * 3600) for key, value in mail.items() if key.endswith("_per_second")}
    assert per == {
        "enqueued_per_second": 5, "started_per_second": 3, "retried_per_second": 0,
        "done_per_second": 1, "dead_per_second": 1, "cancelled_per_second": 1,
    }  # fmt: skip
    assert [line["task"] for line in lines("top", "work", "--by", "task")] == [
        "app.render", "app.send",
    ]  # fmt: skip
    table = said("top", "work")
    assert "4 jobs not ended" in table
    assert "pages is paused since" in table
    assert "by ann" in table


def test_top_names_endpoints_that_are_disabled_and_no_secret_leaves(ids: dict[str, str]) -> None:
    from walnut.jobs.webhooks.endpoints import Webhooks

    with Store("work", SMALL) as store:
        webhooks = Webhooks(jobs_of(store))
        with store.transaction() as tx:
            secret = webhooks.add(tx, "shop", "https://example.org/in").secrets[0]
            webhooks.add(tx, "gone", "https://example.org/gone").disabled = "it answered 410"
            row = webhooks._need(tx, "gone")
            row.disabled = "it answered 410"
            webhooks.endpoints.put(tx, row)
    with StoreReader("work") as reader:
        found = endpoints(reader)
    assert [(row.id, bool(row.disabled)) for row in found] == [("gone", True), ("shop", False)]
    assert secret not in repr(found)
    assert "webhook endpoint gone is disabled: it answered 410" in said("top", "work")


def test_top_opens_the_store_anew_when_the_writer_was_faster(
    ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    top_module = importlib.import_module("walnut.jobs.cli.top")  # which the command hides
    looked = top_module.look
    calls = []

    def lost_once(*args: Any) -> Any:
        calls.append(args[0])
        if len(calls) == 1:
            raise TablesLost("the log was truncated")
        return looked(*args)

    monkeypatch.setattr(top_module, "look", lost_once)
    assert "pages" in said("top", "work")
    assert calls[0] is not calls[1]


# -- by hand --------------------------------------------------------------------------------------


def test_what_is_dead_or_cancelled_or_waits_is_retried(ids: dict[str, str]) -> None:
    chosen = [ids["dead"], ids["cancelled"], ids["waiting"], ids["dead"]]
    assert said("retry", "work", *chosen) == "3 jobs retried\n"
    for id_ in chosen:
        job = stored(id_)
        assert job is not None
        assert (job.state, job.failures) == (State.READY, 0)
    assert said("retry", "work", "--all-dead") == "no dead letters\n"


def test_all_dead_letters_of_a_task_are_retried(ids: dict[str, str]) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        for page in range(300):
            try_(jobs, put(jobs, "app.render", page), TypeError("no ink"))
    assert said("retry", "work", "--all-dead", "--task", "app.render") == "300 jobs retried\n"
    assert [job["task"] for job in lines("dead", "work")] == ["app.send"]
    assert said("retry", "work", "--all-dead") == "1 job retried\n"


def test_one_that_is_refused_is_named_and_holds_up_no_other(ids: dict[str, str]) -> None:
    result = run("retry", "work", ids["done"], ids["dead"], ids["ready"])
    assert result.exit_code == 1
    assert result.stdout == "1 job retried\n"
    for state in ("done", "ready"):
        assert f"walnut: job {ids[state]} is {state.upper()}" in result.stderr


def test_a_timer_that_died_is_set_again(ids: dict[str, str]) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        (timer,) = (t for t in jobs._ledger.timers.scan(store) if t.key)
        timer.failures = 99
        with store.transaction() as tx:
            jobs._timers.failed(tx, timer, office.failed(ValueError("no such guest")))
    (letter,) = lines("dead", "work", "--queue", "timers")
    assert letter["task"] == "action remind"
    assert said("retry", "work", letter["id"]) == "1 job retried\n"
    assert lines("list", "work", "--task", "app.send")
    assert [row["name"] for row in lines("timers", "work")].count("remind") == 1


def test_a_job_that_is_cancelled_takes_those_after_it_with_it(ids: dict[str, str]) -> None:
    given = said("cancel", "work", ids["ready"][:20], "--by", "eve", "--why", "no paper")
    assert given == "1 job cancelled\n"
    (job,) = lines("show", "work", ids["ready"])
    assert (job["state"], job["error"]["message"]) == ("cancelled", "no paper")
    assert job["history"][-1]["by"] == "eve"
    follower = stored(ids["blocked"])
    assert follower is not None
    assert follower.state is State.CANCELLED
    assert "has ended already" in refused("cancel", "work", ids["ready"])


def test_jobs_that_come_after_one_another_are_retried_and_cancelled_in_whatever_order_named(
    ids: dict[str, str],
) -> None:
    with Store("work", SMALL) as store:
        jobs = jobs_of(store)
        task = jobs._registry.need("app.render")
        with store.transaction() as tx:
            graph = {str(n): Node(task, (n,), [str(n - 1)] * (n > 0)) for n in range(20)}
            made = [job.id for job in jobs.graph(tx, graph).values()]
    assert made != sorted(made)
    assert said("cancel", "work", *made) == "20 jobs cancelled\n"
    assert said("retry", "work", *reversed(made)) == "20 jobs retried\n"
    last = stored(made[-1])
    assert last is not None
    assert last.state is State.BLOCKED


def test_what_has_ended_is_dropped_and_what_has_not_is_not(ids: dict[str, str]) -> None:
    assert said("drop", "work", ids["dead"], ids["done"]) == "2 jobs dropped\n"
    assert stored(ids["dead"]) is None
    assert "has not ended" in refused("drop", "work", ids["running"])
    assert "there is no job" in refused("drop", "work", ids["dead"])


def test_a_queue_is_paused_and_goes_on(ids: dict[str, str]) -> None:
    assert said("pause", "work", "mail", "--by", "eve") == "mail is paused\n"
    assert re.match(r"mail is paused already, since .* by eve", said("pause", "work", "mail"))
    assert lines("top", "work")[0]["paused"]
    assert said("resume", "work", "mail") == "mail goes on\n"
    assert "mail is not paused; these are: pages" in refused("resume", "work", "mail")
    assert said("pause", "work", "reports", "--new") == "reports is paused\n"
    assert [line["queue"] for line in lines("top", "work")] == ["mail", "pages", "reports"]


# -- bad input ------------------------------------------------------------------------------------


def test_an_id_that_is_unknown_ambiguous_or_none_is_refused_by_name(ids: dict[str, str]) -> None:
    unknown, ambiguous = "f" * 12, ids["done"][:8]
    for command in ("show", "retry", "cancel", "drop"):
        assert f"there is no job {unknown}" in refused(command, "work", unknown)
        message = refused(command, "work", ambiguous)
        assert "give more of its digits" in message
        assert "(app.send)" in message
        assert "is no id of a job" in refused(command, "work", "ready", code=2)
        assert "JOB" in refused(command, "work", code=2)
    assert "--all-dead" in refused("retry", "work", ids["dead"], "--all-dead", code=2)
    assert "--all-dead" in refused("retry", "work", ids["dead"], "--task", "x", code=2)


def test_names_that_no_job_has_are_refused_with_those_there_are(ids: dict[str, str]) -> None:
    assert "queue 'mial'; of those on record: mail, pages" in refused("pause", "work", "mial")
    for command in ("list", "dead"):
        assert "queue 'mial'" in refused(command, "work", "--queue", "mial")
        assert "app.render, app.send" in refused(command, "work", "--task", "send")
        assert "tenant 'x'" in refused(command, "work", "--tenant", "x")
    assert "task 'send'" in refused("retry", "work", "--all-dead", "--task", "send")
    assert "'deed' is not one of" in refused("list", "work", "--state", "deed", code=2)


COMMANDS = [
    ("list",), ("show", "0" * 8), ("dead",), ("timers",), ("top",), ("retry", "--all-dead"),
    ("retry", "0" * 8), ("cancel", "0" * 8), ("drop", "0" * 8), ("pause", "mail"),
    ("resume", "mail"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_directory_without_a_store_or_a_store_without_jobs_is_refused_and_left_alone(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *rest = command
    refused(name, "nowhere", *rest)
    assert not Path("nowhere").exists()
    with Store("plain", SMALL):
        pass
    assert "plain has no jobs" in refused(name, "plain", *rest)
    with Store("plain", SMALL) as store:
        assert store.tables() == []


# -- beside a program that runs jobs ----------------------------------------------------------------


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


@contextmanager
def program(path: Path) -> Iterator[int]:
    """A process that runs jobs; its id."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.office", str(path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_jobs_are_seen_while_another_process_runs_them_and_changed_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with program(tmp_path / "work") as pid:
        wait_until(lambda: len(lines("list", "work", "--state", "done")) > 10)
        wait_until(lambda: lines("top", "work", "--over", "1")[-1]["done_per_second"] > 0)
        (flow,) = lines("list", "work", "--task", "app.welcome")
        wait_until(lambda: len(lines("show", "work", flow["id"])[0]["steps"]) == 2)
        (done,) = lines("list", "work", "--state", "done", "--limit", 1)
        (shown,) = lines("show", "work", done["id"])
        assert [event["state"] for event in shown["history"]] == ["ready", "running", "done"]
        assert lines("timers", "work")[0]["target"] == "step"
        for command in (("cancel", flow["id"]), ("pause", "mail"), ("drop", done["id"])):
            message = refused(command[0], "work", *command[1:])
            assert f"process {pid}" in message
            assert "walnut.Jobs" in message
    assert said("cancel", "work", flow["id"]) == "1 job cancelled\n"


def test_top_goes_on_on_a_terminal_until_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with program(tmp_path / "work"):
        ours, its = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "walnut.cli", "jobs", "top", "work", "--interval", "0.1"],
            stdin=its, stdout=its, stderr=its, cwd=tmp_path,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        ) as process:  # fmt: skip
            os.close(its)
            screen = b""
            while screen.count(b"rates over") < 3 or b"mail" not in screen:
                screen += os.read(ours, 65536)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
            os.close(ours)
    assert b"Traceback" not in screen
    lsns = [int(number) for number in re.findall(rb"LSN (\d+)", screen)]
    assert lsns[0] < lsns[-1]


# -- tables that fit --------------------------------------------------------------------------------


def test_columns_go_in_their_order_before_a_name_is_cut() -> None:
    layout = Layout(cut=frozenset({"words"}), leave=("b", "a"), hide=frozenset({"none"}))
    rows = [{"id": "x" * 20, "a": "1" * 10, "b": "2" * 10, "none": "", "words": "w" * 50}]

    def columns(room: int) -> list[str]:
        return [str(column.header) for column in layout.table(rows, room).columns]

    assert columns(100) == ["id", "a", "b", "words"]
    assert columns(62) == ["id", "a", "b", "words"]
    assert columns(61) == ["id", "a", "words"]
    assert columns(40) == ["id", "words"]
    assert columns(10) == ["id", "words"]
    assert layout.table([], 10).columns == []
