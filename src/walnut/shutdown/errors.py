"""Every error that this package raises on purpose.

Each message says what happened, to what, and what to do about it. All of them are `ShutdownError`.
"""

from __future__ import annotations


class ShutdownError(Exception):
    """Base of every error raised by `walnut.shutdown`."""


class UnknownComponent(ShutdownError, ValueError):
    """A component needs one that is not there."""


class DuplicateComponent(ShutdownError, ValueError):
    """Two components have the same name."""


class CycleInNeeds(ShutdownError, ValueError):
    """Components need one another in a circle, so that none can start first."""


class InvalidBudget(ShutdownError, ValueError):
    """A budget or a limit is out of range."""


class StartFailed(ShutdownError):
    """A component did not start; those before it have been stopped again.

    Attributes:
        component: its name. The cause (`__cause__`) is what it raised.
    """

    def __init__(self, component: str, why: str) -> None:
        super().__init__(f"component {component!r} did not start: {why}")
        self.component = component


class AlreadyServed(ShutdownError):
    """A lifecycle serves once: make a new one, with new components."""


class TooManyTasks(ShutdownError):
    """As many background tasks run as are allowed: wait, or do the work in the request."""


class ConnectionEnding(ShutdownError, OSError):
    """A WebSocket was closed with 1001 because the server stops; nothing can be sent on it any more."""


class CannotListen(ShutdownError, OSError):
    """An address can't be listened on: in use, not ours, or its path is taken by something else."""


class InvalidActivation(ShutdownError, ValueError):
    """What the service manager says about sockets it passed on (`LISTEN_FDS`) does not hold."""


class SuccessorFailed(ShutdownError):
    """The process that was to take over ended, or was not ready in time. This one goes on serving."""


class PredecessorStays(ShutdownError, TimeoutError):
    """The process before this one did not go away in time, so what it holds can't be opened."""


class ExtraMissing(ShutdownError, ImportError):
    """A library that comes with the extra `server` is not installed."""


class ApplicationFailed(ShutdownError):
    """An ASGI application's lifespan did not start, or did not stop."""
