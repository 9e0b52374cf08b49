"""Telling the service manager (systemd's `sd_notify`): ready, reloading, stopping, still alive.

One datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names; a name that begins with `@` is
in Linux's abstract namespace. Format: sd_notify(3), sd_watchdog_enabled(3).

What must stay true: telling never fails or blocks the program. A manager that does not listen is no reason
to stop serving, so what can't be sent is dropped and counted.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from walnut.shutdown.errors import InvalidActivation

STATUS_MAX: Final = 1000
"""Characters of a status; it is a line that a person reads."""
MICROSECONDS: Final = 1_000_000


class Notifier:
    """Says to a service manager what goes on. Without one it does nothing.

    Args:
        address: of its socket; "" if there is none.
        watchdog_seconds: within which it wants to hear that we are alive; None if it does not.

    Attributes:
        dropped: messages that could not be sent.
    """

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds
        self.dropped = 0
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Notifier:
        """What `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.

        Raises:
            InvalidActivation: WATCHDOG_USEC is not a number.
        """
        environ = os.environ if environ is None else environ
        microseconds = environ.get("WATCHDOG_USEC", "")
        seconds: float | None = None
        if microseconds and environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            if not microseconds.isdecimal() or int(microseconds) == 0:
                raise InvalidActivation(
                    f"WATCHDOG_USEC is {microseconds!r}; it has to be a number of microseconds"
                )
            seconds = int(microseconds) / MICROSECONDS
        return cls(environ.get("NOTIFY_SOCKET", ""), seconds)

    def ready(self) -> None:
        """Started, or reloaded."""
        self.send("READY=1")

    def reloading(self) -> None:
        """Reading the configuration again; `ready` follows."""
        self.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Beginning to stop."""
        self.send("STOPPING=1")

    def status(self, text: str) -> None:
        """A line for `systemctl status`."""
        self.send("STATUS=" + " ".join(text[:STATUS_MAX].split()))

    def watchdog(self) -> None:
        """Alive. To be said at half of `watchdog_seconds`."""
        self.send("WATCHDOG=1")

    def main_pid(self, pid: int) -> None:
        """Another process is the main one from now on."""
        self.send(f"MAINPID={pid}")

    def send(self, message: str) -> None:
        """Send lines as they are. Drops them if the manager can't take them now."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        """Send nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
