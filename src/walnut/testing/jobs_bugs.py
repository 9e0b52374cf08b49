"""Deliberate bugs of jobs, to prove that their simulator can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from unittest.mock import patch

import msgspec

from walnut.jobs import ledger as ledgers
from walnut.jobs import timers as timing
from walnut.jobs.attempts import Attempts
from walnut.jobs.board import Board, Entry
from walnut.jobs.dispatcher import Claimed, Dispatcher
from walnut.jobs.errors import Fenced
from walnut.jobs.jobs import Jobs
from walnut.jobs.leases import Leases
from walnut.jobs.ledger import Ended, Ledger
from walnut.jobs.model import SECOND, Job, State, Timer
from walnut.jobs.outcome import Success
from walnut.jobs.recurrence import following
from walnut.jobs.steps import Step, Steps
from walnut.jobs.timers import Timers
from walnut.jobs.workflow import Flow
from walnut.log.errors import LogFull
from walnut.store.record import utc
from walnut.store.table import Index
from walnut.store.transaction import Transaction

Patches = list[Any]


def _settle_ignores_the_attempt() -> Patches:
    """Whoever brings an outcome is believed, if only the job is running."""
    honest = Ledger.settle

    def settle(self: Ledger, tx: Transaction, ended: Ended, *, hooks: bool = True) -> Job | None:
        job = self.jobs.get(tx, ended.job)
        number = ended.attempt if job is None else job.attempt
        return honest(self, tx, msgspec.structs.replace(ended, attempt=number), hooks=hooks)

    return [patch.object(Ledger, "settle", settle)]


def _a_cancelled_job_still_settles() -> Patches:
    """What an attempt brings counts although its job was cancelled."""
    honest = Ledger.settle

    def settle(self: Ledger, tx: Transaction, ended: Ended, *, hooks: bool = True) -> Job | None:
        job = self.jobs.get(tx, ended.job)
        if job is not None and job.state is State.CANCELLED and job.attempt == ended.attempt:
            job.state = State.RUNNING
            self.jobs.put(tx, job)
        return honest(self, tx, ended, hooks=hooks)

    return [patch.object(Ledger, "settle", settle)]


def _attempts_begin_before_their_claim_is_durable() -> Patches:
    """An attempt begins as soon as its claim is decided."""

    async def commit(self: Dispatcher, over: list[Ended], picked: list[Entry]) -> None:
        answer = self._store.submit(self._settle_and_claim, over, picked)
        if answer._error is not None:
            self._offer_again(picked)
            raise answer._error
        wanted, claimed = answer._result
        self._begin(picked, claimed)
        if answer.ticket is not None:
            await answer.ticket
        self._settled(over, wanted)

    return [patch.object(Dispatcher, "_commit", commit)]


def _a_timer_goes_in_one_transaction_and_fires_in_another() -> Patches:
    """Timers are deleted first, and what they do comes after."""

    async def fire_batch(self: Dispatcher, timers: list[Timer]) -> int:
        def delete(tx: Transaction) -> list[Timer]:
            table = self._ledger.timers
            return [timer for timer in timers if table.delete(tx, (timer.due, timer.id))]

        def fire(tx: Transaction, timer: Timer) -> None:
            self._timers._fire(tx, timer)

        for timer in await self._store.run(delete):
            try:
                await self._store.run(fire, timer)
            except (ConnectionError, ValueError):
                await self._store.run(self._timers.set, timer)
        return len(timers)

    return [patch.object(Dispatcher, "_fire_batch", fire_batch)]


def _timers_fire_early() -> Patches:
    """What is due within a second is fired with the rest."""

    def due(self: Timers, reader: Any, since: int, now: int, limit: int) -> list[Timer]:
        return list(self._timers.scan(reader, start=since, stop=now + SECOND, limit=limit))

    def fire(self: Timers, tx: Transaction, timers: Sequence[Timer]) -> int:
        for timer in timers:
            if self._timers.delete(tx, (timer.due, timer.id)):
                self._fire(tx, timer)
        return len(timers)

    return [patch.object(Timers, "due", due), patch.object(Timers, "fire", fire)]


def _news_of_timers_is_lost() -> Patches:
    """A timer that is set before the next one that is known of is not heard."""
    return [patch.object(Dispatcher, "_rung", lambda *_: None)]


def _leases_have_no_end() -> Patches:
    """A worker outside that is not heard of again keeps what it took."""
    return [patch.object(Leases, "over", lambda *_: None)]


def _workers_outside_are_always_heard() -> Patches:
    """Whoever took a job reports, whatever became of its lease."""

    def held(self: Leases, tx: Transaction, job: str, attempt: int) -> Job:
        del attempt
        return self._ledger.need(tx, job)

    return [patch.object(Leases, "_held", held)]


def _schedules_make_up_for_all_that_was_missed() -> Patches:
    """Whatever a schedule says of missed times, each of them fires."""
    honest, advance = following, Timers._advance
    last: dict[str, Any] = {}

    def remember(self: Timers, tx: Transaction, timer: Timer) -> Any:
        last["due"] = utc(timer.due)
        return advance(self, tx, timer)

    return [
        patch.object(timing, "following", lambda rule, _: honest(rule, last["due"])),
        patch.object(Timers, "_advance", remember),
    ]


def _a_lane_is_passed_on_before_the_end() -> Patches:
    """The next job of a lane goes as soon as the one before was claimed."""
    honest = Ledger.claim

    def claim(self: Ledger, tx: Transaction, ids: Iterable[str]) -> list[Job]:
        claimed = honest(self, tx, ids)
        for job in claimed:
            if job.lane:
                ended = msgspec.structs.replace(job, state=State.DONE)
                self.jobs.put(tx, ended)
                self._pass_lane(tx, ended)
                self.jobs.put(tx, job)
        return claimed

    return [patch.object(Ledger, "claim", claim)]


def _followers_are_not_counted() -> Patches:
    """Those who come after a job are not taken off its count as they end."""
    return [patch.object(Ledger, "_unfollow", lambda *_: None)]


def _edges_stay() -> Patches:
    """A job that waits in vain leaves its edges."""
    honest = Ledger._end_one

    def end_one(self: Ledger, tx: Transaction, job: Job, state: State) -> None:
        job.state = State.READY if job.state is State.BLOCKED else job.state
        honest(self, tx, job, state)

    return [patch.object(Ledger, "_end_one", end_one)]


def _whoever_comes_after_does_not_wait() -> Patches:
    """A job after others begins at once."""
    honest = Ledger.unblock

    def unblock(self: Ledger, tx: Transaction, job: Job) -> None:
        if job.attempt == 0 and not job.lane:
            job.waits = 0
        honest(self, tx, job)

    return [patch.object(Ledger, "unblock", unblock)]


def _lost_attempts_are_not_noticed() -> Patches:
    """What was running when the server died is left as it is."""

    def sweep(self: Dispatcher) -> None:
        self._sweeping = False

    return [patch.object(Dispatcher, "_sweep", sweep)]


def _ready_jobs_are_not_found_again() -> Patches:
    """What was ready when the server died is not offered by the next."""
    return [patch.object(Dispatcher, "_load", lambda _: None)]


def _nobody_is_asked_what_happened() -> Patches:
    """An attempt after a lost one just acts."""
    return [patch.object(ledgers, "DOUBTFUL", frozenset())]


def _a_doubt_lasts_for_one_attempt() -> Patches:
    """Once somebody was to be asked, the next attempt does not ask again."""
    honest = Ledger._failed

    def failed(self: Ledger, tx: Transaction, job: Job, *args: Any, **kwargs: Any) -> None:
        job.doubtful = False  # whatever was lost before
        honest(self, tx, job, *args, **kwargs)

    return [patch.object(Ledger, "_failed", failed)]


def _keys_are_not_unique() -> Patches:
    """A job is made although one with its key has not ended."""
    get, check = Index.get, Index.check

    def blind_get(self: Any, *args: Any) -> Any:
        return None if is_of_keys(self) else get(self, *args)

    def blind_check(self: Any, *args: Any) -> None:
        if not is_of_keys(self):
            check(self, *args)

    return [patch.object(Index, "get", blind_get), patch.object(Index, "check", blind_check)]


def _hooks_have_transactions_of_their_own() -> Patches:
    """What follows from a job that is done comes after its end is durable."""
    honest, honest_pass = Ledger._done, Dispatcher._pass
    done: list[Job] = []

    def keep(self: Ledger, tx: Transaction, job: Job, outcome: Success, *, hooks: bool) -> None:
        honest(self, tx, job, outcome, hooks=False)
        if hooks and job.task == "tallied":
            tx.after(done.append, job)

    async def run_hooks(self: Dispatcher) -> bool:
        then = self._registry.need("tallied").on_done
        while done and then is not None:
            await self._store.run(then, done.pop(), None)
        return await honest_pass(self)

    return [patch.object(Ledger, "_done", keep), patch.object(Dispatcher, "_pass", run_hooks)]


def _outcomes_are_dropped_when_the_disk_is_full() -> Patches:
    """An outcome that could not be recorded is not brought again."""
    honest = Dispatcher._commit

    async def commit(self: Dispatcher, over: list[Ended], picked: list[Entry]) -> None:
        try:
            await honest(self, over, picked)
        except LogFull:
            del self._over[: len(over)]
            raise

    return [patch.object(Dispatcher, "_commit", commit)]


def _results_come_from_anywhere() -> Patches:
    """A job is given the results of those before it in another order."""

    def results(self: Ledger, tx: Transaction, job: Job) -> list[bytes]:
        return [self.need(tx, before).result for before in reversed(job.after)]

    return [patch.object(Ledger, "results", results)]


def _limits_are_for_others() -> Patches:
    """A queue's limits of what runs at once are not kept."""
    honest = Board._begin

    def begin(self: Board, queue: Any, entry: Entry, takes: Any) -> None:
        honest(self, queue, entry, takes)
        queue.tenants.clear()
        queue.running = 0

    def ended(self: Board, job: str) -> None:
        entry, _ = self._running[job]
        queue = self._queues[entry.queue]
        queue.running += 1
        queue.tenants[entry.tenant] += 1
        ended_honestly(self, job)

    ended_honestly = Board.ended
    return [patch.object(Board, "_begin", begin), patch.object(Board, "ended", ended)]


