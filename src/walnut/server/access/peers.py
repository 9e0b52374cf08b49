"""Who is at the other end of the local socket: the kernel says (SO_PEERCRED), and can't be lied to.

What must stay true: the local socket lets in root and the server's own user, who could both read the
data directory anyway; nobody else, whatever the socket file's mode has become.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from walnut.shutdown.asgi import PEER
from walnut.web.errors import Unauthenticated


def local_principal(scope: Mapping[str, Any], own: int | None = None) -> str | None:
    """The principal of a request over the local socket, as "local:ada"; None if it came otherwise.
    `own` is the uid that is let in beside root: this process's if None.

    Raises Unauthenticated if it is another user's."""
    peer = (scope.get("state") or {}).get(PEER)
    if peer is None:
        return None
    _, uid, _ = peer
    if uid not in {0, os.geteuid() if own is None else own}:
        raise Unauthenticated(
            f"the local socket is for the server's own user and root, and user {uid} is neither: send "
            "a token"
        )
    return f"local:{_name(uid)}"


def own_principal() -> str:
    """The principal of whoever runs this process."""
    return f"local:{_name(os.geteuid())}"


@lru_cache(maxsize=16)
def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
