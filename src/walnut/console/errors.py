"""Every error that the console raises on purpose. Its words are shown to the visitor."""

from __future__ import annotations


class ConsoleError(Exception):
    """Base of every error raised by `walnut.console`."""


class SessionEnded(ConsoleError):
    """The visitor's session is over: logged out, expired, or its token was revoked."""


class InvalidInput(ConsoleError, ValueError):
    """What the visitor typed is not what the field takes."""


class Conflict(ConsoleError):
    """Somebody else changed the thing since it was shown."""
