"""From the first component to the last: order, budgets, failures, signals. On simulated time."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walnut.shutdown import Budgets, Event, ExitCode, InFlight, Lifecycle, Part, Phase, StartFailed
from walnut.shutdown.component import start_order
from walnut.shutdown.errors import (
    AlreadyServed,
    CycleInNeeds,
    DuplicateComponent,
    InvalidBudget,
    TooManyTasks,
    UnknownComponent,
)
from walnut.shutdown.model import Schedule
from walnut.testing.disk import SimClock
from walnut.testing.loop import SimLoop

T = TypeVar("T")


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """Run on simulated time; nothing may be left running."""
    loop = SimLoop(random.Random(1), SimClock())
    loop.set_task_factory(None)
    try:
        result = loop.run_until_complete(work)
        assert asyncio.all_tasks(loop) == set()
        return result
    finally:
        loop.close()


class Journal:
    """Components that write down what is asked of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def part(
        self, name: str, *needs: str, slow: float = 0, fails: str = "", hangs: str = ""
    ) -> Part:
        def step(what: str) -> Any:
            async def perform() -> None:
                self.lines.append(f"{what} {name}")
                if what == hangs:
                    await asyncio.Event().wait()
                await asyncio.sleep(slow)
                if what == fails:
                    raise OSError(f"{name} can't {what}")

            return perform

        return Part(name, needs=needs, start=step("start"), drain=step("drain"), stop=step("stop"))


async def stopped(lifecycle: Lifecycle, after: float = 1.0) -> Any:
    asyncio.get_running_loop().call_later(after, lifecycle.stop, "test")
    return await lifecycle.serve(signals=False)


def test_a_component_starts_after_what_it_needs_and_stops_before_it() -> None:
    journal = Journal()
    lifecycle = Lifecycle(
        [
            journal.part("server", "jobs", "store"),
            journal.part("jobs", "store"),
            journal.part("store"),
        ]
    )
    report = simulate(stopped(lifecycle))
    assert journal.lines == [
        "start store", "start jobs", "start server",
        "drain server", "drain jobs", "drain store",
        "stop server", "stop jobs", "stop store",
    ]  # fmt: skip
    assert report.exit_code == ExitCode.CLEAN
    assert [one.phase for one in report.phases] == list(Phase)[:-1]
    assert lifecycle.state is Phase.CLOSED


def test_a_circle_a_stranger_and_a_double_are_named() -> None:
    part = Journal().part
    with pytest.raises(CycleInNeeds, match="in a circle: "):
        start_order([part("a", "b"), part("b", "a")])
    with pytest.raises(UnknownComponent, match="'a' needs 'c'"):
        start_order([part("a", "c"), part("b")])
    with pytest.raises(DuplicateComponent, match="'a'"):
        start_order([part("a"), part("a")])


def test_a_component_that_fails_to_start_stops_those_before_it() -> None:
    journal = Journal()
    lifecycle = Lifecycle(
        [journal.part("a"), journal.part("b", "a", fails="start"), journal.part("c", "b")]
    )
    with pytest.raises(StartFailed, match="'b' did not start: OSError: b can't start") as caught:
        simulate(lifecycle.serve(signals=False))
    assert isinstance(caught.value.__cause__, OSError)
    assert journal.lines == ["start a", "start b", "stop a"]


def test_a_start_that_takes_too_long_has_failed() -> None:
    lifecycle = Lifecycle([Journal().part("a", hangs="start")], budgets=Budgets(start=3))
    with pytest.raises(StartFailed, match="'a' did not start: not within 3 s"):
        simulate(lifecycle.serve(signals=False))


def test_a_stop_during_the_start_ends_the_start() -> None:
    journal = Journal()
    lifecycle = Lifecycle([journal.part("a"), journal.part("b", hangs="start"), journal.part("c")])
    report = simulate(stopped(lifecycle))
    assert journal.lines == ["start a", "start b", "stop a"]
    assert report.overran == ("b",)


def test_background_work_that_fails_stops_the_process_and_is_named() -> None:
    async def fail() -> None:
        await asyncio.sleep(5)
        raise ValueError("no more")

    journal = Journal()
    lifecycle = Lifecycle([journal.part("store"), Part("pump", needs=["store"], run=fail)])
    report = simulate(lifecycle.serve(signals=False))
    assert report.exit_code == ExitCode.BROKEN
    assert lifecycle.broken == "pump failed: ValueError", "anybody may read it"
    assert report.reason == "pump failed: ValueError: no more"
    assert [(one.component, one.while_) for one in report.failures] == [("pump", "run")]
    assert journal.lines == ["start store", "drain store", "stop store"]


