"""A disk in memory that loses what a real one may lose.

A file has what the page cache holds and what the platter holds; between them are sectors that were
written and not synced. A directory likewise has the names that are seen and the names that would
survive. A crash keeps any subset of either, may tear a sector in the middle, and leaves every open
handle dead:

    write ──▶ cache ──sync──▶ platter          create, rename, remove ──▶ names ──sync──▶ kept names
                 '── crash: any sector or not                  '── crash: any operation or not

What must stay true: nothing synced is ever lost but by `flip`, and everything is decided by the
random generator given, so that a seed replays. Simplification: a lock is let go with its handle and
not with the last view of a map.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from typing import Final

from walnut.log.disk import Buffer, Directory, File

SECTOR: Final = 512


class Crash(BaseException):
    """The power went, or the process: nothing after this was executed. Not an `Exception`, as no
    handler of the code under test may go on after it."""


class SimClock:
    """Nanoseconds, moved by hand."""

    def __init__(self, now: int = 10**18) -> None:
        self.now = now

    def __call__(self) -> int:
        """The time, which moves on by a microsecond with every look."""
        self.now += 1000
        return self.now


class Faults:
    """What is to go wrong. Counters are calls of that kind until it happens; None is never.

    Attributes:
        crash_after: I/O calls until everything stops, before the call takes effect.
        fail_sync_after: syncs until one fails, and its pages are dropped as if they were clean.
        fail_write_after: writes until one fails, perhaps in the middle.
        short_writes: probability that a write takes only a part.
        capacity: bytes the disk has.
    """

    def __init__(self) -> None:
        self.crash_after: int | None = None
        self.fail_sync_after: int | None = None
        self.fail_write_after: int | None = None
        self.short_writes = 0.0
        self.capacity: int | None = None


class Inode:
    """One file's contents, in the cache and on the platter."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.platter = bytearray()
        self.dirty: set[int] = set()
        self.exclusive: SimFile | None = None
        self.shared: set[SimFile] = set()

    def resize(self, size: int) -> None:
        """Change the cached size; views of the old contents stay what they are."""
        grown = bytearray(size)
        kept = min(size, len(self.cache))
        grown[:kept] = self.cache[:kept]
        changed = (min(size, len(self.cache)), max(size, len(self.cache)))
        self.cache = grown
        self.dirty.update(range(changed[0] // SECTOR, (changed[1] + SECTOR - 1) // SECTOR))

    def sync(self) -> None:
        """Everything in the cache is on the platter."""
        self._fit_platter(len(self.cache))
        for sector in self.dirty:
            at = slice(sector * SECTOR, (sector + 1) * SECTOR)
            self.platter[at] = self.cache[at]
        self.dirty.clear()

    def lose(self, rng: random.Random) -> None:
        """Power is cut: any subset of the dirty sectors made it, torn or whole."""
        if rng.random() < 0.5:
            self._fit_platter(len(self.cache))
        everything, nothing = rng.random() < 0.2, rng.random() < 0.2
        for sector in sorted(self.dirty):
            start, stop = sector * SECTOR, min((sector + 1) * SECTOR, len(self.platter))
            new = bytes(self.cache[start:stop])
            if start >= stop or not (everything or (not nothing and rng.random() < 0.5)):
                continue
            if rng.random() < 0.1:
                new = new[: rng.randrange(len(new) + 1)]
            self.platter[start : start + len(new)] = new
        self.cache = bytearray(self.platter)
        self.dirty.clear()
        self.exclusive = None
        self.shared = set()

    def _fit_platter(self, size: int) -> None:
        if size < len(self.platter):
            del self.platter[size:]
        else:
            self.platter.extend(bytes(size - len(self.platter)))


class SimDirectory:
    """`Directory` in memory."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self.live: dict[str, Inode] = {}
        self.kept: dict[str, Inode] = {}
        self.pending: list[tuple[str, str, Inode]] = []
        self._subdirectories: dict[str, SimDirectory] = {}

    def open(self, name: str, *, write: bool = False) -> File:
        """See `Directory.open`."""
        self._disk.call("open", f"{name} to write" if write else name)
        if name not in self.live:
            raise FileNotFoundError(errno.ENOENT, "No such file", name)
        return SimFile(self._disk, self.live[name], name)

    def create(self, name: str) -> File:
        """See `Directory.create`."""
        self._disk.call("create", name)
        if name in self.live:
            self.live[name].resize(0)
        else:
            self.live[name] = Inode()
            self.pending.append(("", name, self.live[name]))
        return SimFile(self._disk, self.live[name], name)

    def names(self) -> list[str]:
        """See `Directory.names`."""
        self._disk.call("names", "")
        return list(self.live)

    def rename(self, old: str, new: str) -> None:
        """See `Directory.rename`."""
        self._disk.call("rename", f"{old} {new}")
        inode = self.live.pop(old)
        self.live[new] = inode
        self.pending.append((old, new, inode))

    def remove(self, name: str) -> None:
        """See `Directory.remove`."""
        self._disk.call("remove", name)
        if name not in self.live:
            raise FileNotFoundError(errno.ENOENT, "No such file", name)
        self.pending.append((name, "", self.live.pop(name)))

    def sync(self) -> None:
        """See `Directory.sync`."""
        self._disk.call("syncdir", "")
        self.kept = dict(self.live)
        self.pending.clear()

    def subdirectory(self, name: str) -> Directory:
        """See `Directory.subdirectory`."""
        return self._subdirectories.setdefault(name, SimDirectory(self._disk))

    def lose(self, rng: random.Random) -> None:
        """Power is cut: unsynced operations survive or not, but those on one name in order."""
        broken: set[str] = set()
        for old, new, inode in self.pending:
            names = {old, new} - {""}
            if names & broken or rng.random() < 0.5:
                broken |= names
                continue
            if old:
                self.kept.pop(old, None)
            if new:
                self.kept[new] = inode
        self.live = dict(self.kept)
        self.pending.clear()
        for inode in {id(inode): inode for inode in self.kept.values()}.values():
            inode.lose(rng)


class SimFile:
    """`File` in memory."""

    def __init__(self, disk: SimDisk, inode: Inode, name: str) -> None:
        self._disk = disk
        self._inode = inode
        self._name = name
        self._boot = disk.boot

    def _call(self, kind: str, detail: object = "") -> None:
        if self._boot != self._disk.boot:
            raise Crash(f"{kind} of {self._name} on a handle from before the crash")
        self._disk.call(kind, f"{self._name} {detail}")

    def read(self, size: int, offset: int) -> bytes:
        """See `File.read`."""
        self._call("read", offset)
        return bytes(self._inode.cache[offset : offset + size])

    def write(self, buffers: Sequence[Buffer], offset: int) -> int:
        """See `File.write`."""
        data = b"".join(buffers)
        self._call("write", f"{offset}+{len(data)}")
        inode, faults, rng = self._inode, self._disk.faults, self._disk.rng
        failing = self._disk.due("fail_write_after")
        if failing or (len(data) > 1 and rng.random() < faults.short_writes):
            data = data[: rng.randrange(len(data) + 1) if failing else rng.randrange(1, len(data))]
        end = offset + len(data)
        if end > len(inode.cache):
            self._disk.claim(end - len(inode.cache))
            inode.resize(end)
        inode.cache[offset:end] = data
        if data:
            inode.dirty.update(range(offset // SECTOR, (end - 1) // SECTOR + 1))
        if failing:
            raise OSError(errno.EIO, "Input/output error (simulated)")
        return len(data)

    def sync(self) -> None:
        """See `File.sync`."""
        self._call("sync")
        if self._disk.due("fail_sync_after"):
            # The kernel marks the pages clean: they can be read, and will never be written.
            self._inode.dirty.clear()
            # A thin volume or a quota says so at this late moment that it is full.
            number = errno.ENOSPC if self._disk.calls % 2 else errno.EIO
            raise OSError(number, f"{os.strerror(number)} (simulated)")
        self._inode.sync()

    def size(self) -> int:
        """See `File.size`."""
        self._call("size")
        return len(self._inode.cache)

    def truncate(self, size: int) -> None:
        """See `File.truncate`."""
        self._call("truncate", size)
        self._inode.resize(size)

    def allocate(self, size: int) -> None:
        """See `File.allocate`."""
        self._call("allocate", size)
        grow = size - len(self._inode.cache)
        if grow > 0:
            self._disk.claim(grow)
            self._inode.resize(size)

    def map(self) -> memoryview:
        """See `File.map`."""
        self._call("map")
        return memoryview(self._inode.cache).toreadonly()

    def lock(self, *, exclusive: bool) -> bool:
        """See `File.lock`."""
        self._call("lock", exclusive)
        inode = self._inode
        if inode.exclusive not in {None, self} or (exclusive and inode.shared - {self}):
            return False
        inode.exclusive = self if exclusive else None
        (inode.shared.discard if exclusive else inode.shared.add)(self)
        return True

    def close(self) -> None:
        """See `File.close`."""
        if self._inode.exclusive is self:
            self._inode.exclusive = None
        self._inode.shared.discard(self)


class SimDisk:
    """`Disk` in memory. `faults` may be set at any time; `trace`, if a list, gets every call."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.faults = Faults()
        self.boot = 0
        self.calls = 0
        self.trace: list[str] | None = None
        self.crashed = False
        self.directories: dict[str, SimDirectory] = {}

    def directory(self, path: str, *, create: bool) -> Directory:
        """See `Disk.directory`. Making one is durable at once."""
        if path not in self.directories:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "No such directory", path)
            self.directories[path] = SimDirectory(self)
        return self.directories[path]

    def entropy(self, size: int) -> bytes:
        """See `Disk.entropy`."""
        return self.rng.randbytes(size)

    def process(self) -> int:
        """See `Disk.process`."""
        return 1

    # -- what goes wrong ------------------------------------------------------------------------

    def call(self, kind: str, detail: str) -> None:
        """Count a call; raise Crash if its time has come."""
        if self.crashed:
            raise Crash("the machine is off")
        self.calls += 1
        if self.trace is not None:
            self.trace.append(f"{self.calls:6} {kind} {detail}")
        if self.due("crash_after"):
            self.crashed = True
            raise Crash(f"at call {self.calls}, {kind} {detail}")

    def due(self, fault: str) -> bool:
        """Count down to a fault; True when it is to happen, which is once."""
        left = getattr(self.faults, fault)
        if left is None:
            return False
        setattr(self.faults, fault, left - 1 if left > 0 else None)
        return bool(left == 0)

    def claim(self, size: int) -> None:
        """Take space. Raises OSError(ENOSPC)."""
        capacity = self.faults.capacity
        if capacity is not None and self.used() + size > capacity:
            raise OSError(errno.ENOSPC, "No space left on device (simulated)")

    def used(self) -> int:
        """Bytes that all files take."""
        return sum(
            len(inode.cache)
            for directory in self.directories.values()
            for inode in directory.live.values()
        )

    def power_cut(self) -> None:
        """Lose what a power cut may lose, and start again."""
        for directory in self.directories.values():
            directory.lose(self.rng)
        self._restart()

    def kill(self) -> None:
        """The process is gone; the machine, with its page cache, is not."""
        for directory in self.directories.values():
            for inode in directory.live.values():
                inode.exclusive = None
                inode.shared = set()
        self._restart()

    def _restart(self) -> None:
        self.boot += 1
        self.crashed = False
        capacity = self.faults.capacity
        self.faults = Faults()
        self.faults.capacity = capacity

    def flip(self, path: str, name: str, offset: int, mask: int) -> None:
        """Change bits of a file, on the platter and in the cache: silent corruption."""
        inode = self.directories[path].live[name]
        inode.cache[offset] ^= mask
        if offset < len(inode.platter):
            inode.platter[offset] ^= mask
