"""RocksDB as the engine of tables, by `rocksdict`.

Its own write-ahead log is off, as ours is the only one, and everything is in one column family: a
memtable is flushed whole, and memtables one after another, so what the disk holds is always the state
after some batch, together with that batch's applied LSN.

What must stay true: nothing of RocksDB is seen outside this file, its errors neither.
"""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import rocksdict
from rocksdict import AccessType, Rdict, WriteBatch, WriteOptions

from walnut.log.disk import Disk, sync_path
from walnut.store.engine import APPLIED_KEY, Batch, View
from walnut.store.errors import TablesFailed, TablesLost

MIB = 1 << 20
_CHUNK = 256
"""Rows that a snapshot's scan fetches at once, under one lock."""
_CHUNK_BYTES = 64 << 10
"""And bytes of them, at least one row: a scan may want no more than the first, and rows may be large."""


class RocksOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much memory RocksDB may take.

    Attributes:
        memtable_bytes: written and not yet flushed; up to three times this while it flushes. One
            that fits the processor's caches is twice as fast as one that does not.
        cache_bytes: of blocks read from disk, indexes and filters included.
        open_files: files kept open.
    """

    memtable_bytes: int = 8 * MIB
    cache_bytes: int = 64 * MIB
    open_files: int = 512

    def __call__(self, disk: Disk, path: str, *, read_only: bool) -> RocksEngine:
        """Open, or make, the engine at `path`. Raises TablesLost."""
        del disk  # RocksDB has its own way to the operating system
        return RocksEngine(path, self, read_only=read_only)


@contextmanager
def _named(doing: str, path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # rocksdict has no other
        raise _failed(doing, path, error) from error


def _failed(doing: str, path: str, error: Exception) -> TablesFailed:
    return TablesFailed(
        f"{doing} the tables in {path} failed ({error}): look at the disk; close the store and open it "
        "again to recover, or, if they are damaged, make them anew by `walnut store rebuild`"
    )


def _named_get(get: Callable[[bytes], bytes | None], path: str) -> Callable[[bytes], bytes | None]:
    """`get` with our errors. A call in between costs 0.02 us of 1.6; one of a method would cost more."""

    def named(key: bytes) -> bytes | None:
        try:
            return get(key)
        except Exception as error:  # rocksdict has no other
            raise _failed("reading", path, error) from error

    return named


class RocksEngine:
    """An `Engine`."""

    def __init__(self, path: str, options: RocksOptions, *, read_only: bool) -> None:
        self._path = path
        access = AccessType.read_only() if read_only else AccessType.read_write()
        try:
            settings = _settings(options, all_open=read_only)
            self._db = Rdict(path, options=settings, access_type=access)
        except Exception as error:  # rocksdict has no other
            raise TablesLost(
                f"RocksDB can't open {path} ({error}). If another process has it, open the store read-"
                "only; if it is damaged, `walnut store rebuild` makes the tables anew from the log"
            ) from error
        self.get = _named_get(self._db.get, path)
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `View.get_many`."""
        with _named("reading", self._path):
            return list(self._db.get(list(keys)))

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `View.walk`."""
        return _walk(self._db, self._path, start, stop, reverse=reverse)

    def write(self, batch: Batch, applied: int) -> None:
        """See `Engine.write`."""
        changes = WriteBatch(raw_mode=True)
        for begin, end in batch.ranges:
            changes.delete_range(begin, end)
        for key, value in batch.writes.items():
            if value is None:
                changes.delete(key)
            else:
                changes.put(key, value)
        changes.put(APPLIED_KEY, applied.to_bytes(8, "big"))
        try:  # not `_named`, which costs as much as a small write
            self._db.write(changes, self._unlogged)
        except Exception as error:  # rocksdict has no other
            raise _failed("writing", self._path, error) from error

    def flush(self) -> None:
        """See `Engine.flush`."""
        with _named("flushing", self._path):
            self._db.flush()

    def snapshot(self) -> View:
        """See `Engine.snapshot`."""
        return RocksView(self._db.iter(), self._path)

    def compact(self, start: bytes, stop: bytes) -> None:
        """See `Engine.compact`."""
        with _named("compacting", self._path):
            self._db.flush()
            self._db.compact_range(start, stop)

    def copy_to(self, path: str) -> None:
        """See `Engine.copy_to`."""
        with _named("copying", self._path):
            self._db.flush()  # it lets other threads run meanwhile, and a checkpoint does not
            rocksdict.Checkpoint(self._db).create_checkpoint(path)

    def memory_bytes(self) -> int:
        """See `Engine.memory_bytes`."""
        names = ("rocksdb.cur-size-all-mem-tables", "rocksdb.block-cache-usage")
        return sum(self._db.property_int_value(name) or 0 for name in names)

    def close(self) -> None:
        """See `Engine.close`."""
        with _named("closing", self._path):
            self._db.close()


class RocksView:
    """A `View` of a moment: an iterator that was made then. (The iterators of a `Snapshot` of
    rocksdict 0.3 show what was written after it.)"""

    def __init__(self, iterator: rocksdict.RdictIter, path: str) -> None:
        self._iterator = iterator
        self._path = path
        self._lock = threading.Lock()

    def get(self, key: bytes) -> bytes | None:
        """See `View.get`."""
        with self._lock:
            at = self._iterator
            at.seek(key)
            if not at.valid():
                _check(at, self._path)
                return None
            value: bytes | None = at.value() if at.key() == key else None
            return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `View.get_many`."""
        return [self.get(key) for key in keys]

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `View.walk`."""
        while chunk := self._backwards(start, stop) if reverse else self._forwards(start, stop):
            yield from chunk
            start, stop = (start, chunk[-1][0]) if reverse else (chunk[-1][0] + b"\0", stop)

    def _forwards(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        with self._lock:
            at, chunk, held = self._iterator, list[tuple[bytes, bytes]](), 0
            at.seek(start)
            while at.valid() and (key := at.key()) < stop:
                chunk.append((key, value := at.value()))
                held += len(value)
                if len(chunk) == _CHUNK or held >= _CHUNK_BYTES:
                    return chunk
                at.next()
            if not at.valid():
                _check(at, self._path)
            return chunk

    def _backwards(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        with self._lock:
            at, chunk, held = self._iterator, list[tuple[bytes, bytes]](), 0
            at.seek_for_prev(stop)
            if at.valid() and at.key() == stop:
                at.prev()
            while at.valid() and (key := at.key()) >= start:
                chunk.append((key, value := at.value()))
                held += len(value)
                if len(chunk) == _CHUNK or held >= _CHUNK_BYTES:
                    return chunk
                at.prev()
            if not at.valid():
                _check(at, self._path)
            return chunk


def _check(iterator: rocksdict.RdictIter, path: str) -> None:
    """An iterator that is not valid has come to the end, or to something damaged: raise then."""
    with _named("reading", path):
        iterator.status()


def _walk(
    db: Rdict, path: str, start: bytes, stop: bytes, *, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    # Without the bounds of `ReadOptions`: in rocksdict 0.3 the lower one is taken for the upper one,
    # and neither outlives the options object.
    items = iter(db.items(backwards=reverse, from_key=stop if reverse else start))
    seen = stop if reverse else start

    def within(item: tuple[bytes, bytes]) -> bool:
        nonlocal seen
        seen = item[0]
        return seen >= start if reverse else seen < stop

    def end() -> Iterator[tuple[bytes, bytes]]:
        """What ends `items` may also be something damaged, which it does not tell."""
        at = db.iter()
        (at.seek_for_prev if reverse else at.seek)(seen)
        if at.valid() and at.key() == seen:
            (at.prev if reverse else at.next)()
        if not at.valid():
            _check(at, path)
        yield from ()

    if reverse:
        items = itertools.dropwhile(lambda item: item[0] >= stop, items)
    return itertools.takewhile(within, itertools.chain(items, end()))


def _settings(options: RocksOptions, *, all_open: bool) -> rocksdict.Options:
    settings = rocksdict.Options(raw_mode=True)
    settings.create_if_missing(True)
    settings.set_write_buffer_size(options.memtable_bytes)
    settings.set_max_write_buffer_number(3)
    settings.set_max_background_jobs(2)
    # Who only reads opens all files at once: the writer may delete them at any time.
    settings.set_max_open_files(-1 if all_open else options.open_files)
    settings.set_keep_log_file_num(2)
    settings.set_max_log_file_size(MIB)
    # Rewritten with each change: it names first and last keys of files, dropped files' ones too.
    settings.set_max_manifest_file_size(1)
    settings.set_compression_type(rocksdict.DBCompressionType.lz4())
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(options.cache_bytes))
    blocks.set_bloom_filter(10, block_based=False)
    blocks.set_cache_index_and_filter_blocks(True)
    settings.set_block_based_table_factory(blocks)
    return settings


def remove_tables(path: str) -> None:
    """Delete an engine's directory."""
    shutil.rmtree(path, ignore_errors=True)
    if Path(path).parent.exists():
        sync_path(str(Path(path).parent))
