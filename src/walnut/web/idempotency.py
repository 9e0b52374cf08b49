"""`Idempotency-Key`: a write that is sent again under the same key is not done again.

    key         1 to 255 visible ASCII characters, chosen by the client, of its principal alone
    fingerprint of the method, the path, the query and the body: the same key with another one is a
                mistake, and refused (422 key-reused)

What must stay true: what is compared under a key is the whole request, so that no answer of another
one is ever given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from walnut.web.caller import header
from walnut.web.errors import InvalidIdempotencyKey

KEY_LENGTH: Final = 255
"""Characters; as others have it (draft-ietf-httpapi-idempotency-key-header)."""


def idempotency_key(scope: Mapping[str, Any]) -> str:
    """The key that a request brought, or "". Raises InvalidIdempotencyKey."""
    key = header(scope, b"idempotency-key")
    return "" if key is None else checked_key(key)


def checked_key(key: str) -> str:
    """The key, without the quotes it may have as a structured field. Raises InvalidIdempotencyKey."""
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidIdempotencyKey(
            f"an Idempotency-Key has 1 to {KEY_LENGTH} visible ASCII characters and this has "
            f"{len(key)}, or others: a UUID is a good one"
        )
    return key


def fingerprint(scope: Mapping[str, Any], body: bytes) -> str:
    """32 hex digits of what a request asks for."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
