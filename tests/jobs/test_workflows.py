"""Workflows: their steps are recorded, and they go on where they were."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.jobs.helpers import AT_ONCE, SMALL, until, wait_until
from walnut.jobs import Context, Flow, Job, JobFailed, Jobs, JobsOptions, Retry, State
from walnut.jobs.errors import InvalidArguments, InvalidTask, UnknownJob
from walnut.jobs.steps import Step
from walnut.store import Store, Transaction

ONCE = Retry(attempts=1)
RESTLESS = JobsOptions(flow_idle=0.0)
"""Workflows leave memory whenever they wait."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data", SMALL) as store:
        yield store


@pytest.fixture(autouse=True)
def rests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("walnut.jobs.dispatcher.REST_SECONDS", 0.01)


def get(jobs: Jobs, job: Job) -> Job:
    row = jobs.get(jobs.store, job)
    assert row is not None
    return row


def steps(jobs: Jobs, job: Job) -> list[Step]:
    return list(jobs._steps.steps.scan(jobs.store, job.id))


def run(jobs: Jobs, workflow: Any, *args: Any) -> Any:
    with jobs.store.transaction() as tx:
        job = jobs.enqueue(tx, workflow, *args)
    return jobs.wait(job, 30)


def begun(jobs: Jobs, workflow: Any, *args: Any) -> Job:
    with jobs.store.transaction() as tx:
        return jobs.enqueue(tx, workflow, *args)


async def double(ctx: Context, number: int) -> int:
    return 2 * number


async def fail(ctx: Context, text: str) -> int:
    raise ValueError(text)


@pytest.mark.parametrize("options", [JobsOptions(), RESTLESS, JobsOptions(flows=1)])
def test_steps_of_every_kind(store: Store, options: JobsOptions) -> None:
    jobs, count, ran = Jobs(store, options), store.counter("n"), list[str]()
    twice = jobs.task(double)

    def plain(number: int) -> int:
        ran.append("plain")
        return number + 1

    async def coroutine(number: int) -> int:
        ran.append("coroutine")
        return number + 2

    @jobs.workflow
    async def inner(flow: Flow, number: int) -> int:
        return await flow.run(twice, number)

    @jobs.workflow
    async def outer(flow: Flow, number: int) -> list[Any]:
        a = await flow.run(twice, number)
        b = await flow.run(plain, a)
        c = await flow.run(coroutine, b)
        await flow.sleep(0.05)
        d = await flow.call(count.add, c)
        e = await flow.run(inner, d)
        f = await flow.signal("go")
        return [a, b, c, d, e, f, str(flow.new_id()), flow.random.random()]

    with jobs:
        job = begun(jobs, outer, 1)
        wait_until(lambda: any(step.signal for step in steps(jobs, job)))
        with store.transaction() as tx:
            jobs.signal(tx, job, "go", {"x": 1})
        result = jobs.wait(job, 30)
    assert result[:6] == [2, 3, 5, 5, 10, {"x": 1}]
    assert ran == ["plain", "coroutine"]
    assert count.value(store) == 5


def test_a_workflow_goes_on_in_another_process(tmp_path: Path) -> None:
    ran = list[str]()

    def declared(store: Store) -> tuple[Jobs, Any]:
        jobs = Jobs(store)

        async def local(name: str) -> str:
            ran.append(name)
            return name

        @jobs.workflow(name="flow")
        async def flow_(flow: Flow) -> list[Any]:
            first = await flow.run(local, "a")
            told = await flow.signal("go")
            return [first, told, await flow.run(local, "b")]

        return jobs, flow_

    with Store(tmp_path, SMALL) as store:
        jobs, workflow = declared(store)
        with jobs:
            job = begun(jobs, workflow)
            wait_until(lambda: len(steps(jobs, job)) == 2)
        assert get(jobs, job).state is State.SLEEPING, "stopping puts it to sleep"
        with store.transaction() as tx:
            jobs.signal(tx, job, "go", 1)
    with Store(tmp_path, SMALL) as store:
        jobs, _ = declared(store)
        with jobs:
            assert jobs.wait(job, 30) == ["a", 1, "b"]
    assert ran == ["a", "b"]


# -- replays ask for the same steps, whatever runs at the same time --------------------------------

