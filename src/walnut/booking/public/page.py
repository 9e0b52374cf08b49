"""The public page of a resource that is booked by time: search, hold, confirm, cancel.

    GET  /book/R                        the page, and a cookie for whoever has none
    GET  /book/R/free?date=&length=     free times of a day on the wall of the resource
    GET  /book/R/mine                   what this visitor holds and has booked
    POST /book/R/holds                  {"start", "end"} ─▶ 201, seconds that are left
    POST /book/R/holds/ID/confirm, .../cancel

What must stay true: a visitor sees and changes only bookings of their own, of resources that an operator
has made public; nobody learns whose or which booking is in the way.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from walnut.booking.api.asking import Desk, read_date
from walnut.booking.bookings import Bookings
from walnut.booking.errors import QuotaExceeded, Taken, Unavailable, UnknownResource
from walnut.booking.model import Booking, Exclusive, Pool, Resource, Time
from walnut.booking.problems import PROBLEMS
from walnut.booking.public.visitors import STAY_SECONDS, Buckets, Visitors
from walnut.booking.states import State
from walnut.booking.walls import at_wall, zone_of
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.store.record import Meta
from walnut.store.transaction import Transaction
from walnut.subsystem.model import Resources, ServerInfo
from walnut.web.asgi import Receive, Scope, Send
from walnut.web.bodies import read_body
from walnut.web.caller import header
from walnut.web.errors import (
    ClientGone,
    CrossOrigin,
    InvalidRequest,
    TooManyRequests,
    Unauthenticated,
)
from walnut.web.problems import Problems

DOOR: Final = "book"
COOKIE: Final = "walnut_visitor"
HOLDS: Final = 2
"""That one visitor may have at a time: holding costs nothing, and keeps others out."""
READS: Final = (60.0, 5.0)
WRITES: Final = (12.0, 0.1)
"""At once, and more each second, from one address."""
SLOTS: Final = 200
"""Times that are shown of a day."""
MARGIN: Final = 2
"""Seconds that a visitor is given less than there are: a confirm takes its time to get here."""
BODY_BYTES: Final = 1024
MINE: Final = 20
"""Bookings of a visitor that are shown."""
PAGE: Final = (Path(__file__).parent / "page.html").read_text()
_SCRIPT: Final = re.search(r"<script>(.*?)</script>", PAGE, re.DOTALL)
assert _SCRIPT is not None
_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT[1].encode()).digest()).decode()
HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy",
     f"default-src 'none'; script-src 'sha256-{_HASH}'; style-src 'unsafe-inline'; connect-src 'self'; "
     "frame-ancestors 'none'; base-uri 'none'; form-action 'none'".encode()),
)  # fmt: skip


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A time that a visitor wants."""

    start: dt.datetime
    end: dt.datetime


class FreeTime(msgspec.Struct):
    """A time that can be had; `wall`: what clocks at the place show at its start."""

    start: dt.datetime
    end: dt.datetime
    wall: str


class Free(msgspec.Struct):
    """What a visitor may choose from. `price`: cents for one of these."""

    resource: str
    zone: str
    date: dt.date
    length: int
    price: int
    currency: str
    items: list[FreeTime]


class Mine(msgspec.Struct, omit_defaults=True):
    """A booking of the visitor's own. `seconds`: that are left of a hold."""

    id: str
    state: str
    start: dt.datetime
    end: dt.datetime
    wall: str
    price: int
    currency: str
    fee: int = 0
    seconds: int = 0