def test_background_work_may_end_by_itself() -> None:
    async def once() -> None:
        await asyncio.sleep(0)

    assert simulate(stopped(Lifecycle([Part("a", run=once)]))).exit_code == ExitCode.CLEAN


def test_background_work_ends_between_drain_and_stop() -> None:
    lines: list[str] = []

    def note(line: str) -> Any:
        async def step() -> None:
            lines.append(line)

        return step

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            lines.append("run ended")

    simulate(stopped(Lifecycle([Part("a", run=run, drain=note("drain"), stop=note("stop"))])))
    assert lines == ["drain", "run ended", "stop"]


def test_what_overruns_its_budget_is_cancelled_and_named() -> None:
    journal = Journal()
    lifecycle = Lifecycle(
        [journal.part("a"), journal.part("b", "a", hangs="drain"), journal.part("c", hangs="stop")],
        budgets=Budgets(grace=1, close=0, drain=2, stop=3, flush=1),
    )
    report = simulate(stopped(lifecycle))
    assert report.exit_code == ExitCode.FORCED
    by_phase = {one.phase: one.overran for one in report.phases}
    assert set(by_phase[Phase.DRAIN]) == {"a", "b"}, "a waits for b, so neither has drained"
    assert by_phase[Phase.STOP] == ("c",)
    assert journal.lines[-3:] == ["stop c", "stop b", "stop a"]
    assert report.seconds <= lifecycle._budgets.deadline


def test_a_component_that_ignores_its_cancellation_holds_nobody_up() -> None:
    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                if finished:
                    raise

    finished: list[bool] = []
    journal = Journal()

    async def scenario() -> Any:
        lifecycle = Lifecycle(
            [journal.part("store"), Part("deaf", stop=deaf)], budgets=Budgets(stop=2)
        )
        report = await stopped(lifecycle)
        finished.append(True)
        (left,) = asyncio.all_tasks() - {asyncio.current_task()}
        left.cancel()
        await asyncio.wait([left])
        return report

    assert simulate(scenario()).overran == ("deaf",)
    assert journal.lines[-1] == "stop store"


def test_an_error_while_stopping_stops_nobody_else() -> None:
    journal = Journal()
    lifecycle = Lifecycle(
        [journal.part("a"), journal.part("b", fails="stop"), journal.part("c", fails="drain")]
    )
    report = simulate(stopped(lifecycle))
    assert {(one.component, one.while_) for one in report.failures} == {
        ("b", "stop"),
        ("c", "drain"),
    }
    assert journal.lines[-3:] == ["stop c", "stop b", "stop a"]
    assert report.exit_code == ExitCode.FAILED


def test_time_that_a_phase_leaves_goes_to_the_next() -> None:
    schedule = Schedule(Budgets(grace=5, close=1, drain=10, stop=4, flush=1), 100.0, grace=True)
    assert schedule.end_of(Phase.GRACE) == 105
    assert schedule.end_of(Phase.DRAIN) == 116
    assert schedule.end_of(Phase.FLUSH) == 121
    schedule.rebase(Phase.STOP, 106.0)
    assert schedule.end_of(Phase.STOP) == 110, "in a hurry nobody waits for what was saved"
    assert schedule.end_of(Phase.FLUSH) == 111


def test_a_budget_below_zero_is_refused() -> None:
    with pytest.raises(InvalidBudget, match="'drain' is -1"):
        Budgets(drain=-1)


def test_readiness_fails_before_anything_else_and_grace_is_waited_for() -> None:
    seen: list[tuple[str, bool, float]] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        lifecycle = Lifecycle([], budgets=Budgets(grace=5))

        def watch(event: Event) -> None:
            if event.kind == "phase":
                seen.append((event.phase.value, lifecycle.ready, loop.time()))

        lifecycle.observe(watch)
        await stopped(lifecycle)

    simulate(scenario())
    names = {name: (ready, at) for name, ready, at in seen}
    assert names["running"][0]
    assert not names["not ready"][0]
    assert names["stop accepting"][1] - names["grace"][1] == pytest.approx(5, abs=0.01)


