"""The change feed over HTTP: what transactions did, as NDJSON or Server-Sent Events.

    log ─▶ Recent: each record read and encoded once ─▶ ChangesSource, one for each stream ─▶ frames

A position is the LSN of a transaction, or LSN.N behind the Nth of its changes when it has more. Changes
are numbered before any filter, so that a position means the same whatever a stream leaves out.

What must stay true: whoever goes on from the last position he saw misses nothing and gets nothing twice;
rows about subjects are never kept in memory, so that one that is erased is gone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import get
from litestar.params import FromQuery
from litestar.types import ControllerRouterHandler, Scope

from walnut.log.errors import LsnTruncated, LsnUnknown
from walnut.log.model import MAX_LSN
from walnut.store.api.asking import reached
from walnut.store.api.operations import permit_reading
from walnut.store.api.tables import Tables
from walnut.store.changes import ERASED, Change
from walnut.store.notation import shown
from walnut.store.problems import PROBLEMS
from walnut.web.access import needs, permit
from walnut.web.caller import header
from walnut.web.errors import Forbidden, InvalidRequest
from walnut.web.openapi import takes
from walnut.web.positions import LSN_HEADER
from walnut.web.problems import Problems
from walnut.web.streams import BATCH_BYTES, SSE, Event, Recent, Streamed, framing_of

COLD: Final = 10_000
"""Records behind the end from where reading moves to a thread: they may have to come from the disk."""
TABLES: Final = 100
"""Tables that a stream may name."""
_POSITION: Final = re.compile(r"(\d{1,19})(?:\.(\d{1,9}))?", re.ASCII)


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change as JSON.

    Attributes:
        position: where to go on behind it.
        before, after: the row; null for none, `{"erased": true}` for what nobody can read any more.
    """

    position: str
    lsn: int
    time: str
    table: str
    key: Any
    after: Any
    before: Any = None
    principal: str = ""
    reason: str = ""
    request_id: str = ""


class Told(msgspec.Struct, frozen=True, gc=False):
    """A change, encoded; or None, where it is about a subject and has to be read anew."""

    number: int
    table: str
    data: bytes | None


class Changes:
    """The changes of a store, each read once for all who follow."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.log = tables.store.log
        self.recent = Recent(self._read)
        self._feed = tables.store.feed()
        self._private: dict[str, bool] = {}

    def _read(self, start: int, budget: int) -> list[tuple[int, list[Told], int]]:
        """The changes of records from an LSN on."""
        found: list[tuple[int, list[Told], int]] = []
        size = 0
        for record in self.log.read(start):
            told = [
                Told(number, change.table, None if private else encoded(change, number, last=last))
                for number, change, private, last in self._numbered(record)
            ]
            cost = 64 + sum(len(each.data or b"") + 64 for each in told) + len(record.data) // 8
            found.append((record.lsn, told, cost))
            size += cost
            if size >= budget:
                break
        return found

    def _numbered(self, record: Any) -> list[tuple[int, Change, bool, bool]]:
        changes = list(self._feed.changes_of(record))
        return [
            (number, change, self._is_private(change.table), number == len(changes))
            for number, change in enumerate(changes, 1)
        ]

    def anew(self, lsn: int, number: int) -> bytes:
        """A change that is not kept in memory. Raises LsnTruncated."""
        for record in self.log.read(lsn, lsn + 1):
            for at, change, _, last in self._numbered(record):
                if at == number:
                    return encoded(change, number, last=last)
        raise AssertionError(f"LSN {lsn} had a change {number} a moment ago")

    def _is_private(self, table: str) -> bool:
        known = self._private.get(table)
        if known is None:
            info = self.tables.store.info(table)
            known = self._private[table] = info is None or info.subjects
        return known


class ChangesSource:
    """A `Source` of changes, for one stream.

    Args:
        after: position behind which it begins. upto: LSN with which it ends; None: never.
        only: names of tables; None: all that nobody owns, or all.
        owned: all.
    """

    def __init__(
        self,
        changes: Changes,
        after: tuple[int, int | None],
        *,
        upto: int | None,
        only: frozenset[str] | None,
        owned: bool,
    ) -> None:
        self._changes = changes
        self._lsn, self._number = after
        self._upto = MAX_LSN if upto is None else upto
        self._only = only
        self._owned = owned

    @property
    def position(self) -> str:
        """See `Source`."""
        return str(self._lsn) if self._number is None else f"{self._lsn}.{self._number}"

    @property
    def _next(self) -> int:
        return self._lsn + 1 if self._number is None else self._lsn

    async def take(self) -> Sequence[Event]:
        """See `Source`. Raises LsnTruncated."""
        log = self._changes.log
        events: list[Event] = []
        size = 0
        while not events and self._next <= min(log.durable_lsn, self._upto):
            cold = log.durable_lsn - self._next > COLD
            recent = self._changes.recent
            found = (
                await asyncio.to_thread(recent.read_past, self._next)
                if cold
                else recent.take(self._next)
            )
            if not found:
                break
            for lsn, told, _ in found:
                if lsn > self._upto or size >= BATCH_BYTES:
                    break
                size += self._tell(lsn, told, events)
            await asyncio.sleep(0)  # others' turn, while a filter leaves out much
        return events

    def _tell(self, lsn: int, told: list[Told], events: list[Event]) -> int:
        """Append a record's changes from where the reader is; the bytes that they take."""
        seen = self._number if lsn == self._lsn and self._number is not None else 0
        size = 0
        for each in told:
            if each.number > seen and self._wanted(each.table):
                data = each.data or self._changes.anew(lsn, each.number)
                last = each.number == len(told)
                events.append(Event(str(lsn) if last else f"{lsn}.{each.number}", data))
                size += len(data)
        self._lsn, self._number = lsn, None
        return size

    def _wanted(self, table: str) -> bool:
        if self._only is not None:
            return table in self._only
        return self._owned or self._changes.tables.owners.owner_of(table) is None

    async def wait(self, timeout: float) -> bool:
        """See `Source`. Raises LogClosed once the store is closed."""
        log = self._changes.log
        arrived = await log.await_for(self._next, timeout)
        if not arrived and log.failure is not None:
            raise log.failure
        return arrived


