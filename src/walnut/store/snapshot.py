"""A snapshot: the durable state of one moment.

What must stay true: it is the state after exactly one LSN, whatever is written while it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from walnut.store.engine import View
from walnut.store.keyring import Keyring


class Snapshot:
    """Something to read tables through. It costs little to make; while it lives, nothing it can see
    is dropped from the disk, so don't keep it for long.

    Attributes:
        lsn: it is the state after this one.
    """

    def __init__(self, view: View, lsn: int, keyring: Keyring) -> None:
        self.lsn = lsn
        self.keyring = keyring
        self._view = view

    def read(self, key: bytes) -> bytes | None:
        """See `Reader.read`."""
        return self._view.get(key)

    def read_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Reader.read_many`."""
        return self._view.get_many(keys)

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Reader.walk`."""
        return self._view.walk(start, stop, reverse=reverse)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._view
