"""What the errors about tokens mean to a caller over HTTP.

What must stay true: every error of `walnut.server.access.errors` is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from walnut.server.access import errors
from walnut.web.problems import Kind

PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    errors.UnknownToken: Kind("unknown-token", 404, "There is no such token"),
    errors.NameTaken: Kind("name-taken", 409, "Another token has this name"),
    errors.TooManyTokens: Kind("too-many-tokens", 409, "As many tokens exist as can"),
    errors.InvalidToken: Kind("invalid-token", 422, "A token can't be like this"),
    errors.MoreThanOwn: Kind("more-than-own", 403, "More than the caller has himself"),
}