# -- signals ------------------------------------------------------------------------------------


def test_the_second_signal_skips_the_waiting_and_the_third_ends_the_process() -> None:
    journal = Journal()
    killed: list[int] = []

    async def scenario() -> Any:
        loop = asyncio.get_running_loop()
        lifecycle = Lifecycle(
            [journal.part("a", hangs="drain")],
            budgets=Budgets(grace=100, drain=100),
            kill=killed.append,
        )
        for at in (1, 2):
            loop.call_later(at, lifecycle.signal, signal.SIGTERM)
        report = await lifecycle.serve(signals=False)
        lifecycle.signal(signal.SIGINT)
        return report

    report = simulate(scenario())
    assert report.seconds < 2
    assert report.overran == ("a",)
    assert journal.lines == ["start a", "drain a", "stop a"]
    assert killed == [ExitCode.KILLED]


def test_a_second_signal_with_nothing_under_way_is_still_clean() -> None:
    async def scenario() -> Any:
        lifecycle = Lifecycle([Journal().part("a")], budgets=Budgets(grace=100))
        for at in (1, 2):
            asyncio.get_running_loop().call_later(at, lifecycle.signal, signal.SIGTERM)
        return await lifecycle.serve(signals=False)

    report = simulate(scenario())
    assert (report.exit_code, report.reason) == (ExitCode.CLEAN, "SIGTERM")
    assert report.seconds < 2


def test_sighup_reloads_and_a_reload_that_fails_changes_nothing() -> None:
    events: list[Event] = []
    reloads: list[int] = []

    async def reload() -> None:
        reloads.append(1)
        await asyncio.sleep(1)
        if len(reloads) == 2:
            raise ValueError("bad file")

    async def scenario() -> Any:
        lifecycle = Lifecycle([], reload=reload, log=events.append)
        for at in (1, 1.5, 4):
            asyncio.get_running_loop().call_later(at, lifecycle.signal, signal.SIGHUP)
        return await stopped(lifecycle, after=10)

    assert simulate(scenario()).exit_code == ExitCode.CLEAN
    told = [(one.kind, one.detail) for one in events if "reload" in {one.kind, one.component}]
    assert told == [
        ("reload", "ignored: not now"), ("reload", "done"), ("failed", "ValueError: bad file")
    ]  # fmt: skip


def test_sighup_without_a_reload_stops_and_sigusr2_without_a_restart_does_not() -> None:
    async def scenario() -> Any:
        lifecycle = Lifecycle([])
        loop = asyncio.get_running_loop()
        loop.call_later(1, lifecycle.signal, signal.SIGUSR2)
        loop.call_later(2, lifecycle.signal, signal.SIGHUP)
        return await lifecycle.serve(signals=False)

    report = simulate(scenario())
    assert report.reason == "SIGHUP"
    assert {one.phase: one.seconds for one in report.phases}[Phase.RUNNING] == pytest.approx(
        2, abs=0.01
    )


def test_a_cancelled_serve_stops_everything_first() -> None:
    journal = Journal()

    async def scenario() -> None:
        lifecycle = Lifecycle([journal.part("a", slow=0.5)], budgets=Budgets(grace=100))
        task = asyncio.get_running_loop().create_task(lifecycle.serve(signals=False))
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lifecycle.state is Phase.CLOSED

    simulate(scenario())
    assert journal.lines[-1] == "stop a"


def test_a_lifecycle_serves_once() -> None:
    async def scenario() -> None:
        lifecycle = Lifecycle([])
        await stopped(lifecycle)
        with pytest.raises(AlreadyServed):
            await lifecycle.serve(signals=False)

    simulate(scenario())


def test_an_observer_that_fails_stops_nothing() -> None:
    told: list[str] = []

    loop = asyncio.new_event_loop()
    report = loop.run_until_complete(scenario_with_short_grace(told))
    loop.close()
    assert report.exit_code == ExitCode.CLEAN
    assert "an observer of 'phase' failed" in told


async def scenario_with_short_grace(told: list[str]) -> Any:
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["message"]))

    def watch(event: Event) -> None:
        raise ValueError

    return await stopped(Lifecycle([], log=watch, budgets=Budgets(grace=0)), after=0)