Tree = int | list["Tree"] | tuple["Tree", ...]
"""A list's parts run one after another, a tuple's at once; a number is a step, and its length."""

trees: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 5),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=14,
)


async def walk(flow: Flow, tree: Any, step: Callable[[int], Coroutine[Any, Any, int]]) -> int:
    if isinstance(tree, int):
        return await flow.run(step, tree)
    if isinstance(tree, list):
        return sum([await walk(flow, part, step) for part in tree])
    return sum(await asyncio.gather(*[walk(flow, part, step) for part in tree]))


def asleep(jobs: Jobs, job: Job) -> bool:
    row = get(jobs, job)
    assert not row.state.ended, row.error
    return row.state is State.SLEEPING


def total(tree: Any) -> int:
    return tree if isinstance(tree, int) else sum(total(part) for part in tree)


@example([([(1, 1), 2], [3, 4])])
@example([([((((0,),),),), 0, 1], [0, 0, 0], 5)])
@example([([1, 2], (((((((0, 1),),),),),),))])
@example([([(((((((0, 1),),),),),),), 7], [2, 9])])
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(trees, min_size=1, max_size=4))
def test_replays_ask_for_the_same_steps(
    tmp_path_factory: pytest.TempPathFactory, forest: list[Any]
) -> None:
    with Store(tmp_path_factory.mktemp("data"), SMALL) as store:
        jobs = Jobs(store, JobsOptions(flow_idle=0.0))

        async def step(turns: int) -> int:
            await asyncio.sleep(0.004 * turns)
            return turns

        @jobs.workflow
        async def tree_flow(flow: Flow, number: int) -> list[int]:
            first = await walk(flow, forest[number], step)
            await flow.signal("again")
            second = await walk(flow, forest[number], step)
            await flow.signal("again")
            return [first, second]

        with jobs:
            made = [begun(jobs, tree_flow, number) for number in range(len(forest))]
            for _ in range(2):
                for job in made:
                    wait_until(functools.partial(asleep, jobs, job))
                    with store.transaction() as tx:
                        jobs.signal(tx, job, "again")
            for job, tree in zip(made, forest, strict=True):
                assert jobs.wait(job, 30) == [total(tree)] * 2


# -- failures ---------------------------------------------------------------------------------------


def test_a_step_that_fails_fails_in_every_replay(store: Store) -> None:
    jobs, calls = Jobs(store, RESTLESS), list[str]()
    bad = jobs.task(retry=ONCE)(fail)

    def call(tx: Transaction) -> None:
        calls.append("call")
        raise KeyError("nothing there")

    def local() -> None:
        calls.append("local")
        raise KeyError("nothing here")

    @jobs.workflow
    async def brave(flow: Flow) -> list[str]:
        told = []
        for step in (
            lambda: flow.run(bad, "task"),
            lambda: flow.call(call),
            lambda: flow.run(local),
            lambda: flow.signal("never", 0.01),
        ):
            try:
                await step()
            except JobFailed as error:
                told.append(error.error)
            await flow.sleep(0.02)
        return told

    with jobs:
        told = run(jobs, brave)
    assert told == ["ValueError", "KeyError", "KeyError", "TimeoutError"]
    assert calls == ["call", "local"], "once each, whatever is replayed"


def test_compensation_runs_backwards_and_a_retry_begins_anew(store: Store) -> None:
    jobs, ran, good = Jobs(store, RESTLESS), list[str](), threading.Event()

    @jobs.task(retry=ONCE)
    async def act(ctx: Context, what: str) -> str:
        ran.append(what)
        if what == "mail" and not good.is_set():
            raise OSError("no mail")
        return what

    @jobs.workflow
    async def saga(flow: Flow) -> list[str]:
        done = []
        for what in ("charge", "book", "mail"):
            flow.compensate(act, f"undo {what}")
            done.append(await flow.run(act, what))
        return done

    with jobs:
        job = begun(jobs, saga)
        with pytest.raises(JobFailed, match="no mail"):
            jobs.wait(job, 30)
        assert ran == ["charge", "book", "mail", "undo mail", "undo book", "undo charge"]
        good.set()
        ran.clear()
        with store.transaction() as tx:
            jobs.retry(tx, job)
        assert jobs.wait(job, 30) == ["charge", "book", "mail"]
    assert ran == ["charge", "book", "mail"]


