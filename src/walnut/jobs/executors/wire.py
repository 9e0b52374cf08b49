"""What a server and its child processes say to each other.

    calls, a socket:    Setup, Do, Do, ...        ──▶  child
                        ◀──  Ready, Told, Told, Done, Told, Done, ...
    control, a socket:  Cancel, ...               ──▶  child; its end tells it that the server is gone
                        ◀──  the traceback of a crash, as text
    life, a pipe:       nothing ever; the kernel kills the child's whole group when it closes

Each message is a frame: its length in 4 bytes, little end first, then MessagePack.

What must stay true: there is one attempt at a time in a child, so the messages between a Do and its
Done are about it; a frame that can't be understood ends the child, for what follows it can't be
trusted.
"""

from __future__ import annotations

from typing import Final

import msgspec

from walnut.jobs.call import Call, Limits
from walnut.jobs.context import Note
from walnut.jobs.outcome import Outcome

LENGTH: Final = 4
READ_BYTES: Final = 64 * 1024
"""At a time: less than what malloc asks of the kernel anew each time."""
OVERHEAD_BYTES: Final = 64 * 1024
"""What a frame may have besides the result: names, a message, the end of a traceback."""
MOST_BYTES: Final = 2**31
"""A call that is larger can't be meant."""


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """How a child is to be.

    Attributes:
        path: its sys.path.
        pythonpath: what PYTHONPATH is in its environment, once it has started.
        result_bytes: what a result may have.
        attempts: after so many it ends.
        memory_bytes: after the attempt that leaves it with more, it ends.
    """

    path: list[str]
    pythonpath: str | None
    result_bytes: int
    attempts: int
    memory_bytes: int


class Do(msgspec.Struct, frozen=True, array_like=True):
    """Make this attempt."""

    call: Call
    limits: Limits


class Cancel(msgspec.Struct, frozen=True, array_like=True):
    """Ask this attempt to end."""

    job: str
    attempt: int


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The child takes calls."""


class Told(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What a running attempt says."""

    note: Note


class Done(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """How the attempt ended.

    Attributes:
        last: the child takes no more, and ends.
    """

    outcome: Outcome
    last: bool


Said = Ready | Told | Done

_encode_into = msgspec.msgpack.Encoder().encode_into


def frame(message: msgspec.Struct) -> bytearray:
    """A message as it is sent."""
    data = bytearray(256)
    _encode_into(message, data, LENGTH)
    data[:LENGTH] = (len(data) - LENGTH).to_bytes(LENGTH, "little")
    return data


class Frames:
    """Cuts a stream into messages. Raises ValueError at a frame of more than `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()

    def feed(self, data: bytes) -> list[memoryview]:
        """The frames that `data` completes."""
        if self._held:
            self._held += data
            data = bytes(self._held) if self._complete() else b""
        view = memoryview(data)
        found = []
        at, end = 0, len(data)
        while end - at >= LENGTH:
            length = int.from_bytes(view[at : at + LENGTH], "little")
            if length > self._most:
                raise ValueError(f"a frame of {length} bytes, where {self._most} are the most")
            if end - at < LENGTH + length:
                break
            found.append(view[at + LENGTH : at + LENGTH + length])
            at += LENGTH + length
        if data:
            self._held = bytearray(view[at:])
        return found

    def _complete(self) -> bool:
        """Whether a large frame is here as a whole: until then it is not copied again."""
        length = int.from_bytes(self._held[:LENGTH], "little")
        return len(self._held) >= LENGTH and (
            length > self._most or len(self._held) >= LENGTH + length
        )
