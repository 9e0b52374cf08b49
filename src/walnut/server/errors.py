"""Every error that the server raises on purpose.

Each message says what happened, to what, and what to do about it. All of them are `ServerError`.
"""

from __future__ import annotations


class ServerError(Exception):
    """Base of every error raised by `walnut.server`."""


class ConfigError(ServerError):
    """walnut.toml can't be read, or is no TOML."""


class InvalidConfig(ConfigError):
    """Settings are unknown or out of range.

    Attributes:
        problems: one line for each of them.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class AlreadyThere(ServerError):
    """`walnut init` does not write over a file."""


class NoSuchSubsystem(ServerError):
    """A registered subsystem can't be found where its name says, or is not one."""


class DirectoryInUse(ServerError):
    """Another process has the data directory open."""


class DirectoryUnusable(ServerError):
    """The data directory can't be used: not ours, not writable, no room, or not a Walnut's."""


class TokenFileUnusable(ServerError):
    """The operator's token can't be written where it was asked to be."""


class OpenToOthers(ServerError):
    """The server would listen beyond this machine in clear text."""


class TlsUnusable(ServerError):
    """The certificate or its key can't be used."""


class NotRunning(ServerError):
    """No server has this data directory open."""


class RestartFailed(ServerError):
    """The successor did not take over; the server that runs goes on."""