def test_a_compensation_that_failed_is_gone_on_with(store: Store) -> None:
    jobs, ran, good = Jobs(store, RESTLESS), list[str](), threading.Event()

    @jobs.task(retry=ONCE)
    async def act(ctx: Context, what: str) -> str:
        ran.append(what)
        if what == "book" or (what == "undo book" and not good.is_set()):
            raise OSError(f"no {what}")
        return what

    @jobs.workflow
    async def saga(flow: Flow) -> None:
        for what in ("charge", "book"):
            flow.compensate(act, f"undo {what}")
            await flow.run(act, what)

    with jobs:
        job = begun(jobs, saga)
        with pytest.raises(JobFailed, match="no undo book"):
            jobs.wait(job, 30)
        assert ran == ["charge", "book", "undo book"]
        good.set()
        ran.clear()
        with store.transaction() as tx:
            jobs.retry(tx, job)
        with pytest.raises(JobFailed, match="no book"):
            jobs.wait(job, 30)
    assert ran == ["undo book", "undo charge"]


def test_a_retry_counts_what_was_done_before_the_failure(store: Store) -> None:
    jobs, ran = Jobs(store), list[str]()

    @jobs.task(retry=ONCE)
    async def act(ctx: Context, what: str) -> str:
        ran.append(what)
        if ran.count("b") == 1 and what == "b":
            raise OSError("once")
        return what

    @jobs.workflow(retry=AT_ONCE)
    async def three(flow: Flow) -> list[str]:
        return [await flow.run(act, what) for what in "abc"]

    with jobs:
        assert run(jobs, three) == ["a", "b", "c"]
    assert ran == ["a", "b", "b", "c"]


def test_branches_left_behind_by_a_failure_do_nothing_more(store: Store) -> None:
    jobs, ran = Jobs(store), list[str]()

    async def act(what: str) -> str:
        ran.append(what)
        if what == "bad":
            raise OSError("bad")
        await asyncio.sleep(0.01)
        return what

    @jobs.workflow
    async def two(flow: Flow) -> None:
        async def branch() -> None:
            try:
                await flow.run(act, "slow")
            finally:
                await flow.run(act, "never")

        flow.compensate(act, "undo")
        await asyncio.gather(branch(), flow.run(act, "bad"))

    with jobs:
        job = begun(jobs, two)
        with pytest.raises(JobFailed, match="OSError"):
            jobs.wait(job, 30)
    assert sorted(ran) == ["bad", "slow", "undo"]


# -- code that changed ------------------------------------------------------------------------------


def changed(tmp_path: Path, old: Any, new: Any) -> tuple[Jobs, Job, Store]:
    """A workflow that waits for a signal "go" with the old code, and goes on with the new."""
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store, RESTLESS)
        jobs.task(name="double")(double)
        workflow = jobs.workflow(name="flow")(old)
        with jobs:
            job = begun(jobs, workflow)
            wait_until(lambda: any(step.signal for step in steps(jobs, job)))
    store = Store(tmp_path, SMALL)
    jobs = Jobs(store, RESTLESS)
    jobs.task(name="double")(double)
    jobs.workflow(name="flow")(new)
    with store.transaction() as tx:
        jobs.signal(tx, job, "go")
    return jobs, job, store


def same(number: int) -> int:
    return number


def other(number: int) -> int:
    return -number


async def before(flow: Flow) -> int:
    a = await flow.run(same, 1)
    await flow.signal("go")
    return a


async def another_step(flow: Flow) -> int:
    a = await flow.run(other, 1)
    await flow.signal("go")
    return a


async def other_arguments(flow: Flow) -> int:
    a = await flow.run(same, 2)
    await flow.signal("go")
    return a


async def ends_early(flow: Flow) -> int:
    return await flow.run(same, 1)


