"""How an attempt ended, as plain data.

What must stay true: an outcome can be stored and sent; nothing of it needs the code that made it.
"""

from __future__ import annotations

import traceback
from typing import Final

import msgspec

from walnut.jobs.errors import ResultTooLarge

TRACE_BYTES: Final = 4096
"""Of a traceback: its end, where the cause is."""
MESSAGE_BYTES: Final = 1024


class Success(msgspec.Struct, frozen=True, array_like=True, tag=1):
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
    except (TypeError, ValueError, OverflowError) as error:
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
    """What an exception is on record, however odd it is."""
    lines = "".join(traceback.format_exception(error))
    return Failure(
        error=name_of(type(error)),
        message=_plain(_words(error)[:MESSAGE_BYTES]),
        kinds=[name_of(kind) for kind in type(error).__mro__[:-1]],
        trace=_plain(lines[-TRACE_BYTES:]),
        retry_after=_seconds(getattr(error, "retry_after", None)),
    )


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its __str__ failed)"


def _plain(text: str) -> str:
    """Without what UTF-8 has no bytes for, as file names may hold."""
    return text.encode(errors="backslashreplace").decode()


def _seconds(value: object) -> float | None:
    """A number of seconds; None if it is something else, as the attributes of others may be."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else None


def name_of(kind: type) -> str:
    """A class as failures name it."""
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
