"""Folding the log into tables: at opening, and wherever tables are made again.

What must stay true: this is the only way from records to tables but for the live one (`execution`),
and both end in `Tables.apply` with the same effects.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from walnut.log.readable import Readable
from walnut.store.errors import TablesAhead, TablesLost
from walnut.store.keyring import Keyring
from walnut.store.model import Redo
from walnut.store.record import unpack
from walnut.store.tables import Effect, Tables, effect_of

_BATCH = 2000
"""Transactions applied at once."""

Progress = Callable[[int, int], None]
"""Told the LSN reached and the LSN to reach."""


def redo(
    log: Readable,
    tables: Tables,
    keyring: Keyring,
    *,
    upto: int | None = None,
    progress: Progress | None = None,
) -> Redo:
    """Fold into the tables what the log has and they have not, as far as `upto`.

    Raises:
        TablesLost: the log no longer reaches back to where the tables are.
        TablesAhead: the tables hold more than the log.
    """
    started = time.perf_counter()
    position, after = log.position(), tables.applied
    if tables.newest > position.durable_lsn:
        raise TablesAhead(
            f"the tables are at LSN {tables.newest} and their log ends at {position.durable_lsn}: they "
            "do not belong together. Restore both from a backup, or rebuild the tables from the log"
        )
    if after + 1 < position.first_lsn:
        raise TablesLost(
            f"the tables are at LSN {after} and the log begins at {position.first_lsn}: what was "
            "between is gone. Rebuild them from a backup: `walnut store rebuild --from BACKUP`"
        )
    count, effects, lsn = 0, list[Effect](), after
    last = position.durable_lsn if upto is None else upto
    for frame in log.read_frames(after + 1) if after < last else ():
        for lsn, record in enumerate(frame.records(), frame.first_lsn):
            if after < lsn <= last and (commit := unpack(record, lsn)) is not None:
                effects.append(effect_of(commit, lsn, keyring))
                count += 1
        if len(effects) >= _BATCH:
            tables.apply(effects, lsn)
            effects = []
            if progress is not None:
                progress(lsn, last)
        if lsn >= last:
            break
    lsn = min(lsn, last)
    if lsn > after:
        tables.apply(effects, lsn)
    return Redo(after=after, upto=lsn, transactions=count, seconds=time.perf_counter() - started)


def last_time(log: Readable) -> int:
    """When the newest transaction was decided, or a little later: none comes before that, whatever the
    clock says now. 0 if the log has none."""
    position = log.position()
    if position.durable_lsn < position.first_lsn:
        return 0
    times = [0]
    for record in log.read(position.durable_lsn):
        commit = unpack(record.data, record.lsn)
        times += [record.time] if commit is None else [record.time, commit.time]
    return max(times)
