"""What the access layer refuses, by name. The refusals of requests themselves are `walnut.web.errors`."""

from __future__ import annotations


class AccessError(Exception):
    """Base of the errors about tokens."""


class UnknownToken(AccessError, LookupError):
    """There is no token of this id or name."""


class NameTaken(AccessError):
    """Another token has this name."""


class TooManyTokens(AccessError):
    """As many tokens as the server keeps in memory exist."""


class InvalidToken(AccessError, ValueError):
    """A token can't be made like this: its name, scopes, description or expiry."""


class MoreThanOwn(AccessError):
    """A token was to be given, or taken from, more than its giver has himself."""
