"""A digest of everything in the public tables.

What must stay true: it depends on their contents alone, not on how or when they were written.
"""

from __future__ import annotations

import hashlib

from walnut.store.engine import APPLIED_KEY
from walnut.store.transaction import Reader

_END = b"\x7f" + b"\xff" * 8


def fingerprint(reader: Reader, lsn: int) -> str:
    """32 hex digits of the state after `lsn`, which is what `reader` must show."""
    digest = hashlib.blake2b(lsn.to_bytes(8, "big"), digest_size=16)
    for key, value in reader.walk(b"\0", _END):
        if key != APPLIED_KEY:
            digest.update(b"%d %d " % (len(key), len(value)) + key + value)
    return digest.hexdigest()
