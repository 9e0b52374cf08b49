"""The log over HTTP: its records, its segments, its slots.

    record ─▶ outline ─▶ who, why, which tables, how many rows         no row's content leaves here

What must stay true: a record is described, never shown: rows are read through tables, where it is
checked who may.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import msgspec
from litestar import delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.log.errors import LsnUnknown, SlotLost
from walnut.log.model import MAX_LSN, LogStat, Record, SlotStat
from walnut.log.seek import lsn_at
from walnut.log.slots import Slot
from walnut.store.api.asking import checked, page_size
from walnut.store.api.feed import COLD, position_of
from walnut.store.api.once import Once
from walnut.store.checkpoint import SLOT
from walnut.store.errors import InvalidSetting
from walnut.store.outline import Kind, Outlines
from walnut.store.problems import PROBLEMS
from walnut.store.record import utc
from walnut.store.store import Store
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.caller import header
from walnut.web.errors import InvalidRequest
from walnut.web.openapi import takes
from walnut.web.paging import LIMIT, Page, from_cursor, to_cursor
from walnut.web.problems import Problems
from walnut.web.streams import SSE, Event, Recent, Streamed, framing_of

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
TAGS: Final = ["log"]
READ_BYTES: Final = 16 << 20
"""Of records that are decoded for a page: no more once there are so many."""


class Written(msgspec.Struct, frozen=True):
    """How many rows of a table a transaction wrote and deleted."""

    table: str
    written: int
    deleted: int


class RecordShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of the log.

    Attributes:
        lsn, time: of the record; the time is when its frame was written.
        bytes: of its data.
        kind: "transaction", "other" (appended by a program, past the store), or "damaged".
        decided: when a transaction was.
        principal, reason, request_id: who and why, as with the transaction.
        tables: what it changed. indexes: entries of indexes and of the store's own tables.
        hidden: writes to private tables, which are encrypted.
        erased: how many subjects it erased.
    """

    lsn: int
    time: str
    bytes: int
    kind: Kind
    decided: str = ""
    principal: str = ""
    reason: str = ""
    request_id: str = ""
    tables: list[Written] = []
    indexes: int = 0
    hidden: int = 0
    erased: int = 0


class NewSlot(msgspec.Struct, forbid_unknown_fields=True):
    """A slot to be made: at this LSN, or at the oldest that there is."""

    name: str
    lsn: int | None = None


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    """Where a slot is to be: everything before this LSN was dealt with."""

    lsn: int


