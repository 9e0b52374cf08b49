"""Attempts on any `concurrent.futures.Executor`: a process pool, Dask, Ray. How work outgrows a machine.

    start ──▶ executor.submit(perform_bytes, Call as bytes) ──▶ anywhere that has the code
                   └── Outcome as bytes, or the executor's own exception ──▶ WorkerDied

What must stay true: an executor that breaks, loses workers or cancels gives Failures, and wedges
nothing; an attempt that it makes a second time by itself is the dispatcher's to fence, so tell it not
to: `client.get_executor(retries=0)` and `distributed.scheduler.allowed-failures: 0` with Dask.

On purpose left out: notes, `ctx.cancelled` and limits do not reach that far. Tasks that run here can't
have `stall`, and an attempt that is killed while it runs is abandoned.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from functools import partial
from typing import Any

import msgspec

from walnut.jobs.call import Call, Limits, Tell
from walnut.jobs.context import Note
from walnut.jobs.executors.attempt import attempt
from walnut.jobs.executors.runner import died, key_of, unavailable
from walnut.jobs.outcome import Outcome, failure, name_of


class _Attempt:
    __slots__ = ("call", "future", "inner")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.inner: Future[bytes] | None = None
        self.future: Future[Outcome] = Future()
        self.future.set_running_or_notify_cancel()


class FutureRunner:
    """A `Runner` over somebody's executor."""

    def __init__(
        self, executor: Executor | Callable[[], Executor], slots: int, result_bytes: int
    ) -> None:
        """Take an executor, which stays its owner's to shut down; or make one, when it is needed.

        Args:
            executor: an executor, or what makes one. One that was made here is replaced when it
                breaks, as a `ProcessPoolExecutor` does for good when a single task crashes.
            slots: how many attempts it is given at once.
            result_bytes: a result may have, as it is stored.
        """
        self.slots = slots
        self._result_bytes = result_bytes
        self._given = executor if isinstance(executor, Executor) else None
        self._make = None if isinstance(executor, Executor) else executor
        self._made: Executor | None = None
        self._lock = threading.Lock()
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._closed = False

    def start(self, call: Call, limits: Limits, tell: Tell) -> Future[Outcome]:  # noqa: ARG002
        """See `Runner`. As cheap as the executor's `submit`."""
        made = _Attempt(call)
        key = key_of(call)
        with self._lock:
            if self._closed:
                made.future.set_result(unavailable("the executor was closed"))
                return made.future
            assert key not in self._attempts, "an attempt is started once"
            self._attempts[key] = made
        try:
            made.inner = self._submit(msgspec.msgpack.encode(call))
        except Exception as error:
            why = f"the executor takes nothing more ({name_of(type(error))}: {error})"
            if self._make is None:
                why += ": give one that works, or what makes one"
            self._resolve(made, unavailable(why))
        else:
            made.inner.add_done_callback(partial(self._done, made))
        return made.future

    def cancel(self, call: Call) -> None:
        """See `Runner`: what has begun does not hear of it, but some executors let go of it."""
        with self._lock:
            made = self._attempts.get(key_of(call))
        if made is not None and made.inner is not None:
            made.inner.cancel()

    def kill(self, call: Call) -> None:
        """See `Runner`: it is abandoned."""
        with self._lock:
            made = self._attempts.get(key_of(call))
        if made is None:
            return
        how = "was abandoned: its executor can't end it by force, and it may still be at it"
        if self._resolve(made, died(call, how)) and made.inner is not None:
            made.inner.cancel()

    def close(self, timeout: float) -> None:
        """See `Runner`. An executor that was made here is shut down, and its processes are ended."""
        with self._lock:
            self._closed = True
            left = list(self._attempts.values())
        wait([made.future for made in left], timeout)
        for made in left:
            self.kill(made.call)
        with self._lock:
            if self._made is not None:
                _discard(self._made)
                self._made = None

    def _submit(self, data: bytes) -> Future[bytes]:
        executor = self._executor()
        try:
            return executor.submit(perform_bytes, data, self._result_bytes)
        except BrokenExecutor:
            if self._make is None:
                raise
            self._broken(executor)
            return self._executor().submit(perform_bytes, data, self._result_bytes)

    def _executor(self) -> Executor:
        if self._given is not None:
            return self._given
        with self._lock:
            if self._made is None:
                assert self._make is not None
                self._made = self._make()
            return self._made

    def _broken(self, executor: Executor) -> None:
        """Make another, unless that was done."""
        with self._lock:
            if self._made is not executor:
                return
            self._made = None
        executor.shutdown(wait=False, cancel_futures=True)

    def _done(self, made: _Attempt, inner: Future[bytes]) -> None:
        try:
            outcome = _outcome(inner.result())
        except CancelledError:
            outcome = died(made.call, "was cancelled by its executor, where it may have begun")
        except BaseException as error:
            found = died(made.call, f"was lost by its executor: {name_of(type(error))}: {error}")
            outcome = msgspec.structs.replace(found, trace=failure(error).trace)
        self._resolve(made, outcome)

    def _resolve(self, made: _Attempt, outcome: Outcome) -> bool:
        """Answer, unless that was done."""
        with self._lock:
            if self._attempts.get(key_of(made.call)) is not made:
                return False
            del self._attempts[key_of(made.call)]
        made.future.set_result(outcome)
        return True


def perform_bytes(data: bytes, result_bytes: int) -> bytes:
    """What an executor runs: from a Call to an Outcome, both as MessagePack."""
    outcome = attempt(_call(data), _no_note, bool, result_bytes)
    return msgspec.msgpack.encode(outcome)


_call = msgspec.msgpack.Decoder(Call).decode
_outcome = msgspec.msgpack.Decoder[Outcome](Outcome).decode


def _no_note(note: Note) -> None:
    """Nobody hears it from there."""


def _discard(executor: Executor) -> None:
    """Shut down without waiting for what was abandoned; the processes of a pool are ended."""
    processes = list((getattr(executor, "_processes", None) or {}).values())  # Python 3.14 asks
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with contextlib.suppress(ValueError):  # it has ended and was closed
            process.kill()


class RayExecutor(Executor):
    """Ray, as an executor: `pip install ray`, `ray.init(...)`, `FutureRunner(RayExecutor(), 100, ...)`.

    It does not try anything again by itself.
    """

    def __init__(self, **options: Any) -> None:
        """Args:
        options: of `ray.remote`, such as `num_cpus`.
        """
        self._ray = importlib.import_module("ray")
        self._options = {"max_retries": 0} | options
        self._known: dict[Callable[..., Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it somewhere."""
        if fn not in self._known:
            self._known[fn] = self._ray.remote(**self._options)(fn)
        future: Future[Any] = self._known[fn].remote(*args, **kwargs).future()
        return future
