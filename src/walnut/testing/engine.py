"""A model of the engine of tables: atomic flush or nothing, on the simulated disk.

A dict in memory and a file with what was flushed last, replaced as a whole. It flushes by itself now
and then, as RocksDB does when a memtable is full. `tests/store/test_engine.py` holds both engines
against the same expectations, RocksDB with real kills.

What must stay true: after a crash it holds the state after some batch that was written, with that
batch's applied LSN; at least the last one before a `flush` that returned.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

import msgspec

from walnut.log.disk import Disk, read_file, replace_file
from walnut.store.engine import APPLIED_KEY, Batch, View
from walnut.store.errors import TablesFailed

_FILE = "tables"


class ModelView:
    """Sorted bytes in memory."""

    def __init__(self, data: dict[bytes, bytes]) -> None:
        self.data = data
        self.keys = sorted(data)

    def get(self, key: bytes) -> bytes | None:
        """See `View.get`."""
        return self.data.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `View.get_many`."""
        return [self.data.get(key) for key in keys]

    def walk(
        self, start: bytes, stop: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `View.walk`."""
        keys = self.keys[bisect_left(self.keys, start) : bisect_left(self.keys, stop)]
        return iter([(key, self.data[key]) for key in (reversed(keys) if reverse else keys)])


class ModelEngine(ModelView):
    """An `Engine`."""

    def __init__(self, disk: Disk, path: str, flushes: float, rng: random.Random) -> None:
        self._directory = disk.directory(path, create=True)
        self._flushes = flushes
        self._rng = rng
        flushed = read_file(self._directory, _FILE)
        super().__init__(
            msgspec.msgpack.decode(flushed, type=dict[bytes, bytes]) if flushed else {}
        )

    def write(self, batch: Batch, applied: int) -> None:
        """See `Engine.write`."""
        for begin, end in batch.ranges:
            for key, _ in list(self.walk(begin, end)):
                self._set(key, None)
        for key, value in batch.writes.items():
            self._set(key, value)
        self._set(APPLIED_KEY, applied.to_bytes(8, "big"))
        if self._rng.random() < self._flushes:
            self.flush()

    def _set(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            if self.data.pop(key, None) is not None:
                del self.keys[bisect_left(self.keys, key)]
            return
        if key not in self.data:
            insort(self.keys, key)
        self.data[key] = value

    def flush(self) -> None:
        """See `Engine.flush`."""
        try:
            replace_file(self._directory, _FILE, msgspec.msgpack.encode(self.data))
        except OSError as error:
            raise TablesFailed(f"flushing the model failed: {error}") from error

    def snapshot(self) -> View:
        """See `Engine.snapshot`."""
        return ModelView(dict(self.data))

    def compact(self, start: bytes, stop: bytes) -> None:
        """See `Engine.compact`."""

    def copy_to(self, path: str) -> None:
        """See `Engine.copy_to`. A model is not copied."""
        raise NotImplementedError(path)

    def memory_bytes(self) -> int:
        """See `Engine.memory_bytes`."""
        return sum(map(len, self.data.values()))

    def close(self) -> None:
        """See `Engine.close`."""


class OpenModel:
    """Opens models that flush by themselves after each batch with some probability."""

    def __init__(self, seed: int, flushes: float) -> None:
        self._rng = random.Random(seed)
        self._flushes = flushes

    def __call__(self, disk: Disk, path: str, *, read_only: bool) -> ModelEngine:
        """Open, or make, the model at `path`."""
        return ModelEngine(disk, path, 0.0 if read_only else self._flushes, self._rng)
