"""Attempts on other people's executors, all of them real."""

import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
from walnut.jobs.executors.futures import FutureRunner, RayExecutor
from walnut.jobs.outcome import Success

DIED = "walnut.jobs.errors.WorkerDied"
FAILED = "walnut.jobs.errors.ExecutorFailed"


def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def dask() -> Iterator[Executor]:
    """Workers in processes of their own, as on other machines."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("needs Dask; enable with: pip install 'distributed>=2025'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask's own affairs
        import dask
        from distributed import Client, LocalCluster

        # It would run what a lost worker had, three times over, where a job is tried again by us.
        dask.config.set({"distributed.scheduler.allowed-failures": 0})
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                host="127.0.0.1", silence_logs=50,
            ) as cluster,
            Client(cluster) as client,
        ):  # fmt: skip
            yield client.get_executor(retries=0)


@pytest.fixture(params=["threads", "processes", "dask"])
def runner(request: pytest.FixtureRequest) -> Iterator[FutureRunner]:
    if request.param == "dask":
        made = FutureRunner(request.getfixturevalue("dask"), 2, RESULT_BYTES)
        yield made
        made.close(SECONDS)
        return
    with ThreadPoolExecutor(2) if request.param == "threads" else pool() as executor:
        made = FutureRunner(executor, 2, RESULT_BYTES)
        yield made
        made.close(SECONDS)


def test_tasks_run_there_and_return(runner: FutureRunner) -> None:
    assert result(runner, "add", 2, 3) == 5
    found = [start(runner, call("add", number, 1)) for number in range(50)]
    assert [returned(one.result(SECONDS)) for one in found] == list(range(1, 51))


def test_the_context_says_what_the_call_says(runner: FutureRunner) -> None:
    made = call("told", tenant="blue", results=[b"\x01"])
    found = returned(start(runner, made).result(SECONDS))
    assert (found["job"], found["tenant"], found["results"]) == (made.job, "blue", [1])


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("fail", ["refused"], "tests.jobs.executors.tasks.Refused"),
        ("fail", ["surrogate"], "ValueError"),
        ("fail", ["exit"], "SystemExit"),
        ("add", [1], "walnut.jobs.errors.InvalidArguments"),
        ("large", [RESULT_BYTES], "walnut.jobs.errors.ResultTooLarge"),
        ("unstorable", [], "walnut.jobs.errors.ResultTooLarge"),
        ("no.such.module:name", [], "walnut.jobs.errors.UnknownTask"),
    ],
)
def test_a_failure_is_recorded(
    runner: FutureRunner, name: str, arguments: list[object], error: str
) -> None:
    assert failed(outcome(runner, name, *arguments)).error == error
    assert result(runner, "add", 1, 1) == 2


def test_notes_are_dropped_without_harm(runner: FutureRunner) -> None:
    returned(outcome(runner, "progress", 3, 0.0, 0.0))


def test_a_killed_attempt_is_abandoned_and_resolves_once(
    runner: FutureRunner, tmp_path: Path
) -> None:
    running = call("deaf", 0.5, str(tmp_path / "pid"))
    future = start(runner, running)
    left_by(tmp_path / "pid")
    runner.kill(running)
    found = failed(future.result(0))
    assert found.error == DIED
    assert "abandoned" in found.message
    runner.kill(running)
    runner.cancel(running)
    assert result(runner, "add", 1, 1) == 2


def test_a_running_attempt_that_is_cancelled_ends_well_or_is_let_go(
    runner: FutureRunner, tmp_path: Path
) -> None:
    running = call("sleep", 0.3, str(tmp_path / "pid"))
    future = start(runner, running)
    left_by(tmp_path / "pid")
    runner.cancel(running)
    found = future.result(SECONDS)
    assert isinstance(found, Success) or "may have begun" in found.message


def test_a_crash_in_dask_loses_its_attempt_only(dask: Executor) -> None:
    runner = FutureRunner(dask, 2, RESULT_BYTES)
    found = failed(outcome(runner, "die", "exit"))
    assert found.error == DIED
    assert "KilledWorker" in found.message
    assert result(runner, "add", 1, 1) == 2
    runner.close(SECONDS)


def test_a_crash_in_a_pool_that_was_given_is_told_and_then_that_it_takes_nothing() -> None:
    with pool() as executor:
        runner = FutureRunner(executor, 2, RESULT_BYTES)
        found = failed(outcome(runner, "die", "segfault"))
        assert found.error == DIED
        assert "BrokenProcessPool" in found.message
        found = failed(outcome(runner, "add", 1, 1))
        assert found.error == FAILED
        assert "what makes one" in found.message
        runner.close(SECONDS)


def test_a_pool_that_was_made_here_is_replaced_when_it_breaks() -> None:
    runner = FutureRunner(pool, 2, RESULT_BYTES)
    for _ in range(3):
        assert failed(outcome(runner, "die", "exit")).error == DIED
        eventually(lambda: returns_two(runner), "there is another pool")
    runner.close(SECONDS)


def returns_two(runner: FutureRunner) -> bool:
    found = outcome(runner, "add", 1, 1)
    return getattr(found, "result", None) == b"\x02"


def test_every_future_resolves_while_the_processes_of_a_pool_are_killed() -> None:
    runner = FutureRunner(pool, 2, RESULT_BYTES)
    for _ in range(5):
        futures = [start(runner, call("pid")) for _ in range(20)]
        first = futures[0].result(SECONDS)
        if isinstance(first, Success):
            with contextlib.suppress(ProcessLookupError):
                os.kill(returned(first), signal.SIGKILL)
        futures += [start(runner, call("add", 1, 1)) for _ in range(20)]
        for future in futures:
            future.result(SECONDS)
    runner.close(SECONDS)


def test_close_ends_the_processes_of_a_pool_that_was_made_here(tmp_path: Path) -> None:
    runner = FutureRunner(pool, 2, RESULT_BYTES)
    future = start(runner, call("deaf", 600, str(tmp_path / "pid")))
    (pid,) = left_by(tmp_path / "pid")
    runner.close(0.1)
    assert failed(future.result(0)).error == DIED
    eventually(lambda: not alive(pid), "it ends")
    assert failed(outcome(runner, "add", 1, 1)).error == FAILED


def test_an_executor_that_was_shut_down_takes_nothing() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    runner = FutureRunner(executor, 1, RESULT_BYTES)
    assert failed(outcome(runner, "add", 1, 1)).error == FAILED
    runner.close(SECONDS)


class Idle(Executor):
    """Takes everything and does nothing."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


