"""A digest of everything in the public tables.

What must stay true: it depends on their contents alone, not on how or when they were written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from walnut.store.engine import APPLIED_KEY
from walnut.store.transaction import Reader

_END = b"\x7f" + b"\xff" * 8
_TOLD = 1000
"""Entries between two calls of `progress`."""


def fingerprint(
    reader: Reader, lsn: int, progress: Callable[[int, None], object] | None = None
) -> str:
    """32 hex digits of the state after `lsn`, which is what `reader` must show. `progress` is told how
    many entries were read, and that nobody knows how many there are."""
    digest = hashlib.blake2b(lsn.to_bytes(8, "big"), digest_size=16)
    for number, (key, value) in enumerate(reader.walk(b"\0", _END)):
        if progress is not None and number % _TOLD == 0:
            progress(number, None)
        if key != APPLIED_KEY:
            digest.update(b"%d %d " % (len(key), len(value)) + key + value)
    return digest.hexdigest()
