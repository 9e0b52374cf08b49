"""When a failed attempt is made again: a decision by value, nothing else.

What must stay true: the same failure, count and chance give the same answer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

import msgspec

from walnut.jobs.errors import InvalidTask
from walnut.jobs.outcome import MOST_SECONDS, Failure, name_of

PERMANENT: Final = frozenset({
    "TypeError", "ValueError", "LookupError", "AttributeError", "NameError", "AssertionError",
    "ImportError", "NotImplementedError", "SyntaxError",
    "msgspec.ValidationError",
})  # fmt: skip
"""Mistakes in code or data: what is tried again fails again."""
RESOURCE: Final = frozenset({"MemoryError", "walnut.jobs.errors.LimitExceeded"})
"""There was too little of something: later there may be more."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and how long after, a task that failed is tried again.

    Attributes:
        attempts: in all, the first included.
        backoff: how the wait grows from `first` seconds, up to `most`.
        jitter: a random part of each wait is left out, up to half, so that what failed together does
            not return together.
        resource_wait: seconds at least before the next attempt if something had run out.
        transient, permanent, resource: exceptions of the task that are of this kind, over the usual:
            a mistake in code or data (`ValueError`, `TypeError`, ...) is permanent and not tried again;
            `MemoryError` and limits exceeded are resource; all others are transient.
    """

    attempts: int = 5
    backoff: Literal["exponential", "linear", "fixed"] = "exponential"
    first: float = 1.0
    most: float = 3600.0
    jitter: bool = True
    resource_wait: float = 30.0
    transient: Collection[type[BaseException]] = ()
    permanent: Collection[type[BaseException]] = ()
    resource: Collection[type[BaseException]] = ()

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        if self.attempts < 1 or self.first < 0 or self.most < self.first:
            raise InvalidTask(
                f"attempts is {self.attempts}, first {self.first} and most {self.most}: at least one "
                "attempt, and waits that do not shrink"
            )

    def kind(self, failure: Failure) -> Literal["transient", "permanent", "resource"]:
        """Of which kind a failure is: what the task says comes first, the nearest class counts."""
        said = {
            name_of(error): kind
            for kind in ("transient", "permanent", "resource")
            for error in getattr(self, kind)
        }
        for name in failure.kinds:
            if name in said:
                return said[name]  # type: ignore[return-value]
        for name in failure.kinds:
            if name in PERMANENT:
                return "permanent"
            if name in RESOURCE:
                return "resource"
        return "transient"

    def wait(self, failure: Failure, failures: int, chance: float) -> float | None:
        """Seconds until the next attempt, after so many `failures`; None if there is none.

        Args:
            chance: a random number, 0 to 1.
        """
        kind = self.kind(failure)
        if kind == "permanent" or failures >= self.attempts:
            return None
        factor = {"exponential": 2.0 ** min(failures - 1, 62), "linear": failures, "fixed": 1}
        seconds = min(self.first * factor[self.backoff], self.most)
        if self.jitter:
            seconds *= 1 - chance / 2
        if kind == "resource":
            seconds = max(seconds, self.resource_wait)
        if failure.retry_after is not None:
            seconds = max(seconds, min(failure.retry_after, self.most))
        return min(seconds, MOST_SECONDS)