def test_what_has_not_begun_is_cancelled_there() -> None:
    executor = Idle()
    runner = FutureRunner(executor, 1, RESULT_BYTES)
    calls = [call("add", 1, 1) for _ in range(2)]
    futures = [start(runner, one) for one in calls]
    runner.cancel(calls[0])
    runner.kill(calls[1])
    assert "cancelled" in failed(futures[0].result(0)).message
    assert failed(futures[1].result(0)).error == DIED
    assert [one.cancelled() for one in executor.futures] == [True, True]


@pytest.mark.parametrize("answer", [b"", b"\xc1", b"\x93\x01\x02\x03", None, 7, "text"])
def test_an_executor_that_answers_nonsense_fails_the_attempt(answer: object) -> None:
    executor = Idle()
    runner = FutureRunner(executor, 1, RESULT_BYTES)
    future = start(runner, call("add", 1, 1))
    executor.futures[0].set_result(answer)
    assert failed(future.result(0)).error == DIED


def test_an_answer_after_the_kill_is_dropped() -> None:
    executor = Idle()
    runner = FutureRunner(executor, 1, RESULT_BYTES)
    made = call("add", 1, 1)
    future = start(runner, made)
    executor.futures[0].set_running_or_notify_cancel()
    runner.kill(made)
    executor.futures[0].set_result(b"\x92\x01\xc4\x01\x02")
    assert failed(future.result(0)).error == DIED


def test_ray_is_asked_to_try_once_and_imported_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = RayInOneThread("ray")
    monkeypatch.setitem(sys.modules, "ray", ray)
    runner = FutureRunner(RayExecutor(num_cpus=2), 1, RESULT_BYTES)
    assert [result(runner, "add", number, 1) for number in range(3)] == [1, 2, 3]
    assert ray.asked == [{"max_retries": 0, "num_cpus": 2}]
    runner.close(SECONDS)


class RayInOneThread(types.ModuleType):
    """The part of Ray's face that the adapter uses."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[dict[str, Any]] = []
        self._pool = concurrent.futures.ThreadPoolExecutor(1)

    def remote(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        self.asked.append(options)

        def made(function: Callable[..., Any]) -> Any:
            def remote(*args: Any) -> Any:
                future = self._pool.submit(function, *args)
                return types.SimpleNamespace(future=lambda: future)

            return types.SimpleNamespace(remote=remote)

        return made
