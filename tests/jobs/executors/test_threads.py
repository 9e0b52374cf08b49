"""Attempts in threads: what works as in child processes, and what is done where it can't."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.executors import tasks
from tests.jobs.executors.calls import (
    RESULT_BYTES,
    SECONDS,
    call,
    eventually,
    failed,
    left_by,
    outcome,
    result,
    returned,
    start,
)
from tests.log.processes import child
from walnut.jobs.context import Context, Note
from walnut.jobs.executors.threads import ThreadRunner
from walnut.jobs.tasks import declare

CHILDREN = Path(__file__).with_name("children.py")
DIED = "walnut.jobs.errors.WorkerDied"


@pytest.fixture
def runner() -> Iterator[ThreadRunner]:
    made = ThreadRunner(2, RESULT_BYTES)
    yield made
    made.close(0)
    eventually(lambda: threads() == 0, "the threads end")


def threads() -> int:
    return sum(one.name == "walnut-jobs-thread" for one in threading.enumerate())


def test_a_task_runs_in_a_thread_and_returns(runner: ThreadRunner) -> None:
    assert result(runner, "add", 2, 3) == 5
    assert threads() == 1


def test_more_attempts_than_slots_all_end(runner: ThreadRunner) -> None:
    found = [start(runner, call("add", number, 1)) for number in range(500)]
    assert [returned(one.result(SECONDS)) for one in found] == list(range(1, 501))
    assert threads() <= 2


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("fail", ["refused"], "tests.jobs.executors.tasks.Refused"),
        ("fail", ["exit"], "SystemExit"),
        ("fail", ["interrupt"], "KeyboardInterrupt"),
        ("large", [RESULT_BYTES], "walnut.jobs.errors.ResultTooLarge"),
        ("no.such.module:name", [], "walnut.jobs.errors.UnknownTask"),
    ],
)
def test_a_failure_is_recorded_and_the_thread_serves_on(
    runner: ThreadRunner, name: str, arguments: list[object], error: str
) -> None:
    assert failed(outcome(runner, name, *arguments)).error == error
    assert result(runner, "add", 1, 1) == 2
    assert threads() == 1


def test_tasks_that_can_not_be_imported_are_found_where_they_are_declared() -> None:
    here = threading.get_ident()

    def elsewhere(ctx: Context) -> bool:
        return threading.get_ident() != here

    task = declare(elsewhere, "elsewhere", {"runs": "thread"})
    runner = ThreadRunner(1, RESULT_BYTES, find={"elsewhere": task, ":elsewhere": task}.__getitem__)
    assert result(runner, ":elsewhere") is True
    assert failed(outcome(runner, ":nowhere")).error == "KeyError"
    runner.close(SECONDS)


def test_cancelled_attempts_are_told(runner: ThreadRunner, tmp_path: Path) -> None:
    running = call("sleep", 600, str(tmp_path / "pid"))
    future = start(runner, running)
    left_by(tmp_path / "pid")
    runner.cancel(running)
    assert returned(future.result(SECONDS)) == "cancelled"
    runner.cancel(running)  # it is over: nothing


def test_a_killed_attempt_is_abandoned_its_slot_is_free_and_what_it_brings_is_dropped(
    runner: ThreadRunner,
) -> None:
    go = threading.Event()
    notes: list[Note] = []

    def hang(ctx: Context) -> str:
        ctx.progress(0.1)
        go.wait(SECONDS)
        ctx.progress(0.9)
        return "late"

    def find(target: str) -> object:
        return declare(hang, None, {}) if target == ":hang" else getattr(tasks, target)

    runner._find = find  # type: ignore[assignment]
    hung = [call(":hang") for _ in range(2)]
    futures = [start(runner, one, tell=notes.append) for one in hung]
    eventually(lambda: len(notes) == 2, "both hang")
    waiting = start(runner, call("tests:x"))
    runner._find = lambda _: tasks.add
    for one in hung:
        runner.kill(one)
    for future in futures:
        found = failed(future.result(SECONDS))
        assert found.error == DIED
        assert "abandoned" in found.message
    assert failed(waiting.result(SECONDS)).error == "walnut.jobs.errors.InvalidArguments"
    beside = [start(runner, call("sleep", 0.1)) for _ in range(2)]
    assert len(beside) == 2
    assert threads() <= 4
    go.set()
    eventually(lambda: threads() <= 2, "the abandoned threads end")
    assert len(notes) == 2
    assert failed(futures[0].result(0)).error == DIED
    runner.kill(hung[0])  # it is over: nothing


def test_attempts_that_wait_their_turn_can_be_killed_and_cancelled(
    runner: ThreadRunner, tmp_path: Path
) -> None:
    busy = [call("sleep", 600, str(tmp_path / str(number))) for number in range(2)]
    running = [start(runner, one) for one in busy]
    for number in range(2):
        left_by(tmp_path / str(number))
    waiting = [call("add", 1, 1) for _ in range(3)]
    futures = [start(runner, one) for one in waiting]
    runner.kill(waiting[0])
    runner.cancel(waiting[2])
    for future in (futures[0], futures[2]):
        assert "before it had begun" in failed(future.result(SECONDS)).message
    for one in busy:
        runner.cancel(one)
    assert [returned(one.result(SECONDS)) for one in running] == ["cancelled", "cancelled"]
    assert returned(futures[1].result(SECONDS)) == 2


def test_notes_come_throttled_with_the_newest_last(runner: ThreadRunner) -> None:
    notes: list[Note] = []
    made = call("progress", 200, 0.001, 0.3)
    returned(start(runner, made, tell=notes.append).result(SECONDS))
    assert notes[0] == Note(made.job, 1, 1 / 200, "step 1")
    assert notes[-1] == Note(made.job, 1, 1.0, "step 200")
    assert len(notes) <= 20


def test_a_teller_that_raises_does_not_hurt(runner: ThreadRunner) -> None:
    def tell(_: Note) -> None:
        raise RuntimeError("on purpose")

    returned(start(runner, call("progress", 2, 0.0, 0.0), tell=tell).result(SECONDS))


def test_close_waits_for_what_runs_and_abandons_what_hangs(tmp_path: Path) -> None:
    runner = ThreadRunner(2, RESULT_BYTES)
    short = start(runner, call("sleep", 0.2, str(tmp_path / "short")))
    long = start(runner, call("sleep", 600, str(tmp_path / "long")))
    for name in ("short", "long"):
        left_by(tmp_path / name)
    never = start(runner, call("add", 1, 1))
    begun = time.monotonic()
    runner.close(1.0)
    assert time.monotonic() - begun < 10
    assert returned(short.result(0)) == "slept"
    assert failed(long.result(0)).error == DIED
    assert failed(never.result(0)).error == "walnut.jobs.errors.ExecutorFailed"
    late = start(runner, call("add", 1, 1))
    assert failed(late.result(0)).error == "walnut.jobs.errors.ExecutorFailed"
    eventually(lambda: threads() == 0, "the threads end")


def test_an_abandoned_thread_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    with child("abandon", tmp_path, file=CHILDREN) as program:
        assert program.hear() == ["ended"]
        assert program.hear() == []
        assert program.end() == 0


def test_every_future_resolves_once_while_attempts_are_killed_at_random() -> None:
    runner = ThreadRunner(4, RESULT_BYTES)
    calls = [call("sleep", 0.002) for _ in range(400)]
    futures = [start(runner, one) for one in calls]
    times: list[int] = []
    for future in futures:
        future.add_done_callback(lambda _: times.append(1))
    for one in calls[::3]:
        runner.kill(one)
        time.sleep(0.001)
    for future in futures:
        future.result(SECONDS)
    eventually(lambda: len(times) == 400, "all callbacks are made")
    runner.close(SECONDS)
    eventually(lambda: threads() == 0, "the threads end")
