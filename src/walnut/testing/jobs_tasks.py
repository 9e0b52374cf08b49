"""The tasks and workflows of the jobs' simulator: one of every kind there is.

What must stay true: what they do is decided by the world's chance, and what a workflow sees is kept by
the world, so that a replay can be held against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from walnut.jobs.call import Call
from walnut.jobs.context import Context
from walnut.jobs.errors import JobFailed
from walnut.jobs.leases import OUTSIDE
from walnut.jobs.model import Job
from walnut.jobs.outcome import Outcome, Success, failure
from walnut.jobs.retry import Retry
from walnut.jobs.tasks import Happened, Task
from walnut.jobs.workflow import Flow
from walnut.store.transaction import Transaction
from walnut.testing.jobs_world import World

RETRY: Final = Retry(attempts=3, first=0.2, most=3.0, resource_wait=1.0)


def declare_tasks(world: World) -> None:
    """Make all tasks known to the jobs of this life."""
    jobs = world.jobs
    world.tasks = {}

    def add(function: Any, kind: str = "task", **options: Any) -> Task[..., Any]:
        function.__qualname__ = function.__name__  # as if it were at the top of a module
        task: Task[..., Any] = getattr(jobs, kind)(name=function.__name__, **options)(function)
        world.tasks[task.name] = task
        return task

    def work(context: Context, number: int) -> list[int]:
        return world.act(context, number)

    def narrow(context: Context, number: int) -> list[int]:
        return world.act(context, number)

    def hang(context: Context, number: int) -> list[int]:
        return world.act(context, number)

    def render(context: Context, number: int) -> list[int]:
        return world.act(context, number)

    def tallied(context: Context, number: int) -> list[int]:
        return world.act(context, number)

    def delegate(context: Context, number: int) -> list[int]:
        return world.act(context, number)

    def pay(context: Context, number: int) -> list[int]:
        if world.chance(0.1):
            raise ConnectionError("before the payment")
        world.paid[context.job] += 1
        world.promise(world.paid[context.job] == 1, f"job {context.job} paid twice")
        return [number]

    async def fetch(context: Context, number: int) -> list[int]:
        made = world.begins(_call_of(context), "loop")
        outcome: Outcome | None = None
        try:
            await asyncio.sleep(world.rng.random())
            answer = world.act(context, number)
            outcome = Success(msgspec.msgpack.encode(answer))
        except Exception as error:
            outcome = failure(error)
            raise
        else:
            return answer
        finally:
            if not world.loop.buried:
                world.ends(made, outcome)

    add(work, runs="thread", retry=RETRY)
    add(narrow, runs="process", retry=RETRY, queue="narrow")
    add(hang, runs="process", retry=RETRY, timeout=2.0, stall=1.5, queue="shared")
    add(render, runs="process", retry=RETRY, resources={"gpu": 1.0}, priority=2)
    add(fetch, runs="loop", retry=RETRY, queue="rated")
    add(delegate, runs=OUTSIDE, retry=RETRY, queue=OUTSIDE)
    count = add(tallied, runs="thread", retry=RETRY)
    add(pay, "effect", runs="process", retry=Retry(attempts=4, first=0.2, most=2.0))

    @count.then
    def _done(tx: Transaction, job: Job, result: object) -> None:
        del result
        if tx.random.random() < 0.1 and not world.calm:
            raise ConnectionError("the hook raises")
        world.count(tx, f"done {job.id}")

    @count.otherwise
    def _dead(tx: Transaction, job: Job, error: object) -> None:
        del error
        world.count(tx, f"dead {job.id} {job.attempt}")

    @world.tasks["pay"].reconcile
    def _ask(context: Context, number: int) -> Happened | None:
        world.counts["asked what happened"] += 1
        if world.chance(0.3):
            raise ConnectionError("whoever is asked does not answer")
        return Happened([number]) if world.paid[context.job] else None

    declare_flows(world, add)


def declare_flows(world: World, add: Any) -> None:
    """The workflows: everything that a step can be, one after another and at once."""
    rng = world.rng

    async def local(number: int) -> int:
        await asyncio.sleep(rng.random() * 0.2)
        if world.chance(0.2):
            raise ConnectionError("the step raises")
        return number

    def plain(number: int) -> int:
        return number

    def step(tx: Transaction, name: str) -> int:
        return world.count(tx, name)

    async def small(flow: Flow, number: int) -> int:
        made = world.begins(flow._attempt.call, "flow")
        try:
            at = world.seen(flow, 0, number)
            at = world.seen(flow, at, await flow.run(plain, number))
            at = world.seen(flow, at, await flow.call(step, f"step {flow.job} 0"))
            await flow.sleep(flow.random.random())
            return number
        finally:
            if not world.loop.buried:
                world.ends(made, None)

    async def order(flow: Flow, number: int) -> int:
        made = world.begins(flow._attempt.call, "flow")
        at = 0

        async def look(which: str, waited: Awaitable[Any]) -> None:
            nonlocal at
            try:
                what = await waited
            except JobFailed as error:
                what = error.error
            at = world.seen(flow, at, [which, what])
            if world.chance(0.02):
                world.cancel(flow.job)

        try:
            await look("work", flow.run(world.tasks["work"], number))
            flow.compensate(world.tasks["tallied"], number)
            await look("call", flow.call(step, f"step {flow.job} 0"))
            await look("sleep", flow.sleep(flow.random.random() * 3))
            if world.life >= world.newer_from and await flow.version("newer", 1) >= 1:
                await look("newer", flow.run(plain, 7))
            await asyncio.gather(
                look("a", flow.run(world.tasks["tallied"], 1)),
                look("b", flow.run(local, 2)),
                look("c", flow.sleep(flow.random.random())),
                look("d", flow.call(step, f"step {flow.job} 1")),
                look("e", flow.signal("go", 3.0)),
            )
            await look("small", flow.run(world.tasks["small"], number))
            if flow.random.random() < 0.2:
                raise RuntimeError("on purpose")
            return number
        finally:
            if not world.loop.buried:
                world.ends(made, None)

    add(small, "workflow")
    add(order, "workflow")
    for function in (local, plain, step):
        function.__qualname__ = function.__name__


def _call_of(context: Context) -> Call:
    return Call("", context.job, context.attempt, b"", context.tenant, list(context._results))
