"""What a task is told about its attempt, and how it tells of itself: its first argument.

What must stay true: nothing here waits or fails, whatever became of the server meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

TEXT_LENGTH: Final = 1000
"""Of what an attempt says of itself: it is for a person to read."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """A sign of life from an attempt.

    Attributes:
        progress: 0 to 1; None in a mere heartbeat.
        text: what it is at.
    """

    job: str
    attempt: int
    progress: float | None = None
    text: str = ""


class Context:
    """An attempt, as its task sees it.

    Attributes:
        job: the job's id; the same at every attempt.
        key: the same: give it to whatever is called outside as the idempotency key, so that what was
            done by an attempt that was lost is not done again by the next.
        attempt: 1, 2, ...
        tenant: for whom.
    """

    def __init__(
        self,
        job: str,
        attempt: int,
        tenant: str,
        results: Sequence[bytes],
        tell: Callable[[Note], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self.job = job
        self.key = job
        self.attempt = attempt
        self.tenant = tenant
        self._results = results
        self._tell = tell
        self._cancelled = cancelled

    @property
    def results(self) -> list[Any]:
        """What the jobs returned that this one comes after, in the order they were given."""
        return [msgspec.msgpack.decode(data) for data in self._results]

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far it is, 0 to 1, as often as you like: what is shown is the newest, what is
        recorded one in some seconds. A sign of life as well."""
        said = str(text).encode("utf-8", "backslashreplace").decode()[:TEXT_LENGTH]
        self._tell(Note(self.job, self.attempt, min(max(float(fraction), 0.0), 1.0), said))

    def heartbeat(self) -> None:
        """Say that it is alive. Needed where the task has `stall`."""
        self._tell(Note(self.job, self.attempt))

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop: cancelled, out of time, or the server is stopping. A task that
        looks at this now and then can end in its own way: by raising, so that it is run again
        (whatever it raises); or by returning, which says that all is done. Others are ended."""
        return self._cancelled()
