"""Slots: named, durable positions of readers, which hold back truncation.

Each is a small file of its own, `slot-NAME`, so that a reader in another process moves its slot
without asking the writer. What must stay true: a slot never moves backwards by itself, and the
records from its LSN on are there until it moves, is dropped by hand, or lags past its bound.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

import msgspec

from walnut.log.control import checked_line, decoded, with_checksum
from walnut.log.disk import Directory, read_file, replace_file
from walnut.log.errors import InvalidOption, SlotLost, disk_errors
from walnut.log.model import check_lsn

PREFIX: Final = "slot-"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class _Saved(msgspec.Struct, frozen=True):
    lsn: int


def file_name(name: str) -> str:
    """The slot's file. Raises InvalidOption for a name that can't be a file's."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(".tmp"):
        raise InvalidOption(
            f"{name!r:.80} can't name a slot: use 1 to 64 letters, digits, dots, dashes, underscores"
        )
    return PREFIX + name


class Slot:
    """A named position: `lsn` is the next record its reader needs."""

    def __init__(self, directory: Directory, name: str) -> None:
        self.name = name
        self._directory = directory
        self._file = file_name(name)

    @property
    def lsn(self) -> int:
        """The next LSN its reader needs. Raises SlotLost, LogCorrupt."""
        with disk_errors(f"reading slot {self.name!r}"):
            data = read_file(self._directory, self._file)
        if data is None:
            raise SlotLost(
                f"slot {self.name!r} does not exist: it was never made, or was dropped, perhaps for "
                "lagging past retention.slot_bytes; make it again and start from the log's first LSN"
            )
        return decoded(self._file, checked_line(self._file, data), _Saved).lsn

    def advance(self, lsn: int) -> None:
        """Everything before `lsn` was dealt with. Durable on return; going back is refused.

        Raises SlotLost, InvalidOption."""
        if check_lsn(lsn) < self.lsn:
            raise InvalidOption(
                f"slot {self.name!r} is at {self.lsn} and can't go back to {lsn}: what is before it "
                "may be gone. Drop the slot and make it anew to start over"
            )
        self._save(lsn)

    def rewind(self, lsn: int) -> None:
        """Go back to `lsn` if it is past it: what was there has been cut off."""
        if self.lsn > lsn:
            self._save(lsn)

    def create(self, lsn: int) -> None:
        """Make it at `lsn`, if it is not there."""
        if read_file(self._directory, self._file) is None:
            self._save(lsn)

    def drop(self) -> None:
        """Forget it, durably. Raises SlotLost."""
        with disk_errors(f"dropping slot {self.name!r}"):
            try:
                self._directory.remove(self._file)
            except FileNotFoundError:
                raise SlotLost(f"slot {self.name!r} does not exist") from None
            self._directory.sync()

    def _save(self, lsn: int) -> None:
        with disk_errors(f"saving slot {self.name!r}"):
            replace_file(
                self._directory, self._file, with_checksum(msgspec.json.encode(_Saved(lsn)))
            )


def list_slots(directory: Directory) -> list[Slot]:
    """Every slot there is, by name."""
    names = (
        name.removeprefix(PREFIX)
        for name in directory.names()
        if name.startswith(PREFIX) and not name.endswith(".tmp")
    )
    return [Slot(directory, name) for name in sorted(names)]


def slot_lsns(directory: Directory) -> dict[str, int]:
    """Every slot's LSN by its name, but of those that someone drops under our eyes."""
    lsns = {}
    for slot in list_slots(directory):
        with contextlib.suppress(SlotLost):
            lsns[slot.name] = slot.lsn
    return lsns
