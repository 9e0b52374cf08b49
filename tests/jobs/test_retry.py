"""When a failed attempt is made again."""

from __future__ import annotations

import math

import pytest

from walnut.jobs import Retry
from walnut.jobs.outcome import MOST_SECONDS, Failure, failure

BROKEN = failure(ConnectionError("no"))


def waits(retry: Retry, chance: float = 0.0) -> list[float | None]:
    return [retry.wait(BROKEN, failures, chance) for failures in range(1, 6)]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        ("exponential", [2.0, 4.0, 8.0, 10.0, None]),
        ("linear", [2.0, 4.0, 6.0, 8.0, None]),
        ("fixed", [2.0, 2.0, 2.0, 2.0, None]),
    ],
)
def test_waits_grow_as_they_are_told_and_end(backoff: str, expected: list[float | None]) -> None:
    retry = Retry(attempts=5, backoff=backoff, first=2.0, most=10.0)  # type: ignore[arg-type]
    assert waits(retry) == expected
    halves = [None if wait is None else wait / 2 for wait in expected]
    assert waits(retry, chance=1.0) == halves


def test_the_nearest_class_decides_and_what_the_task_says_comes_first() -> None:
    class Refused(ConnectionError): ...

    retry = Retry(permanent=(ConnectionError,), transient=(Refused, KeyError))
    assert retry.kind(failure(ConnectionResetError())) == "permanent"
    assert retry.kind(failure(Refused())) == "transient"
    assert retry.kind(failure(KeyError())) == "transient"
    assert retry.kind(failure(IndexError())) == "permanent", "as usual: a mistake"
    assert retry.kind(failure(MemoryError())) == "resource"
    assert retry.kind(failure(OSError())) == "transient"


def test_whoever_was_called_may_ask_for_patience() -> None:
    retry = Retry(attempts=99, first=1.0, most=100.0, jitter=False)
    asked = Failure("E", "", ["E"], retry_after=50.0)
    assert retry.wait(asked, 1, 0.0) == 50.0
    assert retry.wait(asked, 8, 0.0) == 100.0
    assert retry.wait(Failure("E", "", ["E"], retry_after=500.0), 1, 0.0) == 100.0


def test_no_wait_is_too_long_to_be_recorded() -> None:
    endless = Retry(attempts=10_000, most=math.inf, jitter=False)
    assert endless.wait(BROKEN, 9_999, 0.0) == MOST_SECONDS