async def shrugs(flow: Flow) -> int:
    with contextlib.suppress(Exception):
        await flow.run(other, 1)
    with contextlib.suppress(Exception):
        await flow.run(other, 1)
    return 5


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (another_step, "step 0 is on record as 'step same', and its code asks for 'step other'"),
        (other_arguments, "asks for 'step same with other arguments'"),
        (ends_early, "step 1 is on record as 'signal go', and its code asks for 'the end'"),
        (shrugs, "step 0 is on record as 'step same', and its code asks for 'step other'"),
    ],
)
def test_code_that_does_not_fit_the_record_is_told_and_goes_on_when_put_back(
    tmp_path: Path, new: Any, told: str
) -> None:
    jobs, job, store = changed(tmp_path, before, new)
    with store:
        with jobs, pytest.raises(JobFailed, match=told):
            jobs.wait(job, 30)
        assert get(jobs, job).state is State.DEAD
        recorded = steps(jobs, job)
        assert [step.what for step in recorded] == ["step same", "signal go"]
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        jobs.workflow(name="flow")(before)
        with store.transaction() as tx:
            jobs.retry(tx, job)
        with jobs:
            assert jobs.wait(job, 30) == 1


def test_outcomes_that_nobody_asks_for_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walnut.jobs.workflow.STUCK_SECONDS", 0.05)

    async def waits_for_another(flow: Flow) -> int:
        step: Any = flow.run(same, 1)
        try:
            await flow.signal("go")
        finally:
            step.close()
        return 1

    jobs, job, store = changed(tmp_path, before, waits_for_another)
    with store, jobs, pytest.raises(JobFailed, match="asks for 'others only'"):
        jobs.wait(job, 30)


def test_a_change_guarded_by_a_version(tmp_path: Path) -> None:
    async def after(flow: Flow) -> list[Any]:
        version = await flow.version("twice", 1)
        a = await flow.run(same, 1)
        if version >= 1:
            a += await flow.run(other, 1)
        await flow.signal("go")
        return [version, await flow.version("twice", 1), a]

    jobs, job, store = changed(tmp_path, before, after)
    with store, jobs:
        assert jobs.wait(job, 30) == [0, 0, 1]
        (workflow,) = [task for task in jobs._registry.tasks.values() if task.name == "flow"]
        new = begun(jobs, workflow)
        wait_until(lambda: any(step.signal for step in steps(jobs, new)))
        with store.transaction() as tx:
            jobs.signal(tx, new, "go")
        assert jobs.wait(new, 30) == [1, 1, 0]


def test_steps_have_names_that_stay(store: Store) -> None:
    jobs = Jobs(store, RESTLESS)

    class Same:
        def __call__(self, number: int) -> int:
            return number

    @jobs.workflow
    async def odd(flow: Flow) -> list[Any]:
        a = await flow.run(functools.partial(same, 1))
        b = await flow.run(Same(), 2)
        await flow.sleep(0.03)
        return [a, b]

    with jobs:
        assert run(jobs, odd) == [1, 2]


# -- signals, sleeping, ending ----------------------------------------------------------------------


def test_signals_are_taken_in_the_order_they_were_sent(store: Store) -> None:
    jobs = Jobs(store, RESTLESS)

    @jobs.workflow
    async def listener(flow: Flow) -> list[int]:
        return [await flow.signal("n") for _ in range(20)]

    with store.transaction() as tx:
        job = jobs.enqueue(tx, listener)
        for number in range(12):
            jobs.signal(tx, job, "n", number)
    with jobs:
        for number in range(12, 20):
            with store.transaction() as tx:
                jobs.signal(tx, job, "n", number)
        assert jobs.wait(job, 30) == list(range(20))
    with pytest.raises(UnknownJob, match="no workflow"), store.transaction() as tx:
        jobs.signal(tx, job, "n", 1)


def test_cancelling_a_workflow_calls_off_its_steps(store: Store) -> None:
    jobs, stopped = Jobs(store), threading.Event()

    @jobs.task
    async def slow(ctx: Context) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    @jobs.workflow
    async def inner(flow: Flow) -> None:
        await flow.run(slow)

    @jobs.workflow
    async def outer(flow: Flow) -> None:
        await asyncio.gather(flow.run(inner), flow.sleep(60), flow.signal("never", 60))

    with jobs:
        job = begun(jobs, outer)
        wait_until(lambda: any(row.task.endswith("slow") for row in jobs._ledger.jobs.scan(store)
                               if row.state is State.RUNNING))  # fmt: skip
        with store.transaction() as tx:
            jobs.cancel(tx, job)
        assert stopped.wait(20)
        wait_until(lambda: all(row.state.ended for row in jobs._ledger.jobs.scan(store)))
        assert jobs._ledger.timers.count(store) == 0
        with store.transaction() as tx:
            jobs.drop(tx, job)
        assert steps(jobs, job) == []