def _resources_are_not_given_back() -> Patches:
    """What an attempt took is gone for good."""
    honest = Board.ended

    def ended(self: Board, job: str) -> None:
        free = dict(self._free)
        honest(self, job)
        self._free = free

    return [patch.object(Board, "ended", ended)]


def _paused_queues_go_on() -> Patches:
    """Pausing a queue is recorded, and that is all."""
    return [patch.object(Board, "pause", lambda *_: None)]


def _dead_attempts_keep_their_slots() -> Patches:
    """An attempt that does not answer is waited for, for ever."""
    return [patch.object(Attempts, "_force", lambda *_: None)]


def _a_fenced_workflow_goes_on_recording() -> Patches:
    """An attempt at a workflow that is over records its steps nonetheless."""

    def check(self: Steps, tx: Transaction, flow: str, attempt: int) -> Job:
        del attempt
        job = self._ledger.jobs.get(tx, flow)
        if job is None:
            raise Fenced("it is gone")
        return job

    return [patch.object(Steps, "check", check)]


def _a_replay_gives_outcomes_in_the_order_of_steps() -> Patches:
    """What a workflow is told first at a replay is its first step, not what was done first."""
    honest = Flow.__init__

    def init(self: Flow, *args: Any) -> None:
        honest(self, *args)
        self._outcomes = type(self._outcomes)(sorted(self._outcomes, key=lambda step: step.number))

    return [patch.object(Flow, "__init__", init)]


