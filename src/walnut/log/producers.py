"""Idempotent appends: which (producer, sequence) pairs became which LSN.

A producer that does not know whether its append arrived sends it again with the same sequence
number and gets the first LSN back. The pairs travel in the notes of the frame that holds their
records, and the whole table in every seal, so that opening the log needs only the last segment.
What must stay true: the table is a function of the frames, so it is the same after a recovery.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Final

import msgspec

from walnut.log.errors import InvalidOption, StaleSequence
from walnut.log.model import Producer

WINDOW: Final = 64
"""Sequences remembered per producer: how many appends may be in flight when a connection breaks."""

MAX_NAME: Final = 255
"""Characters in a producer's name."""

Note = tuple[int, str, int]
"""Position in the frame of a group's first record, producer, sequence."""

_notes = msgspec.msgpack.Decoder(list[Note])
_table = msgspec.msgpack.Decoder(list[tuple[str, list[tuple[int, int]]]])


def pack_notes(notes: list[Note]) -> bytes:
    """The notes section of a frame, as MessagePack; empty for none."""
    return msgspec.msgpack.encode(notes) if notes else b""


def unpack_notes(data: memoryview) -> list[Note]:
    """The notes of a frame."""
    return _notes.decode(data) if data else []


class Producers:
    """The table. Safe to use from several threads."""

    def __init__(self, limit: int, packed: bytes = b"") -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._sent: OrderedDict[str, deque[tuple[int, int]]] = OrderedDict()
        self.forgotten = 0
        for name, sent in _table.decode(packed) if packed else []:
            self._sent[name] = deque(sent, WINDOW)

    def find(self, producer: Producer) -> int | None:
        """The LSN this pair was given, or None if it is new.

        Raises:
            StaleSequence: older than what is remembered.
            InvalidOption: not a pair of a short name and a number that is not negative.
        """
        try:
            name, sequence = producer
        except (TypeError, ValueError):
            raise InvalidOption(
                f"a producer is a pair of its name and a sequence number, not {producer!r:.80}"
            ) from None
        if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME):
            raise InvalidOption(
                f"a producer's name has 1 to {MAX_NAME} characters, not {name!r:.80}"
            )
        if not (isinstance(sequence, int) and 0 <= sequence < 2**63):
            raise InvalidOption(f"a producer's sequence is a number from 0, not {sequence!r:.80}")
        with self._lock:
            sent = self._sent.get(name)
            if not sent or sequence > sent[-1][0]:
                return None
            for number, lsn in sent:
                if number == sequence:
                    return lsn
        raise StaleSequence(
            f"producer {name!r} sent sequence {sequence} after {sent[-1][0]}, and it is not among the "
            f"last {WINDOW} remembered: number appends upwards, and retry before going on"
        )

    def add(self, name: str, sequence: int, lsn: int) -> None:
        """Remember a pair."""
        with self._lock:
            self._sent.setdefault(name, deque(maxlen=WINDOW)).append((sequence, lsn))
            self._sent.move_to_end(name)
            if len(self._sent) > self._limit:
                self._sent.popitem(last=False)
                self.forgotten += 1

    def forget_from(self, lsn: int) -> None:
        """Take back what was given this LSN or a later one: those records were refused."""
        with self._lock:
            for name, sent in list(self._sent.items()):
                while sent and sent[-1][1] >= lsn:
                    sent.pop()
                if not sent:
                    del self._sent[name]

    def pack(self, before: int) -> bytes:
        """The table as of the records before this LSN, as MessagePack."""
        with self._lock:
            table = [
                (name, kept)
                for name, sent in self._sent.items()
                if (kept := [pair for pair in sent if pair[1] < before])
            ]
        return msgspec.msgpack.encode(table)
