"""Backups: the tables of a moment and the log around it, in a directory or an object store.

    bases/<LSN>.json        the tables as they were at that LSN: names, sizes and checksums of files
    files/<SHA-256>         those files, each stored once however many bases name it
    log/                    the archive of the log (docs/archive-format.md)

A moment is restored from the newest base before it and the log from there on. The keys of subjects are
not in a backup: a copy of them would bring back what was erased.

What must stay true: a base is named only after all its files are stored, so a backup that is cut short
leaves the others as they were; nothing comes out without its checksum checked.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from walnut.log import Log
from walnut.log.archive import Archive, restore
from walnut.log.disk import StrPath, sync_path
from walnut.log.errors import NotALog
from walnut.log.model import LogOptions
from walnut.log.place import Place, local_path
from walnut.store.engine import Engine, OpenEngine, applied_lsn
from walnut.store.errors import BackupError, InvalidSetting
from walnut.store.record import unpack, utc
from walnut.store.rocks import remove_tables

VERSION: Final = 1
_BASES: Final = "bases/"
_PARTS: Final = ("bases", "files", "log")

Progress = Callable[[int, int], None]
"""Told how much is done and how much there is."""


class BaseFile(msgspec.Struct, frozen=True):
    """A file of the tables: its name there, its size, its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of a moment.

    Attributes:
        lsn: they are the state after it.
        log_id: the log they were folded from.
        made: when, ns since the Unix epoch.
        files: what they consist of.
    """

    version: int = VERSION
    lsn: int
    log_id: str
    made: int
    files: tuple[BaseFile, ...]


class BackupReport(msgspec.Struct, frozen=True):
    """What a backup stored: the base's LSN, files new and in all, bytes of the new ones, and the
    LSN after the last record archived."""

    lsn: int
    new_files: int
    files: int
    new_bytes: int
    next_lsn: int


def back_up(
    engine: Engine,
    open_engine: OpenEngine,
    log: Log,
    url: StrPath,
    scratch: str,
    progress: Progress | None = None,
) -> BackupReport:
    """Store a base of the tables as they are now, and the log up to now. Writers go on meanwhile.
    `scratch` is a directory to be made and removed, on the same disk as the tables.

    Raises BackupError, ArchiveError."""
    place = Place(url)
    older = bases(place)
    for base in older[-1:]:
        if base.log_id != log.log_id:
            raise BackupError(
                f"{place.url} holds backups of another store ({base.log_id[:8]}): use another place"
            )
    with _scratch(scratch) as copy:
        engine.copy_to(str(copy))
        names = sorted(path.name for path in copy.iterdir() if path.name != "LOCK")
        known = {(file.name, file.size): file for base in older for file in base.files}
        files, new = list[BaseFile](), list[BaseFile]()
        for done, name in enumerate(names):
            file, is_new = _store_file(place, copy / name, known)
            files.append(file)
            new += [file] if is_new else []
            if progress is not None:
                progress(done + 1, len(names))
        opened = open_engine(log.options.disk, str(copy), read_only=True)
        lsn = applied_lsn(opened)
        opened.close()
    archived = Archive(place.inside("log")).push(log)
    base = Base(lsn=lsn, log_id=log.log_id, made=log.options.clock(), files=tuple(files))
    place.put(f"{_BASES}{lsn:020}.json", msgspec.json.format(msgspec.json.encode(base), indent=1))
    return BackupReport(
        lsn, len(new), len(files), sum(file.size for file in new), archived.next_lsn
    )


def _store_file(
    place: Place, path: Path, known: dict[tuple[str, int], BaseFile]
) -> tuple[BaseFile, bool]:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    file = BaseFile(path.name, len(data), digest)
    if known.get((file.name, file.size)) == file:
        return file, False
    place.put(f"files/{digest}", data)
    return file, True


def check_outside(url: StrPath, store: str) -> None:
    """Raise InvalidSetting if a backup would share a directory with the store at the path `store`."""
    place = local_path(url)
    if place is None:
        return
    there, here = place.resolve(), Path(store).resolve()
    ours = [here, *(path.resolve() for path in here.glob("*"))]  # which may be elsewhere, by a link
    theirs = [there / part for part in _PARTS]
    if any(there.is_relative_to(path) for path in ours) or any(map(here.is_relative_to, theirs)):
        raise InvalidSetting(
            f"a backup in {url} would be in the same place as the store {store} itself: give another "
            "directory, best on another disk"
        )


def bases(place: Place) -> list[Base]:
    """The bases of a backup, oldest first. Raises BackupError."""
    found = []
    for key in place.keys(_BASES):
        data = place.get(key)
        try:
            base = msgspec.json.decode(data or b"", type=Base)
        except msgspec.MsgspecError as error:
            raise BackupError(f"{key} in {place.url} is damaged: {error}") from error
        if base.version != VERSION:
            raise BackupError(
                f"{key} in {place.url} has version {base.version} and this Walnut knows {VERSION}: use "
                "the newer one that wrote it"
            )
        found.append(base)
    return sorted(found, key=lambda base: base.lsn)


def restore_files(
    url: StrPath,
    path: str,
    to: int | dt.datetime | None,
    options: LogOptions,
    progress: Progress | None = None,
) -> None:
    """Put tables and log of a moment into `path`, which is new or empty. Opening it as a store folds
    the rest: all of it, if no tables are as old and the log reaches back to the beginning.

    Args:
        to: the last LSN; or a time, and the last transaction decided until then; None: all.

    Raises InvalidSetting, BackupError, ArchiveError, NotALog."""
    if to is not None and (isinstance(to, bool) or not isinstance(to, int | dt.datetime)):
        raise InvalidSetting(f"{to!r} is no moment to restore: give an LSN, or an aware datetime")
    place = Place(url)
    check_empty(path)
    log, tables, archive = f"{path}/log", f"{path}/tables", place.inside("log")
    try:
        if isinstance(to, dt.datetime):
            first = restore(archive, log, options=options).first_lsn
            last = _cut_at(log, to, options)
        else:
            restored = restore(archive, log, to_lsn=to, options=options)
            first, last = restored.first_lsn, restored.next_lsn - 1
        Path(tables).mkdir()
        if first > 1 or any(base.lsn <= last for base in bases(place)):
            fetch_base(place, first - 1, last, None, f"{tables}/public", progress)
    except BaseException:
        for half_made in (log, tables):
            remove_tables(half_made)
        raise


def check_empty(path: StrPath) -> None:
    """Raise NotALog if something is in the directory that a store is to be made in."""
    if Path(path).exists() and any(Path(path).iterdir()):
        raise NotALog(f"{path} is not empty: give a new directory")


def fetch_base(
    place: Place,
    low: int,
    high: int,
    log_id: str | None,
    path: str,
    progress: Progress | None = None,
) -> Base:
    """Put the files of the newest base between two LSNs (of this log, if given) into the directory
    `path`, which is made. Raises BackupError."""
    known = bases(place)
    fitting = [b for b in known if low <= b.lsn <= high and log_id in {None, b.log_id}]
    if not fitting:
        there = ", ".join(str(base.lsn) for base in known) or "none"
        raise BackupError(
            f"{place.url} has no tables between LSN {low} and {high}, where they are needed; it has "
            f"those at: {there}. Take another backup, or another moment"
        )
    base, target = fitting[-1], Path(path)
    target.mkdir()
    for done, file in enumerate(base.files):
        (target / file.name).write_bytes(_fetch(place, file))
        sync_path(str(target / file.name))
        if progress is not None:
            progress(done + 1, len(base.files))
    sync_path(path)
    return base


def _fetch(place: Place, file: BaseFile) -> bytes:
    """A file of a base, checked. Raises BackupError."""
    data = place.get(f"files/{file.sha256}")
    if data is None or hashlib.sha256(data).hexdigest() != file.sha256:
        raise BackupError(
            f"files/{file.sha256} in {place.url} ({file.name} of the tables) is "
            f"{'missing' if data is None else 'damaged'}: restore from another base or backup"
        )
    return data


def _cut_at(path: str, moment: dt.datetime, options: LogOptions) -> int:
    if moment.tzinfo is None:
        raise BackupError(f"{moment} has no time zone: give an aware datetime")
    with Log(path, options) as log:
        last = log.first_lsn - 1
        for record in log.read():
            commit = unpack(record.data, record.lsn)
            if utc(commit.time if commit is not None else record.time) > moment:
                break
            last = record.lsn
        log.truncate_after(last)
    return last


@contextmanager
def _scratch(path: str) -> Iterator[Path]:
    remove_tables(path)  # of a backup that was killed
    try:
        yield Path(path)
    finally:
        remove_tables(path)
