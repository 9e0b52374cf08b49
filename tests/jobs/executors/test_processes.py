"""Attempts in child processes: what they do to themselves, what others do to them, and what is left."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.jobs.executors.calls import (
    RESULT_BYTES,
    SECONDS,
    alive,
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
from walnut.jobs.call import Limits
from walnut.jobs.context import Note
from walnut.jobs.executors import handle, processes
from walnut.jobs.executors.handle import State
from walnut.jobs.executors.processes import ProcessOptions, ProcessRunner
from walnut.jobs.outcome import Failure, Outcome, Success

CHILDREN = Path(__file__).with_name("children.py")
KILLS = 200
DIED = "walnut.jobs.errors.WorkerDied"
EXCEEDED = "walnut.jobs.errors.LimitExceeded"
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux does this; enable with: a Linux machine"
)


def runner_of(workers: int, **options: object) -> ProcessRunner:
    coverage = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
    made = ProcessOptions(workers=workers, environment=coverage, **options)  # type: ignore[arg-type]
    return ProcessRunner(made, RESULT_BYTES)


@pytest.fixture
def runner() -> Iterator[ProcessRunner]:
    made = runner_of(2)
    yield made
    pids = made.pids()
    made.close(0)
    assert not [pid for pid in pids if alive(pid)]


# What an attempt gets and gives -----------------------------------------------------------------


def test_a_task_runs_in_another_process_and_returns(runner: ProcessRunner) -> None:
    assert result(runner, "add", 2, 3) == 5
    assert result(runner, "pid") in runner.pids()


def test_the_context_says_what_the_call_says(runner: ProcessRunner) -> None:
    made = call("told", tenant="blue", results=[b"\x01", b"\xa1x"])
    assert returned(start(runner, made).result(SECONDS)) == {
        "job": made.job, "attempt": 1, "tenant": "blue", "results": [1, "x"], "key": made.job,
    }  # fmt: skip


def test_a_child_is_used_again_and_none_is_started_without_need(runner: ProcessRunner) -> None:
    assert len({result(runner, "pid") for _ in range(20)}) == 1
    assert len(runner.pids()) == 1


def test_attempts_over_the_slots_wait_their_turn(runner: ProcessRunner) -> None:
    found = [start(runner, call("add", number, 1)) for number in range(500)]
    assert [returned(one.result(SECONDS)) for one in found] == list(range(1, 501))
    assert len(runner.pids()) <= 2


def test_large_arguments_and_results_travel(runner: ProcessRunner) -> None:
    assert result(runner, "length", b"x" * 20_000_000) == 20_000_000
    assert len(result(runner, "large", RESULT_BYTES - 10)) == RESULT_BYTES - 10


def test_large_arguments_reach_two_children_while_small_ones_are_waiting(
    runner: ProcessRunner,
) -> None:
    found = [start(runner, call("length", b"x" * size)) for size in (5_000_000, 9) * 10]
    assert [returned(one.result(SECONDS)) for one in found] == [5_000_000, 9] * 10


@pytest.mark.parametrize(
    ("name", "arguments", "error", "says"),
    [
        ("fail", ["refused"], "tests.jobs.executors.tasks.Refused", "not today"),
        ("fail", ["odd"], "tests.jobs.executors.tasks.Odd", "can't say"),
        ("fail", ["surrogate"], "ValueError", "\\udcff"),
        ("fail", ["exit"], "SystemExit", "3"),
        ("fail", ["interrupt"], "KeyboardInterrupt", ""),
        ("add", [1], "walnut.jobs.errors.InvalidArguments", "takes 2"),
        ("add", ["one", 2], "walnut.jobs.errors.InvalidArguments", "Expected"),
        ("large", [RESULT_BYTES], "walnut.jobs.errors.ResultTooLarge", "large"),
        ("unstorable", [], "walnut.jobs.errors.ResultTooLarge", "can't be stored"),
        ("nowhere", [], "walnut.jobs.errors.UnknownTask", "nowhere"),
        ("not_a_task", [], "walnut.jobs.errors.UnknownTask", "not a task"),
        ("no.such.module:name", [], "walnut.jobs.errors.UnknownTask", "No module named"),
        ("/no/such/main.py:name", [], "walnut.jobs.errors.UnknownTask", "No such file"),
        ("", [], "walnut.jobs.errors.UnknownTask", ""),
    ],
)
def test_a_failure_is_recorded_and_the_child_serves_on(
    runner: ProcessRunner, name: str, arguments: list[object], error: str, says: str
) -> None:
    pid = result(runner, "pid")
    found = failed(outcome(runner, name, *arguments))
    assert found.error == error
    assert found.kinds[0] == error
    assert says in found.message
    assert found.trace
    assert result(runner, "pid") == pid


def test_a_failure_may_say_when_to_come_back_if_it_makes_sense(runner: ProcessRunner) -> None:
    assert failed(outcome(runner, "fail", "refused")).retry_after == 7
    assert failed(outcome(runner, "fail", "odd")).retry_after is None


def test_arguments_that_are_no_messagepack_fail_the_attempt(runner: ProcessRunner) -> None:
    broken = call("add")
    broken = type(broken)(broken.target, broken.job, 1, b"\x92\xc1")
    found = failed(start(runner, broken).result(SECONDS))
    assert found.error == "walnut.jobs.errors.InvalidArguments"


# The main module --------------------------------------------------------------------------------


def test_a_task_of_the_main_module_runs(tmp_path: Path) -> None:
    with child("own", tmp_path, file=CHILDREN) as program:
        assert program.hear() == ["__walnut_main__", "7"]


def test_a_task_of_a_program_that_was_run_as_a_module_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.jobs.executors.children", "own", str(tmp_path)],
        cwd=CHILDREN.parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "tests.jobs.executors.children 7\n"


def test_a_main_module_that_opens_a_store_says_so_each_time(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    from walnut.store import Store

    place = tmp_path / "store"
    main = tmp_path / "main.py"
    main.write_text(f"import walnut\nstore = walnut.Store({str(place)!r})\ntask = 1\n")
    with Store(place):
        for _ in range(2):
            found = failed(outcome(runner, f"{main}:task"))
            assert found.error == "walnut.jobs.errors.UnknownTask"
            assert "if __name__ == '__main__':" in found.message
            assert "Lock" in found.message
            assert "walnut.Store(" in found.trace


def test_a_main_module_that_ends_the_program_ends_the_attempt(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    main = tmp_path / "main.py"
    main.write_text("import sys\nsys.exit('usage: main FILE')\n")
    assert "usage: main FILE" in failed(outcome(runner, f"{main}:task")).message


# Where it runs ----------------------------------------------------------------------------------


def test_the_environment_is_clean_but_for_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALNUT_TEST_SECRET", "hush")
    monkeypatch.setenv("PYTHONPATH", "/its/own")
    runner = ProcessRunner(ProcessOptions(workers=1, environment={"COLOUR": "blue"}), RESULT_BYTES)
    try:
        found = result(runner, "environment")
    finally:
        runner.close(0)
    assert found["COLOUR"] == "blue"
    assert found["PATH"] == os.environ["PATH"]
    assert found["PYTHONPATH"] == "/its/own"
    assert found.keys() <= {*handle.INHERITED, "COLOUR", "PYTHONPATH", "LC_CTYPE"}


def test_a_child_loads_neither_store_nor_log(runner: ProcessRunner) -> None:
    loaded = set(result(runner, "modules"))
    assert "walnut.jobs.executors.attempt" in loaded
    assert not {"rocksdict", "walnut.store", "walnut.log", "crc32c", "asyncio", "socket"} & loaded


def test_a_child_leads_a_session_of_its_own(runner: ProcessRunner) -> None:
    pid, session, group = result(runner, "session")
    assert pid == session == group != os.getpgrp()


def test_what_tasks_print_goes_to_standard_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(CHILDREN), "print_elsewhere", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "we print\n"
    assert done.stderr == "a task prints\n"


# Death ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("segfault", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("kill", "SIGKILL"),
        ("exit", "exit code 17"),
        ("close", "closed its connection"),
        ("garbage", "can't be understood"),
        ("nonsense", "can't be understood"),
        ("ready", "can't be understood"),
    ],
)
def test_a_child_that_dies_fails_its_attempt_and_no_other(
    runner: ProcessRunner, how: str, says: str
) -> None:
    beside = start(runner, call("sleep", 0.3))
    found = failed(outcome(runner, "die", how))
    assert found.error == DIED
    assert says in found.message
    assert "walnut.jobs.errors.JobsError" in found.kinds
    assert returned(beside.result(SECONDS)) == "slept"
    assert result(runner, "add", 1, 1) == 2


def test_a_crash_says_where_it_was(runner: ProcessRunner) -> None:
    found = failed(outcome(runner, "die", "segfault"))
    assert "Segmentation fault" in found.trace
    assert "in die" in found.trace


@linux_only
def test_a_crash_is_noticed_even_if_a_fork_holds_its_connection(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    found = failed(outcome(runner, "fork_and_die", str(tmp_path / "pid")))
    assert "exit code 3" in found.message
    (fork,) = left_by(tmp_path / "pid")
    eventually(lambda: not alive(fork), "the fork ends")


def test_an_idle_child_that_is_killed_is_replaced_unnoticed(runner: ProcessRunner) -> None:
    for _ in range(5):
        pid = result(runner, "pid")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: pid not in runner.pids(), "its end is noticed")  # type: ignore[misc]
        assert result(runner, "pid") != pid


def test_an_attempt_that_is_killed_has_died(runner: ProcessRunner, tmp_path: Path) -> None:
    running = call("deaf", 600, str(tmp_path / "pid"))
    future = start(runner, running)
    (pid,) = left_by(tmp_path / "pid")
    runner.kill(running)
    found = failed(future.result(SECONDS))
    assert found.error == DIED
    assert "by force" in found.message
    assert not alive(pid)
    runner.kill(running)  # it is over: nothing
    runner.cancel(running)
    assert result(runner, "add", 1, 1) == 2


def test_a_kill_ends_what_the_attempt_had_started(runner: ProcessRunner, tmp_path: Path) -> None:
    outcome(runner, "offspring", str(tmp_path / "pids"))
    pid, offspring = left_by(tmp_path / "pids")
    assert alive(offspring)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(offspring), "it ends with the child")


def test_attempts_that_wait_their_turn_can_be_killed_and_cancelled(
    runner: ProcessRunner, tmp_path: Path
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


def test_a_cancelled_attempt_is_told_and_the_next_one_is_not(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    first = call("sleep", 600, str(tmp_path / "pid"))
    future = start(runner, first)
    left_by(tmp_path / "pid")
    runner.cancel(first)
    assert returned(future.result(SECONDS)) == "cancelled"
    assert result(runner, "sleep", 0.05) == "slept"


def test_every_future_resolves_once_while_children_are_killed_at_random() -> None:
    random.seed(4)
    runner = runner_of(4)
    resolved: dict[str, list[Outcome]] = {}
    stop = threading.Event()
    killed: set[int] = set()

    def begin() -> None:
        made = call("sleep", random.uniform(0, 0.01))
        resolved[made.job] = []

        def done(future: Future[Outcome]) -> None:
            resolved[made.job].append(future.result())
            if not stop.is_set():
                begin()

        start(runner, made).add_done_callback(done)

    for _ in range(6):
        begin()

    def victims() -> list[int]:
        """Mostly those that serve: where all die as they start, nothing would."""
        serving = [one.pid for one in tuple(runner._children) if one.state is not State.STARTING]
        one_of = serving if random.random() < 0.98 else runner.pids()
        left = sorted(set(one_of) - killed)
        random.shuffle(left)
        return left

    while len(killed) < KILLS:
        for pid in victims()[:1]:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(random.uniform(0, 0.1))
    stop.set()
    eventually(lambda: all(resolved.values()), "all resolve")
    runner.close(SECONDS)
    outcomes = [found for each in resolved.values() for found in each]
    assert len(outcomes) == len(resolved)
    assert not [pid for pid in killed if alive(pid)]
    lost = [found for found in outcomes if isinstance(found, Failure)]
    assert len(lost) <= KILLS
    assert {found.error for found in lost} == {DIED}
    assert sum(isinstance(found, Success) for found in outcomes) > KILLS


# Limits -----------------------------------------------------------------------------------------


@linux_only
def test_memory_over_the_limit_fails_the_attempt_and_the_child_serves_on(
    runner: ProcessRunner,
) -> None:
    pid = result(runner, "pid")
    limits = Limits(memory_bytes=50_000_000)
    found = failed(outcome(runner, "eat", 80_000_000, limits=limits))
    assert found.error == EXCEEDED
    assert "MemoryError" in found.kinds
    assert "50000000" in found.message
    assert "in eat" in found.trace
    assert returned(outcome(runner, "eat", 20_000_000, limits=limits)) == 20_000_000
    assert result(runner, "eat", 80_000_000) == 80_000_000
    assert result(runner, "pid") == pid


def test_a_memory_error_without_a_limit_is_one(runner: ProcessRunner) -> None:
    assert failed(outcome(runner, "eat", 2**60)).error == "MemoryError"


@pytest.mark.parametrize("name", ["burn", "burn_in_c", "swallow"])
def test_processor_time_over_the_limit_ends_the_attempt(runner: ProcessRunner, name: str) -> None:
    found = failed(outcome(runner, name, limits=Limits(cpu_seconds=0.5)))
    assert found.error == EXCEEDED
    assert "0.5 s" in found.message
    assert f"in {name}" in found.trace


def test_processor_time_is_counted_for_each_attempt_anew(runner: ProcessRunner) -> None:
    pid = result(runner, "pid")
    for _ in range(3):
        assert returned(outcome(runner, "add", 1, 1, limits=Limits(cpu_seconds=1.0))) == 2
    assert result(runner, "pid") == pid


# Notes ------------------------------------------------------------------------------------------


def test_notes_come_throttled_with_the_newest_last(runner: ProcessRunner) -> None:
    notes: list[Note] = []
    made = call("progress", 400, 0.001, 0.3)
    returned(start(runner, made, tell=notes.append).result(SECONDS))
    assert notes[0] == Note(made.job, 1, 1 / 400, "step 1")
    assert notes[-1] == Note(made.job, 1, 1.0, "step 400")
    assert 3 <= len(notes) <= 20


def test_odd_notes_do_not_hurt(runner: ProcessRunner) -> None:
    notes: list[Note] = []
    assert returned(start(runner, call("odd_notes"), tell=notes.append).result(SECONDS)) == "fine"
    assert len(notes[0].text) == 200


def test_a_note_that_comes_late_is_dropped(runner: ProcessRunner) -> None:
    first: list[Note] = []
    second: list[Note] = []
    start(runner, call("late_note"), tell=first.append).result(SECONDS)
    start(runner, call("sleep", 0.5), tell=second.append).result(SECONDS)
    assert first == second == []


def test_a_teller_that_raises_does_not_hurt(runner: ProcessRunner) -> None:
    def tell(_: Note) -> None:
        raise RuntimeError("on purpose")

    start(runner, call("progress", 2, 0.0, 0.0), tell=tell).result(SECONDS)
    assert result(runner, "add", 1, 1) == 2


# How children come and go -----------------------------------------------------------------------


def test_a_child_is_replaced_after_so_many_attempts() -> None:
    runner = runner_of(1, attempts=3)
    pids = [result(runner, "pid") for _ in range(9)]
    runner.close(0)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]


def test_a_child_that_has_grown_is_replaced() -> None:
    runner = runner_of(1, memory_bytes=150_000_000)
    pids = [result(runner, "leak", 40_000_000) for _ in range(12)]
    runner.close(0)
    assert 2 <= len(set(pids)) <= 6


def test_idle_children_end_but_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TICK_SECONDS", 0.05)
    runner = runner_of(3, idle=0.2)
    for future in [start(runner, call("sleep", 0.3)) for _ in range(3)]:
        future.result(SECONDS)
    assert len(runner.pids()) == 3
    eventually(lambda: len(runner.pids()) == 1, "two of them end")
    assert result(runner, "pid") in runner.pids()
    runner.close(0)


def test_children_that_can_not_start_fail_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    runner = runner_of(2)
    found = failed(outcome(runner, "add", 1, 1))
    assert found.error == "walnut.jobs.errors.ExecutorFailed"
    assert "No such file" in found.message
    monkeypatch.undo()
    assert result(runner, "add", 1, 1) == 2
    runner.close(0)


def test_children_that_end_as_they_start_fail_what_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 5\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    runner = runner_of(2)
    futures = [start(runner, call("add", 1, 1)) for _ in range(5)]
    for future in futures:
        found = failed(future.result(SECONDS))
        assert found.error == "walnut.jobs.errors.ExecutorFailed"
        assert "exit code 5" in found.message
    runner.close(0)


def test_where_the_end_of_a_child_can_not_be_watched_it_is_found_by_looking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handle, "_exit_fd", lambda _: -1)
    monkeypatch.setattr(handle, "WAITID", False)
    runner = runner_of(2)
    for how, says in (("segfault", "SIGSEGV"), ("exit", "exit code 17"), ("close", "closed its")):
        assert says in failed(outcome(runner, "die", how)).message
    assert result(runner, "add", 1, 1) == 2
    pids = runner.pids()
    runner.close(0)
    assert not [pid for pid in pids if alive(pid)]


def test_a_child_that_somebody_else_has_reaped_is_gone_all_the_same(
    runner: ProcessRunner,
) -> None:
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    try:
        assert failed(outcome(runner, "die", "exit")).error == DIED
        assert result(runner, "add", 1, 1) == 2
    finally:
        signal.signal(signal.SIGCHLD, previous)


# The end ----------------------------------------------------------------------------------------


def test_close_leaves_no_process_and_every_future_resolved(tmp_path: Path) -> None:
    runner = runner_of(3)
    outcome(runner, "offspring", str(tmp_path / "offspring"))
    running = [start(runner, call("deaf", 600, str(tmp_path / str(n)))) for n in range(3)]
    pids = [pid for n in range(3) for pid in left_by(tmp_path / str(n))]
    pids += left_by(tmp_path / "offspring")
    waiting = [start(runner, call("add", 1, 1)) for _ in range(10)]
    begun = time.monotonic()
    runner.close(0.3)
    assert time.monotonic() - begun < 5
    eventually(lambda: not [pid for pid in pids if alive(pid)], "all of them end")
    assert runner.pids() == []
    assert {failed(one.result(0)).error for one in running} == {DIED}
    assert {failed(one.result(0)).error for one in waiting} == {"walnut.jobs.errors.ExecutorFailed"}
    late = failed(start(runner, call("add", 1, 1)).result(0))
    assert late.error == "walnut.jobs.errors.ExecutorFailed"
    runner.close(0)


def test_close_lets_what_runs_end_within_its_time(runner: ProcessRunner, tmp_path: Path) -> None:
    future = start(runner, call("sleep", 0.3, str(tmp_path / "pid")))
    left_by(tmp_path / "pid")
    runner.close(SECONDS)
    assert returned(future.result(0)) == "slept"


def test_close_while_children_start_leaves_none() -> None:
    for pause in (0.0, 0.01, 0.03, 0.06):
        runner = runner_of(2)
        futures = [start(runner, call("add", 1, 1)) for _ in range(2)]
        time.sleep(pause)
        pids = runner.pids()
        runner.close(0)
        assert all(future.done() for future in futures)
        assert not [pid for pid in pids if alive(pid)]


def test_a_runner_that_was_not_used_closes() -> None:
    runner_of(2).close(0)


@linux_only
def test_no_descriptor_is_left_open_here_or_there(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    runner = runner_of(2, attempts=5)
    held = {result(runner, "descriptors") for _ in range(20)}
    for number in range(5):
        outcome(runner, "die", "segfault")
        running = call("deaf", 600, str(tmp_path / str(number)))
        future = start(runner, running)
        left_by(tmp_path / str(number))
        runner.kill(running)
        future.result(SECONDS)
    assert len(held) == 1
    runner.close(0)
    assert sorted(os.listdir("/proc/self/fd")) == before


@linux_only
def test_a_killed_server_takes_its_children_along_whatever_they_do(tmp_path: Path) -> None:
    with child("serve", tmp_path, file=CHILDREN) as server:
        pids = [int(word) for word in server.hear()]
        assert len(pids) == 4
        assert all(alive(pid) for pid in pids)
        server.kill()
        eventually(lambda: not [pid for pid in pids if alive(pid)], "all of them end")


def test_a_server_that_ends_without_closing_takes_its_children_along(tmp_path: Path) -> None:
    with child("leave_open", tmp_path, file=CHILDREN) as server:
        (pid,) = (int(word) for word in server.hear())
        assert server.end() == 0
        eventually(lambda: not alive(pid), "it ends")