class PublicPage:
    """An ASGI app.

    Args:
        patterns: of ids of resources that are public.
    """

    def __init__(self, resources: Resources, patterns: Sequence[str]) -> None:
        self._desk = Desk(resources.find(Bookings))
        self._patterns = patterns
        file = resources.find(ServerInfo).data / "booking" / "visitors.key"
        self._visitors = Visitors(file)
        self._problems = Problems(STORE_PROBLEMS, PROBLEMS)
        self._reads, self._writes = Buckets(*READS), Buckets(*WRITES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            status, headers, body = await self._answer(scope, receive)
        except ClientGone:
            return
        except Exception as error:
            refusal = self._problems.render(error, scope)
            status, body = refusal.status, refusal.body
            headers = [each for each in refusal.headers if each[0] != b"content-length"]
        headers = [*headers, *HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )

    async def _answer(
        self, scope: Scope, receive: Receive
    ) -> tuple[int, Iterable[tuple[bytes, bytes]], bytes]:
        now = self._desk.now().timestamp()
        self._check_rate(scope, now)
        _, _, id_, *rest = scope["path"].split("/") if scope["path"].count("/") > 1 else ("",) * 3
        resource = self._resource(id_)
        visitor = self._visitors.read(_cookie(scope), now)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        match method, rest:
            case "GET", []:
                return 200, self._greeting(scope, visitor, now), PAGE.encode()
            case "GET", ["free"]:
                return _json(200, self._free(resource, scope))
            case "GET", ["mine"]:
                return _json(200, self._mine(resource, _known(visitor)))
            case "POST", ["holds"]:
                customer = f"visitor:{_known(visitor)}"
                body = await read_body(receive, BODY_BYTES)
                asked = _read(body)
                want = Time(resource.id, asked.start, asked.end)
                return _json(
                    201, await self._change(customer, _hold, self._desk.bookings, want, customer)
                )
            case "POST", ["holds", booking, ("confirm" | "cancel") as what]:
                customer = f"visitor:{_known(visitor)}"
                bookings = self._desk.bookings
                function = bookings.confirm if what == "confirm" else bookings.cancel
                found = bookings.get(self._desk.store, booking)
                if found.legs[0].resource != resource.id:
                    raise UnknownResource(f"booking {booking} is not of {resource.id}")
                return _json(
                    200, await self._change(customer, function, booking, customer=customer)
                )
        raise UnknownResource("there is nothing at this address")

    # -- what is allowed ------------------------------------------------------------------------

    def _check_rate(self, scope: Scope, now: float) -> None:
        """Raises TooManyRequests, CrossOrigin."""
        client = scope.get("client")
        address = client[0] if client else ""
        writes = scope["method"] not in {"GET", "HEAD"}
        if not (self._writes if writes else self._reads).take(address, now):
            raise TooManyRequests("too much was asked for from this address: wait a little")
        origin = header(scope, b"origin")
        if writes and origin is not None and origin.partition("://")[2] != header(scope, b"host"):
            raise CrossOrigin("a page of another site sent this")

    def _resource(self, id_: str) -> Resource:
        """A resource that is public. Raises UnknownResource."""
        if not any(fnmatchcase(id_, pattern) for pattern in self._patterns):
            raise UnknownResource("there is nothing to book at this address")
        resource = self._desk.bookings.resources.need(self._desk.store, id_)
        if not isinstance(resource.kind, Exclusive | Pool):
            raise UnknownResource(f"{id_} is not booked by time, and has no page")
        return resource

    def _greeting(self, scope: Scope, visitor: str | None, now: float) -> list[tuple[bytes, bytes]]:
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        if visitor is None:
            _, cookie = self._visitors.new(now)
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            text = (
                f"{COOKIE}={cookie}; Path=/{DOOR}; Max-Age={STAY_SECONDS}; HttpOnly; SameSite=Strict"
                f"{secure}"
            )
            headers.append((b"set-cookie", text.encode()))
        return headers

    # -- what is answered -----------------------------------------------------------------------

    def _free(self, resource: Resource, scope: Scope) -> Free:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        length = query.get("length", [""])[0]
        seconds = (
            int(length) if length.isdecimal() and length.isascii() and len(length) < 9 else 3600
        )
        zone = zone_of(resource.zone)
        today = self._desk.now().astimezone(zone).date()
        given = query.get("date", [""])[0]
        date = read_date("date", given) if given else today
        midnight = dt.datetime.fromtimestamp(at_wall(date, 0, zone) / 1e6, dt.UTC)
        found = self._desk.bookings.search.slots(
            self._desk.store,
            resource.id,
            midnight,
            midnight + dt.timedelta(days=1),
            dt.timedelta(seconds=seconds),
            now=self._desk.now(),
            step=dt.timedelta(seconds=max(resource.grid, 1800 - 1800 % resource.grid)),
            limit=SLOTS,
        )
        price = resource.price + resource.per_hour * seconds // 3600
        items = [
            FreeTime(slot.start, slot.end, f"{slot.start.astimezone(zone):%H:%M}")
            for slot in found.items
        ]
        return Free(resource.id, resource.zone, date, seconds, price, resource.currency, items)

    def _mine(self, resource: Resource, visitor: str) -> list[Mine]:
        customer = f"visitor:{visitor}"
        now = int(self._desk.now().timestamp() * 1e6)
        with self._desk.store.snapshot() as seen:
            found = self._desk.bookings.of_customer(seen, customer, now)
            mine = [one for one in found if one.legs[0].resource == resource.id]
        return [
            self._shown(one)
            for one in mine
            if one.state is State.CONFIRMED or (one.state is State.HELD and one.deadline > now)
        ][:MINE]

    def _shown(self, booking: Booking) -> Mine:
        left = 0
        if booking.expires is not None:
            left = int((booking.expires - self._desk.now()).total_seconds()) - MARGIN
        return Mine(
            booking.id, booking.state.name.lower(), booking.start, booking.end,
            booking.legs[0].wall, booking.price, booking.currency, booking.fee, max(0, left),
        )  # fmt: skip

    async def _change(
        self, whose: str, function: Callable[..., Booking], /, *args: Any, **options: Any
    ) -> Mine:
        meta = Meta(whose, "public page")
        try:
            return self._shown(await self._desk.store.by(meta).run(function, *args, **options))
        except Taken as taken:
            # Neither whose nor which booking it is: that is for the staff.
            raise Unavailable("somebody was faster: choose another time", taken.instead) from None


def _hold(tx: Transaction, bookings: Bookings, want: Time, customer: str) -> Booking:
    now = tx.time // 1000
    held = sum(
        1
        for one in bookings.of_customer(tx, customer, now)
        if one.state is State.HELD and one.deadline > now
    )
    if held >= HOLDS:
        raise QuotaExceeded(f"you hold {held} times already: confirm or cancel one first")
    return bookings.hold(tx, want, customer=customer)


def _known(visitor: str | None) -> str:
    """Raises Unauthenticated."""
    if visitor is None:
        raise Unauthenticated(
            "this page was left open too long, or takes no cookies: load it again"
        )
    return visitor


def _cookie(scope: Scope) -> str:
    try:
        found = SimpleCookie(header(scope, b"cookie") or "").get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _read(body: bytes) -> Asked:
    try:
        return msgspec.json.decode(body, type=Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(str(error), {"at": "body", "message": str(error)}) from error


def _json(status: int, content: object) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return status, [(b"content-type", b"application/json")], msgspec.json.encode(content)
