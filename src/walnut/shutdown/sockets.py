"""Listening sockets: made here, or handed over by a service manager or by the process before this one.

    LISTEN_FDS=2  LISTEN_PID=4711  LISTEN_FDNAMES=http:admin        fd 3 is "http", fd 4 "admin"

Format: sd_listen_fds(3). The process before this one (`handover`) uses the same.

What must stay true: whoever owns a socket decides what becomes of those who wait in it. One that systemd
holds open outlives this process, so what waits in it is left to the next; one of our own is emptied first.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from walnut.shutdown.errors import CannotListen, InvalidActivation

BACKLOG: Final = 2048
"""Connections that wait in the kernel to be accepted; the kernel caps it at `net.core.somaxconn` (4096).
It is what holds those who come during a hot restart."""
FIRST_FD: Final = 3
FDS_MAX: Final = 256
"""Sockets handed over at once; more is a mistake in a unit file."""
OWNED: Final = "WALNUT_LISTEN_OWNED"
"""Which of the handed-over sockets nobody else holds: names, joined by `:`."""
PRIVATE: Final = 0o600


class Listening:
    """A listening socket with a name.

    Attributes:
        name: what LISTEN_FDNAMES calls it.
        socket: the socket itself, not blocking.
        owned: nobody but this process keeps it open.
    """

    def __init__(self, name: str, sock: socket.socket, *, owned: bool = True) -> None:
        if not name or ":" in name or not name.isprintable():
            sock.close()
            raise InvalidActivation(
                f"{name!r} can't be the name of a socket: it takes letters and no colon"
            )
        sock.setblocking(False)
        self.name = name
        self.socket = sock
        self.owned = owned

    @property
    def is_unix(self) -> bool:
        """A Unix socket, and not TCP."""
        return self.socket.family == socket.AF_UNIX

    @property
    def closed(self) -> bool:
        """It is not this process's any more."""
        return self.socket.fileno() == -1

    @property
    def port(self) -> int:
        """The TCP port."""
        port: int = self.socket.getsockname()[1]
        return port

    def __str__(self) -> str:
        address = self.socket.getsockname()
        if self.is_unix:
            return f"unix:{address}"
        host = f"[{address[0]}]" if self.socket.family == socket.AF_INET6 else address[0]
        return f"{host}:{address[1]}"

    def leave(self) -> None:
        """Close this process's hold on it; others go on with it."""
        self.socket.close()

    def close(self) -> None:
        """Close it for good; the path of a Unix socket goes too."""
        if not self.closed and self.is_unix and self.owned:
            Path(self.socket.getsockname()).unlink(missing_ok=True)
        self.socket.close()


def listen(host: str, port: int, *, name: str = "http", backlog: int = BACKLOG) -> Listening:
    """Listen on a TCP address.

    Args:
        host: a numeric address, v4 or v6. port: 0 takes a free one.

    Raises:
        CannotListen: it is in use, or not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        what = (
            "is in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
        )
        raise CannotListen(
            f"the address {host}:{port} {what}; stop what listens there or take another"
        ) from error
    return Listening(name, sock)


def listen_unix(path: Path | str, *, name: str = "local", backlog: int = BACKLOG) -> Listening:
    """Listen on a Unix socket that its owner alone may connect to (mode 0600).

    A socket left behind by a process that was killed is replaced, one that somebody listens on is not.

    Raises:
        CannotListen: somebody listens there, or something else than a socket has the path.
    """
    path = Path(path)
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Bound under a umask: a chmod afterwards would leave a moment in which anybody may connect.
    before = os.umask(0o777 & ~PRIVATE)
    try:
        sock.bind(str(path))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise CannotListen(f"can't listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return Listening(name, sock)


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"{path} is there and not a socket; remove it or take another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise CannotListen(f"can't tell who listens on {path}: {error.strerror}") from error
        else:
            raise CannotListen(f"another process listens on {path}; stop it or take another path")


def activated(environ: MutableMapping[str, str] | None = None) -> dict[str, Listening]:
    """Sockets that were handed to this process, by name; none if none were.

    Takes the variables out of the environment, so that child processes do not believe them to be theirs.

    Raises:
        InvalidActivation: the variables do not hold: no numbers, not that many sockets, or names twice.
    """
    environ = os.environ if environ is None else environ
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    owned = environ.pop(OWNED, "").split(":")
    if not count or pid != str(os.getpid()):
        return {}
    if not count.isdecimal() or int(count) > FDS_MAX:
        raise InvalidActivation(f"LISTEN_FDS is {count!r}; it has to be a number up to {FDS_MAX}")
    called = names.split(":") if names else [f"fd{FIRST_FD + n}" for n in range(int(count))]
    if len(called) != int(count) or len(set(called)) != len(called):
        raise InvalidActivation(
            f"LISTEN_FDNAMES is {names!r}; it has to be {count} different names (FileDescriptorName=)"
        )
    return {
        name: Listening(name, _inherited(FIRST_FD + number), owned=name in owned)
        for number, name in enumerate(called)
    }


def _inherited(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 1:
            sock.detach()
            raise InvalidActivation(
                f"file descriptor {fd} is a socket that does not listen (Accept=no)"
            )
    except OSError as error:
        raise InvalidActivation(
            f"file descriptor {fd} is not a listening socket: {error}"
        ) from error
    return sock