def test_code_that_catches_everything_is_still_put_to_sleep(store: Store) -> None:
    jobs, ran = Jobs(store, RESTLESS), list[str]()

    async def note(what: str) -> str:
        ran.append(what)
        return what

    @jobs.workflow
    async def stubborn(flow: Flow) -> Any:
        try:
            told = await flow.signal("go")
        except BaseException:
            return "swallowed"
        finally:
            with contextlib.suppress(BaseException):
                await flow.run(note, "cleaned up")
        return told

    with jobs:
        job = begun(jobs, stubborn)
        wait_until(lambda: get(jobs, job).state is State.SLEEPING)
    assert ran == []
    with jobs:
        with store.transaction() as tx:
            jobs.signal(tx, job, "go", 3)
        assert jobs.wait(job, 30) == 3
    assert ran == ["cleaned up"]


def test_stopping_does_not_take_a_swallowed_cancellation_for_a_result(store: Store) -> None:
    jobs, begun_, go_on = Jobs(store), threading.Event(), threading.Event()

    async def slow() -> int:
        begun_.set()
        await until(go_on.is_set)
        return 1

    @jobs.workflow
    async def stubborn(flow: Flow) -> int:
        try:
            return await flow.run(slow)
        except BaseException:
            return 99

    async def main() -> Job:
        await jobs.start()
        job: Job = await store.run(jobs.enqueue, stubborn)
        await asyncio.to_thread(begun_.wait, 20)
        assert await jobs.stop(0.05) == 1
        return job

    job = asyncio.run(main())
    assert get(jobs, job).state is State.READY
    go_on.set()
    with jobs:
        assert jobs.wait(job, 30) == 1


def test_many_workflows_that_wait_need_few_places(store: Store) -> None:
    jobs = Jobs(store, JobsOptions(flows=5))

    @jobs.workflow
    async def sleepy(flow: Flow, number: int) -> int:
        await flow.sleep(0.1)
        return number

    with jobs:
        made = [begun(jobs, sleepy, number) for number in range(100)]
        assert [jobs.wait(job, 60) for job in made] == list(range(100))


def test_a_key_that_another_job_has_fails_the_step(store: Store) -> None:
    jobs = Jobs(store)
    twice = jobs.task(double)

    @jobs.workflow
    async def flow_(flow: Flow) -> int:
        return await flow.run(twice, 1, key="k")

    with store.transaction() as tx:
        jobs.pause(tx, "default")
        jobs.enqueue(tx, twice, 9, key="k")
        jobs.resume(tx, "default")
        job = jobs.enqueue(tx, flow_, at=tx.now, queue="other", priority=9)
        jobs.pause(tx, "default")
    with jobs, pytest.raises(JobFailed, match="the key 'k' is job"):
        jobs.wait(job, 30)


def test_what_can_not_work_is_refused(store: Store) -> None:
    jobs = Jobs(store)
    with pytest.raises(InvalidTask, match="limit its steps"):

        @jobs.workflow(timeout=5)
        async def limited(flow: Flow) -> None: ...

    @jobs.workflow
    async def long(flow: Flow, seconds: float) -> None:
        await flow.sleep(seconds)

    with jobs:
        for seconds in (-1.0, float("inf"), float("nan"), 1e30):
            with pytest.raises(JobFailed, match="a step can't take"):
                run(jobs, long, seconds)
    with pytest.raises(InvalidArguments), store.transaction() as tx:
        jobs.enqueue(tx, long, "x")


def test_a_step_that_is_a_job_is_for_the_workflows_tenant(store: Store) -> None:
    jobs = Jobs(store)

    @jobs.task
    async def tenant(context: Context) -> str:
        return context.tenant

    @jobs.workflow
    async def ask(flow: Flow) -> list[str]:
        return [await flow.run(tenant), await flow.run(tenant, tenant="bob")]

    with jobs:
        job = store.call(lambda tx: jobs.enqueue(tx, ask, tenant="ann"))
        assert jobs.wait(job, 30) == ["ann", "bob"]
