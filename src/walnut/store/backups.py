"""Backups of a running store: to places that have names, one at a time, in a thread, with progress.

    start ─▶ Under way: done of total ─▶ Ended: what it stored, or why it failed

What must stay true: a place is one of those that were configured, as whoever may ask for a backup must
not choose where on this machine it is written; no copy outlives `close`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from walnut.log.archive import Archive
from walnut.log.errors import LogError
from walnut.log.place import Place
from walnut.store.backup import BackupReport, bases
from walnut.store.drill import BackupCheck
from walnut.store.errors import BackupRunning, StoreError, UnknownBackup
from walnut.store.store import Store

What = Literal["backup", "check"]
POINTS: Final = 10_000
"""Restore points that are told of one place, the newest."""


class Stopped(StoreError):
    """A copy was ended because the store is about to close."""


class Run(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A backup or a check of one, under way or ended.

    Attributes:
        began, ended: ns since the Unix epoch; ended is 0 while it is under way.
        done, total: parts of the copy so far, and in all; 0 before that is known.
        stored: by a backup. found: by a check. error: why it failed.
    """

    what: What
    place: str
    began: int
    ended: int = 0
    done: int = 0
    total: int = 0
    stored: BackupReport | None = None
    found: BackupCheck | None = None
    error: str = ""


class Point(msgspec.Struct, frozen=True):
    """Tables of a moment: any LSN from here on to the end of the archived log can be restored.

    Attributes:
        lsn: they are the state after it. made: when, ns since the Unix epoch.
        files, bytes: what they consist of; most of it is shared with other points.
    """

    lsn: int
    made: int
    files: int
    bytes: int


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a place holds: restore points, oldest first, and the LSNs [first, next) of the log there.
    `newest` is when the last of these was written, ns."""

    points: list[Point]
    first_lsn: int = 0
    next_lsn: int = 0
    newest: int = 0


class Backups:
    """The backups of one store. Used on one event loop.

    Args:
        places: directories or URLs by the names they are asked for.
    """

    def __init__(self, store: Store, places: Mapping[str, str]) -> None:
        self.store = store
        self.places = dict(places)
        self.last: dict[tuple[str, What], Run] = {}
        """Of each place the last of each kind, since the server was started."""
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def running(self) -> Run | None:
        """What is under way."""
        return next((run for run in self.last.values() if not run.ended), None)

    def start(self, place: str, *, hold: bool = False) -> Run:
        """Begin a backup. `hold`: keep the log from this backup on until the next one to this place.

        Raises UnknownBackup, BackupRunning."""
        slot = f"backup-{place}" if hold else None
        return self._begin(
            "backup", place, lambda url, told: self.store.backup(url, slot=slot, progress=told)
        )

    def check(self, place: str, to: int | None = None) -> Run:
        """Begin to verify a backup by restoring it, all or up to an LSN, beside the tables.

        Raises UnknownBackup, BackupRunning."""
        return self._begin(
            "check", place, lambda url, told: self.store.check_backup(url, to=to, progress=told)
        )

    async def kept(self, place: str) -> Kept:
        """What a place holds. Raises UnknownBackup, BackupError, ArchiveError."""
        return await asyncio.to_thread(_kept, self.url_of(place))

    def url_of(self, place: str) -> str:
        """Where a place is. Raises UnknownBackup."""
        url = self.places.get(place)
        if url is None:
            there = ", ".join(sorted(self.places)) or "none"
            raise UnknownBackup(
                f"no place for backups is called {place!r:.80}; of those in walnut.toml: {there}"
            )
        return url

    def _begin(
        self, what: What, place: str, copy: Callable[[str, Callable[[int, int], None]], Any]
    ) -> Run:
        url = self.url_of(place)
        if (other := self.running) is not None:
            raise BackupRunning(
                f"a {other.what} of {other.place} is under way, and one at a time is: come again when it "
                "has ended"
            )
        run = self.last[place, what] = Run(what=what, place=place, began=time.time_ns())
        self._task = asyncio.get_running_loop().create_task(self._run(run, url, copy))
        return run

    async def _run(self, run: Run, url: str, copy: Callable[..., Any]) -> None:
        def told(done: int, total: int) -> None:
            run.done, run.total = done, total
            if self._stopping:
                raise Stopped("the server stops: start the backup again after that")

        try:
            report = await asyncio.to_thread(copy, url, told)
            if isinstance(report, BackupReport):
                run.stored = report
            else:
                run.found = report
        except (StoreError, LogError, OSError) as error:
            run.error = str(error)
        finally:
            run.ended = time.time_ns()

    async def close(self) -> None:
        """End what is under way, at its next part, and wait for that."""
        self._stopping = True
        if self._task is not None:
            await asyncio.wait([self._task])


def _kept(url: str) -> Kept:
    place = Place(url)
    points = [
        Point(base.lsn, base.made, len(base.files), sum(file.size for file in base.files))
        for base in bases(place)[-POINTS:]
    ]
    manifest = Archive(place.inside("log")).manifest()
    if manifest is None:
        return Kept(points=points)
    newest = manifest.entries[-1].last_time if manifest.entries else 0
    return Kept(
        points=points, first_lsn=manifest.first_lsn, next_lsn=manifest.next_lsn, newest=newest
    )