def _steps_are_made_again() -> Patches:
    """A workflow that begins again has no record of the transactions that it made."""
    honest = Flow._ask

    def ask(self: Flow, what: str, arguments: bytes) -> tuple[Step, bool]:
        step, known = honest(self, what, arguments)
        return step, known and not what.startswith("call ")

    return [patch.object(Flow, "_ask", ask)]


def _whoever_sleeps_is_not_woken() -> Patches:
    """A workflow that was taken out of memory stays there when one of its steps is done."""
    return [patch.object(Ledger, "wake", lambda *_: None)]


def _a_stop_leaves_running_what_it_claimed() -> Patches:
    """What is claimed as all stops begins, and is forgotten."""
    honest = Dispatcher._begin

    def begin(self: Dispatcher, picked: list[Entry], claimed: list[Claimed]) -> None:
        draining, self._draining = self._draining, False
        honest(self, picked, claimed)
        self._draining = draining

    return [patch.object(Dispatcher, "_begin", begin)]


def _any_result_will_do() -> Patches:
    """A job is done with a result that is not its attempt's."""
    honest = Dispatcher._attempt_ended

    def attempt_ended(self: Dispatcher, attempt: Any, ended: Ended) -> None:
        if isinstance(ended.outcome, Success) and attempt.task.kind == "task":
            ended = msgspec.structs.replace(ended, outcome=Success(b"\x01"))
        honest(self, attempt, ended)

    return [patch.object(Dispatcher, "_attempt_ended", attempt_ended)]


def _a_schedule_begins_nothing() -> Patches:
    """A schedule says that it fired, and nothing comes of it."""
    honest = Jobs.__init__

    def init(self: Jobs, *args: Any, **kwargs: Any) -> None:
        honest(self, *args, **kwargs)
        self._timers.begin = lambda *_: None

    return [patch.object(Jobs, "__init__", init)]


def is_of_keys(index: Any) -> bool:
    """Whether it is the index of jobs by their keys."""
    return bool(index.name == "jobs.by_key")


JOBS_BUGS: Final[dict[str, Callable[[], Patches]]] = {
    name.removeprefix("_").replace("_", "-"): bug
    for name, bug in list(globals().items())
    if name.startswith("_") and callable(bug) and not name.startswith("__")
}
"""Every deliberate bug by name; its docstring says what it is."""
