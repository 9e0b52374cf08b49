"""LSNs on the wire: `Walnut-LSN` on answers, `?at_least=` on reads.

What must stay true: `at_least` set to the `Walnut-LSN` of a write reads that write, on this server or
on one that follows it.
"""

from __future__ import annotations

from typing import Final

LSN_HEADER: Final = "walnut-lsn"
"""Of the commit on answers to writes; of the state that was read on answers to reads."""
REPLAYED_HEADER: Final = "idempotency-replayed"
"""`true` if the answer is that of an earlier request with the same Idempotency-Key."""
REACH_SECONDS: Final = 5.0
"""How long a read waits for its `at_least` before it is refused."""


def position(lsn: int, *, replayed: bool = False) -> dict[str, str]:
    """The headers that tell an LSN, and that it is an earlier one."""
    headers = {LSN_HEADER: str(lsn)}
    if replayed:
        headers[REPLAYED_HEADER] = "true"
    return headers