def test_flush_comes_last() -> None:
    journal = Journal()

    async def flush() -> None:
        journal.lines.append("flush")

    simulate(stopped(Lifecycle([journal.part("a")], flush=flush)))
    assert journal.lines[-2:] == ["stop a", "flush"]


# -- in flight ----------------------------------------------------------------------------------


def test_draining_waits_for_what_is_in_flight_and_names_what_stays() -> None:
    async def scenario(seconds: float) -> tuple[Any, list[str]]:
        progress: list[str] = []
        inflight = InFlight()
        lifecycle = Lifecycle(
            [],
            inflight=inflight,
            budgets=Budgets(grace=0, drain=10),
            log=lambda event: progress.append(event.detail) if event.kind == "progress" else None,
        )

        async def request() -> None:
            async with inflight.request():
                await asyncio.sleep(seconds)

        async def stream() -> None:
            async with inflight.stream() as end:
                await end.wait()

        tasks = [asyncio.create_task(request()), asyncio.create_task(stream())]
        inflight.spawn("receipt", asyncio.sleep(seconds))
        report = await stopped(lifecycle)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert inflight.counts.total == 0
        return report, progress

    report, progress = simulate(scenario(4))
    assert report.exit_code == ExitCode.CLEAN
    assert progress[0] == "1 request, 1 task", "the stream has ended itself"
    report, _ = simulate(scenario(1000))
    assert report.overran == ("1 request, 1 task",)


def test_background_tasks_have_a_limit() -> None:
    async def scenario() -> None:
        inflight = InFlight(tasks_max=1)
        inflight.spawn("one", asyncio.sleep(1))
        with pytest.raises(TooManyTasks, match="'two'"):
            inflight.spawn("two", asyncio.sleep(1))
        await inflight.idle()

    simulate(scenario())


# -- any graph, any failure -----------------------------------------------------------------------


@st.composite
def graphs(draw: Any) -> tuple[list[tuple[str, list[str]]], dict[str, str], float]:
    """Components with needs, given in any order; what fails or hangs where; when a stop is asked for."""
    count = draw(st.integers(0, 7))
    parts = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), unique=True)) if number else []
        parts.append((f"c{number}", [f"c{need}" for need in needs]))
    step = st.sampled_from(
        ["", "", "", "fail start", "hang start", "fail run", "fail drain", "hang drain", "fail stop",
         "hang stop"]
    )  # fmt: skip
    faults = {name: draw(step) for name, _ in parts}
    return draw(st.permutations(parts)), faults, draw(st.sampled_from([0.0, 0.05, 1.0, 30.0]))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_whatever_fails_what_started_is_stopped_in_reverse_and_nothing_is_left(
    graph: tuple[list[tuple[str, list[str]]], dict[str, str], float],
) -> None:
    parts, faults, when = graph
    needs = dict(parts)
    up: list[str] = []
    ran: list[str] = []

    def component(name: str) -> Part:
        async def fault(step: str) -> None:
            await asyncio.sleep(0.01)
            if faults[name] == f"fail {step}":
                raise OSError(step)
            if faults[name] == f"hang {step}":
                await asyncio.Event().wait()

        async def start() -> None:
            assert set(needs[name]) <= set(up)
            await fault("start")
            up.append(name)
            ran.append(name)

        async def run() -> None:
            await asyncio.sleep(0.1)
            await fault("run")
            await asyncio.Event().wait()

        async def stop() -> None:
            assert up[-1] == name, "stopped in reverse"
            up.pop()
            await fault("stop")

        return Part(
            name, needs=needs[name], start=start, run=run, drain=lambda: fault("drain"), stop=stop
        )

    lifecycle = Lifecycle([component(name) for name, _ in parts], budgets=Budgets(start=20))

    async def life() -> Any:
        asyncio.get_running_loop().call_later(when, lifecycle.stop, "test")
        try:
            return await lifecycle.serve(signals=False)
        except StartFailed as error:
            return error

    outcome = simulate(life())
    assert up == []
    assert lifecycle.state is Phase.CLOSED
    if isinstance(outcome, StartFailed):
        assert "start" in faults[outcome.component]
    else:
        assert outcome.seconds <= lifecycle._budgets.deadline + 0.1 * len(parts) + 5
        fine = not any(faults[name] for name in ran) and set(ran) == set(needs)
        assert outcome.exit_code == ExitCode.CLEAN or not fine
