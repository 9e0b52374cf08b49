"""Feeds for calendar programs, at addresses whose secret is the credential.

    GET /calendars/ID.ics?secret=...    200 text/calendar, 304, or 401

What must stay true: an address shows one calendar, read only, until it is revoked; the secret is in the
query, which no log of the server has.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qs

from walnut.booking.api.asking import Desk
from walnut.booking.bookings import Bookings
from walnut.booking.feeds import of_customer, of_resource
from walnut.booking.problems import PROBLEMS
from walnut.booking.subscriptions import Of, Subscriptions
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.subsystem.model import Resources
from walnut.web.asgi import Receive, Scope, Send
from walnut.web.conditions import etag_of, not_modified
from walnut.web.errors import Unauthenticated
from walnut.web.problems import Problems

BACK: Final = dt.timedelta(days=90)
AHEAD: Final = dt.timedelta(days=366)
"""What a feed shows of the past, and of the time to come."""
SUFFIX: Final = ".ics"
HEADERS: Final = (
    (b"content-type", b"text/calendar; charset=utf-8"),
    (b"cache-control", b"private, max-age=300"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def calendar_of(desk: Desk, of: Of, name: str) -> bytes:
    """The calendar of a resource or a customer. Raises UnknownResource."""
    now = desk.now()
    with desk.store.snapshot() as seen:
        if of == "resource":
            return of_resource(desk.bookings, seen, name, now - BACK, now + AHEAD)
        return of_customer(desk.bookings, seen, name, now - BACK)


class Feeds:
    """An ASGI app that answers feeds, of the `Subscriptions` that were provided."""

    def __init__(self, resources: Resources) -> None:
        self._desk = Desk(resources.find(Bookings))
        self._subscriptions = resources.find(Subscriptions)
        self._problems = Problems(STORE_PROBLEMS, PROBLEMS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        del receive
        try:
            data = self._find(scope)
        except Exception as error:
            refusal = self._problems.render(error, scope)
            await _send(send, refusal.status, refusal.headers, refusal.body)
            return
        tag = etag_of(data)
        headers = [*HEADERS, (b"etag", tag.encode())]
        if not_modified(scope, tag):
            await _send(send, 304, headers, b"")
            return
        headers.append((b"content-length", b"%d" % len(data)))
        await _send(send, 200, headers, b"" if scope["method"] == "HEAD" else data)

    def _find(self, scope: Scope) -> bytes:
        """The calendar that is asked for. Raises Unauthenticated."""
        file = scope["path"].removeprefix("/calendars/")
        secret = parse_qs(scope["query_string"].decode("latin-1")).get("secret", [""])[0]
        found = None
        if scope["method"] in {"GET", "HEAD"} and file.endswith(SUFFIX):
            id_ = file.removesuffix(SUFFIX)
            found = self._subscriptions.check(self._desk.store, id_, secret)
        if found is None:
            raise Unauthenticated(
                "this is not the address of a calendar that was given out, or not any more: ask for "
                "another"
            )
        return calendar_of(self._desk, found.of, found.name)


async def _send(
    send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})
