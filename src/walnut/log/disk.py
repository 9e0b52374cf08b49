"""The one module that touches the operating system.

The log sees a `Directory` of flat names and `File`s in it, nothing else; `walnut.testing` has the
same two in memory, where unsynced sectors are lost, torn and reordered, fsync fails and the disk
fills up. What must stay true: every call here is one thing the kernel promises, with no retry and
no cleverness, so that whatever can go wrong is visible to the engine above and to the simulator.

    Directory            File
    ---------            ----
    open  create         read    write (may be short)
    names rename         sync    (fdatasync)
    remove sync          truncate  allocate  map  lock
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

Buffer = bytes | memoryview
StrPath = str | os.PathLike[str]

ZERO_CHUNK: Final = 4 << 20
"""Bytes zeroed per write when a file is allocated: large enough to run at the disk's speed, small
enough not to hold up a commit on the same disk for long."""

MAX_VECTOR: Final = 1024
"""IOV_MAX on Linux and macOS."""


class File(Protocol):
    """An open file. Offsets and sizes are bytes."""

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end of the file."""

    def write(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write the buffers one after another at `offset`; returns how many bytes went out, which
        may be fewer than given. Raises OSError."""

    def sync(self) -> None:
        """Make the file's data and size durable (fdatasync). Raises OSError."""

    def size(self) -> int:
        """The file's size."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size`, or grow it with zeros that take no space yet."""

    def allocate(self, size: int) -> None:
        """Reserve space up to `size`, growing the file with zeros. Raises OSError(ENOSPC) when the
        disk is full; space that was reserved can be written without that."""

    def map(self) -> memoryview:
        """A read-only view of the whole file as large as it is now, which follows later writes.
        The file's lock is held until the last slice of it is gone."""

    def lock(self, *, exclusive: bool) -> bool:
        """Take an advisory lock without waiting; False when someone else holds one in the way.
        It goes with the file's last reference, so with the process."""

    def close(self) -> None:
        """Close; views taken by `map` stay good."""


class Directory(Protocol):
    """A directory with plain files in it. Names have no slashes."""

    def open(self, name: str, *, write: bool = False) -> File:
        """Open an existing file. Raises FileNotFoundError."""

    def create(self, name: str) -> File:
        """Open for writing, made if missing, emptied if there."""

    def names(self) -> list[str]:
        """Every name in the directory, in no order."""

    def rename(self, old: str, new: str) -> None:
        """Rename, replacing `new` if it exists."""

    def remove(self, name: str) -> None:
        """Unlink a name."""

    def sync(self) -> None:
        """Make creates, renames and removes durable (fsync of the directory)."""

    def subdirectory(self, name: str) -> Directory:
        """The directory of this name inside, made (durably) if missing."""


class Disk(Protocol):
    """Where log directories are."""

    def directory(self, path: str, *, create: bool) -> Directory:
        """The directory at `path`, made with its parents if `create`. Raises FileNotFoundError,
        NotADirectoryError."""

    def entropy(self, size: int) -> bytes:
        """Random bytes."""

    def process(self) -> int:
        """The id of this process, for others to name."""


def write_fully(file: File, buffers: Sequence[Buffer], offset: int) -> int:
    """Write all of `buffers`, going on after short writes; returns the offset past the last byte.

    Raises OSError(ENOSPC) when the disk accepts nothing more."""
    wanted = sum(map(len, buffers))
    done = file.write(buffers, offset)
    if done < wanted:
        rest = memoryview(b"".join(buffers))
        while done < wanted:
            wrote = file.write([rest[done:]], offset + done)
            if wrote <= 0:
                raise OSError(errno.ENOSPC, "the disk took no more bytes")
            done += wrote
    return offset + wanted


def write_zeros(file: File, start: int, stop: int) -> None:
    """Write zeros from `start` up to, not with, `stop`.

    Space that was only reserved costs a journal commit with each fdatasync after the first write
    to it, on ext4 and xfs: large frames go three times as fast to space that was written before."""
    zeros = memoryview(bytes(min(ZERO_CHUNK, max(0, stop - start))))
    for offset in range(start, stop, ZERO_CHUNK):
        write_fully(file, [zeros[: stop - offset]], offset)


def replace_file(directory: Directory, name: str, data: bytes) -> None:
    """Give the file `name` this content, atomically and durably: after a crash it holds either
    what it held before or all of `data`."""
    temporary = name + ".tmp"
    file = directory.create(temporary)
    try:
        write_fully(file, [data], 0)
        file.sync()
    finally:
        file.close()
    directory.rename(temporary, name)
    directory.sync()


def read_file(directory: Directory, name: str) -> bytes | None:
    """The whole of a small file, or None if there is none."""
    try:
        file = directory.open(name)
    except FileNotFoundError:
        return None
    try:
        return file.read(file.size(), 0)
    finally:
        file.close()


def sync_path(path: str) -> None:
    """Make a file that someone else wrote durable, and its name."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _datasync(fd)
    finally:
        os.close(fd)
    _sync_directory(os.path.dirname(path) or ".")


class RealFile:
    """`File` on the operating system."""

    def __init__(self, path: str, flags: int) -> None:
        self._fd = -1
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        _FILES.add(self)

    def read(self, size: int, offset: int) -> bytes:
        """See `File.read`."""
        data = os.pread(self._fd, size, offset)
        while 0 < len(data) < size and (
            more := os.pread(self._fd, size - len(data), offset + len(data))
        ):
            data += more
        return data

    def write(self, buffers: Sequence[Buffer], offset: int) -> int:
        """See `File.write`."""
        return os.pwritev(self._fd, buffers[:MAX_VECTOR], offset)

    def sync(self) -> None:
        """See `File.sync`."""
        _datasync(self._fd)

    def size(self) -> int:
        """See `File.size`."""
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        """See `File.truncate`."""
        os.ftruncate(self._fd, size)

    def allocate(self, size: int) -> None:
        """See `File.allocate`."""
        start = self.size()
        if size <= start:
            return
        try:
            os.posix_fallocate(self._fd, start, size - start)
        except AttributeError:  # macOS: only writing takes space there
            write_zeros(self, start, size)

    def map(self) -> memoryview:
        """See `File.map`."""
        try:  # the length 0 means the whole file, in one step with finding out its size
            return memoryview(mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ))
        except ValueError:  # an empty file can't be mapped
            return memoryview(b"")

    def lock(self, *, exclusive: bool) -> bool:
        """See `File.lock`."""
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """See `File.close`."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class RealDirectory:
    """`Directory` on the operating system."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)

    def open(self, name: str, *, write: bool = False) -> File:
        """See `Directory.open`."""
        return RealFile(self._at(name), os.O_RDWR if write else os.O_RDONLY)

    def create(self, name: str) -> File:
        """See `Directory.create`."""
        return RealFile(self._at(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def names(self) -> list[str]:
        """See `Directory.names`."""
        return os.listdir(self._path)

    def rename(self, old: str, new: str) -> None:
        """See `Directory.rename`."""
        os.rename(self._at(old), self._at(new))

    def remove(self, name: str) -> None:
        """See `Directory.remove`."""
        os.unlink(self._at(name))

    def sync(self) -> None:
        """See `Directory.sync`."""
        _sync_directory(self._path)

    def subdirectory(self, name: str) -> Directory:
        """See `Directory.subdirectory`."""
        return RealDisk().directory(self._at(name), create=True)


class RealDisk:
    """`Disk` on the operating system."""

    def directory(self, path: str, *, create: bool) -> Directory:
        """See `Disk.directory`."""
        path = os.path.abspath(path)
        if create:
            for missing in _missing_parents(path):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(missing, 0o700)
                _sync_directory(os.path.dirname(missing))
        os.scandir(path).close()
        return RealDirectory(path)

    def entropy(self, size: int) -> bytes:
        """See `Disk.entropy`."""
        return os.urandom(size)

    def process(self) -> int:
        """See `Disk.process`."""
        return os.getpid()


def _missing_parents(path: str) -> Iterator[str]:
    parent = os.path.dirname(path)
    if os.path.lexists(path) or parent == path:
        return
    yield from _missing_parents(parent)
    yield path


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _datasync(fd: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:  # macOS: fsync stops at the drive's cache; F_FULLFSYNC goes through it
        fcntl.fcntl(fd, getattr(fcntl, "F_FULLFSYNC"))  # noqa: B009  only macOS defines it


class Forked(Protocol):
    """Something that has to know when it finds itself in a forked child."""

    def after_fork(self) -> None:
        """Called in the child, with no other thread there."""


_FORKED: weakref.WeakSet[Forked] = weakref.WeakSet()
_FILES: weakref.WeakSet[RealFile] = weakref.WeakSet()
"""Every open file, closed in a forked child: a lock must go with the process that took it."""


def on_fork(owner: Forked) -> None:
    """Have `owner.after_fork()` called in every forked child, as long as it lives."""
    _FORKED.add(owner)


def _leave_everything_to_the_parent() -> None:
    for owner in list(_FORKED):
        owner.after_fork()
    for file in list(_FILES):
        file.close()


os.register_at_fork(after_in_child=_leave_everything_to_the_parent)