def encoded(change: Change, number: int, *, last: bool) -> bytes:
    """A change as JSON, by its number in its transaction."""
    meta = change.meta
    return msgspec.json.encode(
        Line(
            position=str(change.lsn) if last else f"{change.lsn}.{number}",
            lsn=change.lsn,
            time=change.time.isoformat(),
            table=change.table,
            key=shown(change.key),
            after=_row(change.after),
            before=_row(change.before),
            principal=meta.principal,
            reason=meta.reason,
            request_id=meta.request_id,
        )
    )


def _row(row: Any) -> Any:
    return {"erased": True} if row is ERASED else row


def position_of(text: str, name: str) -> tuple[int, int | None]:
    """An LSN, and perhaps a number, from a parameter or a header. Raises InvalidRequest."""
    match = _POSITION.fullmatch(text.strip())
    if match is None or int(match[1]) >= MAX_LSN:
        what = f"{name} is {text[:40]!r}: it is a position that a stream gave, or an LSN from 0"
        raise InvalidRequest(what, {"at": name, "message": what})
    return int(match[1]), int(match[2]) if match[2] else None


def routes(tables: Tables) -> list[ControllerRouterHandler]:
    """The route of the change feed."""
    changes = Changes(tables)
    problems = Problems(PROBLEMS)

    @get(
        "/v1/changes",
        tags=["changes"],
        summary="Follow changes",
        media_type=SSE,
        opt={**needs("tables:read", each=True), **takes("at_least", "Last-Event-ID")},
    )
    async def follow(
        scope: Scope,
        since: FromQuery[str | None] = None,
        upto: FromQuery[int | None] = None,
        tables: FromQuery[str | None] = None,  # noqa: A002, RUF100  its name in the query
        *,
        follow: FromQuery[bool] = True,
        at_least: FromQuery[int] = 0,
    ) -> Streamed:
        """What transactions changed after the position `since` (0: from as far back as the log reaches;
        left out: from now on), of the `tables` named, divided by commas, or of all that are no
        subsystem's own.

        As Server-Sent Events if `Accept` asks for them, whose ids are positions, and which go on at
        `Last-Event-ID`; else as lines of JSON. `follow=false`, or `upto` an LSN, makes it end. 410 if the
        log no longer reaches back: then `first_lsn` says to where it does."""
        lsn = await reached(changes.tables.store, at_least)
        only = _named(tables)
        owned = _permitted(changes.tables, only, scope)
        last_seen = header(scope, b"last-event-id")
        if last_seen:
            begin = position_of(last_seen, "Last-Event-ID")
        elif since is not None:
            begin = position_of(since, "query.since")
        else:
            begin = lsn, None
        first = changes.log.first_lsn
        if begin == (0, None):
            begin = first - 1, None
        if begin[0] + 1 < first or (begin[1] is not None and begin[0] < first):
            raise LsnTruncated(begin[0], first)
        if begin[0] > changes.log.durable_lsn:
            raise LsnUnknown(
                f"position {begin[0]} is past the end of the log, {changes.log.durable_lsn}: it is of "
                "another store, or of this one before it was restored to an earlier moment"
            )
        stop = upto if upto is not None else None if follow else lsn
        source = ChangesSource(changes, begin, upto=stop, only=only, owned=owned)
        framing = framing_of(header(scope, b"accept") or "")
        headers = ((LSN_HEADER.encode(), str(lsn).encode()),)
        return Streamed(
            source=source, framing=framing, problems=problems, follow=stop is None, headers=headers
        )

    return [follow]


def _named(tables: str | None) -> frozenset[str] | None:
    if tables is None:
        return None
    names = frozenset(filter(None, tables.split(",")))
    if not 0 < len(names) <= TABLES:
        what = f"tables names {len(names)} tables: it names 1 to {TABLES}, divided by commas"
        raise InvalidRequest(what, {"at": "query.tables", "message": what})
    return names


def _permitted(tables: Tables, only: frozenset[str] | None, scope: Scope) -> bool:
    """Let the caller read these tables; whether all includes what subsystems keep. Raises Forbidden,
    UnknownTable."""
    if only is not None:
        for name in sorted(only):
            permit_reading(tables, name, scope)
            tables.info(name)
        return False
    permit(scope, "tables:read", "")
    try:
        permit(scope, "tables:admin", "")
    except Forbidden:
        return False
    return True
