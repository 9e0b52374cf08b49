"""The data directory: one server at a time, its owner only, of a format that this Walnut knows.

    DATA/walnut.json    what it is: written once
    DATA/lock           locked by the server that has it open; says which process that is
    DATA/walnut.sock    where that server listens for its owner
    DATA/operator-token the first token, if a first start had no terminal to show it on; to be removed
    DATA/store/ ...     what subsystems keep

What must stay true: nothing below is opened by anyone who does not hold the lock; a directory that is
not a Walnut's is left as it is.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from walnut.server.errors import DirectoryInUse, DirectoryUnusable, NotRunning

FORMAT: Final = 1
"""Of the directory as a whole. Raised when an older Walnut could not make sense of it."""

IDENTITY: Final = "walnut.json"
HALF: Final = f"{IDENTITY}.new"
LOCK: Final = "lock"
SOCKET: Final = "walnut.sock"
OPERATOR_TOKEN: Final = "operator-token"  # noqa: S105 -- the name of a file
PRIVATE: Final = 0o700
_FILE: Final = 0o600
_TRIES: Final = 5
_TRY_SECONDS: Final = 0.02
"""Whoever looks holds a shared lock for microseconds."""
_WHY_CHARACTERS: Final = 1000
_RUNNING_BYTES: Final = 8192
"""Of the lock file: some dozen are used, and up to six for each character of a reason."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What is in `walnut.json`: the format, and the version that made it."""

    format: int
    made_by: str


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What is in `lock`: who has the directory open.

    Attributes:
        pid: of its process. version: of Walnut.
        restarts_failed: how often it has tried to hand over and failed. why: the last time.
    """

    pid: int
    version: str
    restarts_failed: int = 0
    why: str = ""


class DataDirectory:
    """The directory, made if it is not there; `lock` before anything in it is used.

    Raises:
        DirectoryUnusable: it can't be made or written, or is not one of ours.
    """

    def __init__(self, path: Path, version: str) -> None:
        self.path = path
        self._version = version
        self._lock: int | None = None
        self._running = Running(pid=os.getpid(), version=version)
        try:
            self._make()
        except OSError as error:
            raise DirectoryUnusable(
                f"the data directory {path} can't be used ({error.strerror}): see who owns it, whether "
                "there is room, or take another with --data"
            ) from error

    @property
    def socket(self) -> Path:
        """Where its server listens for its owner."""
        return self.path / SOCKET

    def _make(self) -> None:
        # Parents as the umask says; only what is ours is closed to others.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=PRIVATE, exist_ok=True)
        if self.path.stat().st_uid != os.geteuid():
            raise DirectoryUnusable(
                f"the data directory {self.path} belongs to somebody else: run as its owner, or take "
                "another with --data"
            )
        identity = self._read_identity()
        if identity is None:
            ours = {LOCK, HALF}  # what a first start that was interrupted leaves
            found = sorted(one.name for one in self.path.iterdir() if one.name not in ours)
            if found:
                raise DirectoryUnusable(
                    f"{self.path} is not a Walnut data directory and not empty ({found[0]} is in it): "
                    "take another with --data"
                )
            self._write_identity()
        elif identity.format != FORMAT:
            raise DirectoryUnusable(
                f"{self.path} was made by Walnut {identity.made_by} in format {identity.format}, and "
                f"this is Walnut {self._version}, which knows format {FORMAT}: use a version that "
                "knows it"
            )
        self.path.chmod(PRIVATE)

    def _read_identity(self) -> Identity | None:
        path = self.path / IDENTITY
        try:
            return msgspec.json.decode(path.read_bytes(), type=Identity)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise DirectoryUnusable(
                f"{path} is damaged ({error}): it says {{'format': {FORMAT}, 'made_by': VERSION}} in a "
                "directory that Walnut has made"
            ) from error

    def _write_identity(self) -> None:
        made = Identity(format=FORMAT, made_by=self._version)
        half = self.path / HALF
        half.unlink(missing_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE)
        with open(descriptor, "wb") as file:  # noqa: PTH123 -- a descriptor, for its mode
            file.write(msgspec.json.encode(made) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        half.rename(self.path / IDENTITY)

    def lock(self) -> Self:
        """Have it for this process alone, until `close`.

        Raises:
            DirectoryInUse: another process has it.
            DirectoryUnusable: there is no room to say so.
        """
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE)
        if not _locked(descriptor):
            os.close(descriptor)
            running = _read_running(self.path)
            who = (
                f"process {running.pid} (Walnut {running.version})"
                if running
                else "another process"
            )
            raise DirectoryInUse(
                f"{who} has the data directory {self.path} open: stop it, or take another with --data"
            )
        try:
            self._running = Running(pid=os.getpid(), version=self._version)
            _write_running(descriptor, self._running)
        except OSError as error:
            os.close(descriptor)
            raise DirectoryUnusable(
                f"{self.path / LOCK} can't be written ({error.strerror}): free space on its disk"
            ) from error
        self._lock = descriptor
        return self

    def restart_failed(self, why: str) -> None:
        """Leave word of it for whoever asked for the restart and looks into the lock file. If there is no
        room for that, the log of this process alone says it."""
        if self._lock is not None:
            self._running = msgspec.structs.replace(
                self._running,
                restarts_failed=self._running.restarts_failed + 1,
                why=why[:_WHY_CHARACTERS],
            )
            with suppress(OSError):
                _write_running(self._lock, self._running)

    def close(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _write_running(descriptor: int, running: Running) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(running) + b"\n", 0)


def _locked(descriptor: int) -> bool:
    """Lock the file, in spite of those who look for a moment whether somebody has."""
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if attempt + 1 < _TRIES:
                time.sleep(_TRY_SECONDS)
        else:
            return True
    return False


def running_in(path: Path) -> Running:
    """The server that has a data directory open. Raises NotRunning."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        descriptor = -1
    if descriptor != -1:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            running = _read_running(path)
            if running is not None:
                return running
        finally:
            os.close(descriptor)
    raise NotRunning(
        f"no server has {path} open: start one with `walnut serve`, or name its directory"
    )


def _read_running(path: Path) -> Running | None:
    try:
        with (path / LOCK).open("rb") as file:
            return msgspec.json.decode(file.read(_RUNNING_BYTES), type=Running)
    except (OSError, msgspec.DecodeError):
        return None  # it is being written at this moment