class Records:
    """The log of a store, for those who look at it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.log = store.log
        self.recent = Recent(self._read)
        self._outlines = Outlines(store)

    def _read(self, start: int, budget: int) -> list[tuple[int, bytes, int]]:
        found = []
        size = read = 0
        for record in self.log.read(start):
            data = msgspec.json.encode(self.shown(record))
            found.append((record.lsn, data, len(data)))
            size += len(data)
            read += len(record.data)
            if size >= budget or read >= READ_BYTES:
                break
        return found

    def shown(self, record: Record) -> RecordShown:
        """A record as people are told of it."""
        one = self._outlines.of(record)
        shown = RecordShown(
            lsn=one.lsn, time=utc(one.written).isoformat(), bytes=one.size, kind=one.kind
        )
        if one.meta is None:
            return shown
        return msgspec.structs.replace(
            shown,
            decided=utc(one.time).isoformat(),
            principal=one.meta.principal,
            reason=one.meta.reason,
            request_id=one.meta.request_id,
            tables=[
                Written(name, put.put, put.deleted) for name, put in sorted(one.tables.items())
            ],
            indexes=one.others,
            hidden=one.hidden,
            erased=one.erased,
        )

    def page(self, start: int, upto: int, limit: int) -> list[RecordShown]:
        """Records from an LSN on, up to and with `upto`, as far as they are durable."""
        found: list[RecordShown] = []
        read = 0
        for record in self.log.read(start, upto + 1):
            found.append(self.shown(record))
            read += len(record.data)
            if len(found) == limit or read >= READ_BYTES:
                break
        return found


class RecordsSource:
    """A `Source` of records."""

    def __init__(self, records: Records, after: int) -> None:
        self._records = records
        self._after = after

    @property
    def position(self) -> str:
        """See `Source`."""
        return str(self._after)

    async def take(self) -> Sequence[Event]:
        """See `Source`. Raises LsnTruncated."""
        log, recent, start = self._records.log, self._records.recent, self._after + 1
        if start > log.durable_lsn:
            return ()
        cold = log.durable_lsn - start > COLD
        found = await asyncio.to_thread(recent.read_past, start) if cold else recent.take(start)
        if found:
            self._after = found[-1][0]
        return [Event(str(lsn), data) for lsn, data, _ in found]

    async def wait(self, timeout: float) -> bool:
        """See `Source`. Raises LogClosed, LogFailed."""
        log = self._records.log
        arrived = await log.await_for(self._after + 1, timeout)
        if not arrived and log.failure is not None:
            raise log.failure
        return arrived


def routes(store: Store, once: Once) -> list[ControllerRouterHandler]:
    """The routes of the log."""
    records = Records(store)
    problems = Problems(PROBLEMS)
    return [*_reading(records, problems), *_slots(records, once)]


def _reading(records: Records, problems: Problems) -> Iterator[ControllerRouterHandler]:
    log = records.log

    @get("/v1/log/stat", tags=TAGS, summary="The log at a glance", opt=needs("log:read"))
    async def stat() -> LogStat:
        """Its ends, segments and slots."""
        return await asyncio.to_thread(log.stat)

    @get("/v1/log/records", tags=TAGS, summary="Read records", opt=needs("log:read"))
    async def read(
        start: FromQuery[int | None] = None,
        upto: FromQuery[int | None] = None,
        at: FromQuery[dt.datetime | None] = None,
        limit: FromQuery[int] = LIMIT,
        cursor: FromQuery[str | None] = None,
    ) -> Page[RecordShown]:
        """Records from the LSN `start`, or from the moment `at` (RFC 3339), or from the first there is,
        up to and with `upto`. What they hold of rows is not shown: only which tables, and how many."""
        size = page_size(limit)
        if start is not None and at is not None:
            raise _invalid("query.at", "give start or at, not both")
        if cursor:
            begin = from_cursor(cursor, int)
        elif at is not None:
            if at.tzinfo is None:
                raise _invalid("query.at", "a moment has a time zone, as 2026-01-31T08:00:00Z")
            begin = await asyncio.to_thread(lsn_at, log, _ns(at))
        else:
            begin = log.first_lsn if start is None else start
        checked("start", begin, 1, MAX_LSN)
        last = log.durable_lsn if upto is None else checked("upto", upto, 0, MAX_LSN - 1)
        if begin > log.durable_lsn + 1:
            raise LsnUnknown(f"LSN {begin} is past the end of the log, {log.durable_lsn}")
        found = await asyncio.to_thread(records.page, begin, last, size) if begin <= last else []
        more = found and found[-1].lsn < min(last, log.durable_lsn)
        return Page(found, to_cursor(found[-1].lsn + 1) if more else "")

    @get(
        "/v1/log/tail",
        tags=TAGS,
        summary="Follow the log",
        media_type=SSE,
        opt={**needs("log:read"), **takes("Last-Event-ID")},
    )
    async def tail(scope: Scope, since: FromQuery[str | None] = None) -> Streamed:
        """Records after the LSN `since` (from now on, if it is left out) as they become durable, like
        those of /v1/log/records. As Server-Sent Events, whose ids are LSNs, if `Accept` asks for them;
        else as lines of JSON."""
        seen = header(scope, b"last-event-id")
        where = "Last-Event-ID" if seen else "query.since"
        given = seen or since
        after = log.durable_lsn if given is None else position_of(given, where)[0]
        if after > log.durable_lsn:
            raise LsnUnknown(f"LSN {after} is past the end of the log, {log.durable_lsn}")
        return Streamed(
            source=RecordsSource(records, after),
            framing=framing_of(header(scope, b"accept") or ""),
            problems=problems,
        )

    yield from (stat, read, tail)


def _slots(records: Records, once: Once) -> Iterator[ControllerRouterHandler]:
    log = records.log

    def of(name: str) -> SlotStat:
        for slot in log.stat().slots:
            if slot.name == name:
                return slot
        raise SlotLost(f"slot {name!r:.80} does not exist: GET /v1/log/slots has those there are")

    def make(wanted: NewSlot) -> SlotStat:
        _check_ours(wanted.name)
        log.slot(wanted.name, wanted.lsn)
        return of(wanted.name)

    def move(name: str, lsn: int) -> SlotStat:
        _check_ours(name)
        if lsn > log.durable_lsn + 1:
            raise LsnUnknown(f"LSN {lsn} is past the next one, {log.durable_lsn + 1}")
        Slot(log.directory, name).advance(lsn)
        return of(name)

    def forget(name: str) -> None:
        _check_ours(name)
        Slot(log.directory, name).drop()

    @get("/v1/log/slots", tags=TAGS, summary="List slots", opt=needs("log:read"))
    async def list_slots() -> Page[SlotStat]:
        """Named positions of readers, which hold back what the log may forget."""
        return Page((await asyncio.to_thread(log.stat)).slots)

    @post("/v1/log/slots", tags=TAGS, summary="Make a slot", opt=needs("log:write"))
    async def create_slot(data: JSONBody[NewSlot], scope: Scope) -> Answer[SlotStat]:
        """Make a slot, if there is none of its name; what is from its LSN on is kept until it moves."""
        made, headers = await once(scope, data, SlotStat, partial(asyncio.to_thread, make, data))
        return Answer(made, headers=headers)

    @put("/v1/log/slots/{slot:str}", tags=TAGS, summary="Advance a slot", opt=needs("log:write"))
    async def advance_slot(
        slot: FromPath[str], data: JSONBody[Advance], scope: Scope
    ) -> Answer[SlotStat]:
        """Everything before this LSN was dealt with. A slot does not go back."""
        advance = partial(asyncio.to_thread, move, slot, data.lsn)
        moved, headers = await once(scope, data, SlotStat, advance)
        return Answer(moved, headers=headers)

    @delete("/v1/log/slots/{slot:str}", tags=TAGS, summary="Drop a slot", opt=needs("log:write"))
    async def drop_slot(slot: FromPath[str], scope: Scope) -> Answer[None]:
        """Hold nothing back for it any more."""
        drop = partial(asyncio.to_thread, forget, slot)
        _, headers = await once(scope, None, type(None), drop)
        return Answer(None, headers=headers)

    yield from (list_slots, create_slot, advance_slot, drop_slot)


def _ns(moment: dt.datetime) -> int:
    """A moment in ns since the Unix epoch, exactly."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000


def _check_ours(name: str) -> None:
    if name == SLOT:
        raise InvalidSetting(f"the slot {SLOT!r} is the store's own, which moves it")


def _invalid(at: str, what: str) -> InvalidRequest:
    return InvalidRequest(what, {"at": at, "message": what})
