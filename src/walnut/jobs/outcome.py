"""How an attempt ended, as plain data.

What must stay true: an outcome can be stored and sent; nothing of it needs the code that made it.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from typing import Final

import msgspec

from walnut.jobs.errors import ResultTooLarge

TRACE_BYTES: Final = 4096
"""Of a traceback: its end, where the cause is."""
MESSAGE_BYTES: Final = 1024
MOST_SECONDS: Final = 366 * 86_400.0
"""The longest time that somebody may ask to be left alone for."""


class Success(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """It returned this: MessagePack."""

    result: bytes


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """It raised.

    Attributes:
        error: the class, as module.Name. message: in words.
        kinds: the class and those it derives from.
        trace: the end of the traceback.
        retry_after: seconds, if whoever was called asked for them.
    """

    error: str
    message: str
    kinds: list[str] = []
    trace: str = ""
    retry_after: float | None = None


Outcome = Success | Failure


def success(result: object, task: str, result_bytes: int) -> Success:
    """What a task of this name returned. Raises ResultTooLarge."""
    try:
        data = msgspec.msgpack.encode(result)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ResultTooLarge(
            f"{task} returned what can't be stored ({error}): return plain data, or structs"
        ) from error
    if len(data) > result_bytes:
        raise ResultTooLarge(
            f"{task} returned {len(data)} bytes and may return {result_bytes}: keep large "
            "results in files, and return their names"
        )
    return Success(data)


def failure(error: BaseException) -> Failure:
    """What an exception is on record."""
    return Failure(
        error=name_of(type(error)),
        message=_text(str, error)[:MESSAGE_BYTES],
        kinds=[name_of(kind) for kind in type(error).__mro__[:-1]],
        trace=_text(lambda error: "".join(traceback.format_exception(error)), error)[-TRACE_BYTES:],
        retry_after=_seconds(getattr(error, "retry_after", None)),
    )


def _text(of: Callable[[BaseException], str], error: BaseException) -> str:
    """What an error says of itself, as text that can be stored."""
    try:
        return of(error).encode("utf-8", "backslashreplace").decode()
    except Exception as another:
        return f"(it can't say: {type(another).__name__})"


def _seconds(wanted: object) -> float | None:
    """Others' errors have a `retry_after` too, and anything may be in it."""
    if isinstance(wanted, int | float) and 0 <= wanted < math.inf:
        return min(float(wanted), MOST_SECONDS)
    return None


def name_of(kind: type) -> str:
    """A class as failures name it."""
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
