"""Backups and checkpoints over HTTP.

What must stay true: a place is named, never given as a path or a URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler, Scope

from walnut.log.model import MAX_LSN
from walnut.store.api.asking import checked
from walnut.store.api.once import Once
from walnut.store.backups import Backups, Kept, Run
from walnut.web.access import needs
from walnut.web.answer import Answer
from walnut.web.paging import Page

TAGS: Final = ["backups"]


class NewBackup(msgspec.Struct, forbid_unknown_fields=True):
    """How to back up. `hold`: the log is kept from this backup on until the next one to this place."""

    hold: bool = False


class NewCheck(msgspec.Struct, forbid_unknown_fields=True):
    """What to check: all, or what it restores up to an LSN."""

    to: int | None = None


class PlaceShown(msgspec.Struct, omit_defaults=True):
    """A place for backups, and the last backup and check of it since the server was started."""

    place: str
    backup: Run | None = None
    check: Run | None = None


class PlaceDetail(PlaceShown, kw_only=True):
    """The same, and what is there."""

    kept: Kept


class Checkpoint(msgspec.Struct):
    """The tables are flushed up to this LSN."""

    lsn: int


def routes(backups: Backups, once: Once) -> Iterator[ControllerRouterHandler]:
    """The routes of backups."""
    last = backups.last

    @get("/v1/backups", tags=TAGS, summary="List places for backups", opt=needs("backups:read"))
    async def list_places() -> Page[PlaceShown]:
        """The places that walnut.toml names, and what was done with them since the start."""
        return Page(
            [
                PlaceShown(name, last.get((name, "backup")), last.get((name, "check")))
                for name in sorted(backups.places)
            ]
        )

    @get(
        "/v1/backups/{place:str}",
        tags=TAGS,
        summary="Look into a place",
        opt=needs("backups:read", name="place"),
    )
    async def look(place: FromPath[str]) -> PlaceDetail:
        """Its restore points, how far its log reaches, and how the last backup and check of it went or
        go. Any LSN from the first point on up to the end of the log there can be restored."""
        kept = await backups.kept(place)
        return PlaceDetail(
            place, last.get((place, "backup")), last.get((place, "check")), kept=kept
        )

    @post(
        "/v1/backups/{place:str}",
        tags=TAGS,
        summary="Back up",
        status_code=202,
        opt=needs("backups:write", name="place"),
    )
    async def back_up(
        place: FromPath[str], scope: Scope, data: JSONBody[NewBackup | None] = None
    ) -> Answer[Run]:
        """Begin a backup to this place; writers go on. `GET` of the same address tells how far it is. One
        is under way at a time (409 backup-running). Sent again under the same Idempotency-Key, the first
        answer comes, and no other backup begins."""

        async def begin() -> Run:
            begun = backups.start(place, hold=data is not None and data.hold)
            return msgspec.structs.replace(begun)  # as it is now: it goes on

        run, headers = await once(scope, data, Run, begin)
        return Answer(run, headers=headers)

    @post(
        "/v1/backups/{place:str}/check",
        tags=TAGS,
        summary="Check a backup",
        status_code=202,
        opt=needs("backups:write", name="place"),
    )
    async def check(
        place: FromPath[str], scope: Scope, data: JSONBody[NewCheck | None] = None
    ) -> Answer[Run]:
        """Begin to verify a backup by restoring it, in a scratch directory beside the tables. What it
        finds is told by `GET /v1/backups/PLACE`."""
        to = None if data is None or data.to is None else checked("to", data.to, 1, MAX_LSN)

        async def begin() -> Run:
            return msgspec.structs.replace(backups.check(place, to))

        run, headers = await once(scope, data, Run, begin)
        return Answer(run, headers=headers)

    @post(
        "/v1/checkpoint",
        tags=TAGS,
        summary="Flush the tables",
        status_code=200,
        opt=needs("store:write"),
    )
    async def checkpoint(scope: Scope) -> Answer[Checkpoint]:
        """Flush the tables, so that a restart need not fold what is in them again."""

        async def flush() -> Checkpoint:
            return Checkpoint(await asyncio.to_thread(backups.store.checkpoint))

        flushed, headers = await once(scope, None, Checkpoint, flush)
        return Answer(flushed, headers=headers)

    yield from (list_places, look, back_up, check, checkpoint)
