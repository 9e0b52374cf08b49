"""Booking as the server runs it: on the store and its jobs, whose timers end holds.

What must stay true: nothing of booking is reached without a credential but what `doors` says: feeds,
which take the secret in their address, and the public page, which is off unless switched on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec
from prometheus_client import Metric

from walnut.booking.bookings import Bookings
from walnut.booking.model import Booking
from walnut.booking.problems import PROBLEMS
from walnut.booking.queue import Queue
from walnut.booking.series import SeriesBook
from walnut.booking.subscriptions import Subscriptions
from walnut.booking.waitlist import Waitlist
from walnut.jobs.jobs import Jobs
from walnut.store.store import Store
from walnut.store.transaction import Transaction
from walnut.subsystem.metrics import by
from walnut.subsystem.model import Subsystem
from walnut.web.problems import Kind

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from walnut.web.asgi import App


class BookingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Reservations of resources by time, by night and by seat.

    Attributes:
        public: resources, by id or pattern (as `room-*`), that anybody may book at /book/RESOURCE.
            Nobody without a credential gets to anything while it is empty.
    """

    public: tuple[str, ...] = ()


class BookingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Booking in `walnut status`: what was done to bookings since the server was started."""

    holds: int
    confirms: int
    expired: int
    cancelled: int


class Service(Subsystem[BookingSettings]):
    """Provides `Bookings`, `Waitlist`, `Queue`, `SeriesBook` and `Subscriptions`."""

    name: ClassVar = "booking"
    needs: ClassVar = ("store", "jobs")
    settings: ClassVar = BookingSettings
    tables: ClassVar = ("booking.*",)

    bookings: Bookings | None = None

    async def start(self) -> None:
        """Find the bookings of the store."""
        store, jobs = self.resources.find(Store), self.resources.find(Jobs)
        self._done: dict[str, int] = {}
        bookings = self.bookings = Bookings(store, jobs)
        bookings.listeners.append(self._count)
        for thing in (
            bookings,
            Waitlist(bookings),
            Queue(store, jobs),
            SeriesBook(bookings),
            Subscriptions(store),
        ):
            self.resources.provide(thing)

    async def stop(self) -> None:
        """Nobody uses it any more."""
        for kind in (Bookings, Waitlist, Queue, SeriesBook, Subscriptions):
            self.resources.withdraw(kind)

    def _count(self, tx: Transaction, what: str, booking: Booking) -> None:
        del booking
        tx.after(self._did, what)

    def _did(self, what: str) -> None:
        self._done[what] = self._done.get(what, 0) + 1

    def routes(self) -> Sequence[ControllerRouterHandler]:
        """See Subsystem."""
        from walnut.booking.api import routes  # noqa: PLC0415 -- Litestar, for a server alone

        return routes(self.resources)

    def doors(self) -> Mapping[str, App]:
        """See Subsystem."""
        from walnut.booking.api.feed import Feeds  # noqa: PLC0415 -- for a server alone

        doors: dict[str, App] = {"calendars": Feeds(self.resources)}
        if self.config.public:
            from walnut.booking.public.page import DOOR, PublicPage  # noqa: PLC0415 -- same

            doors[DOOR] = PublicPage(self.resources, self.config.public)
        return doors

    def problems(self) -> Mapping[type[Exception], Kind]:
        """See Subsystem."""
        return PROBLEMS

    def status(self) -> BookingStatus | None:
        """See Subsystem."""
        if self.bookings is None:
            return None
        done = self._done.get
        return BookingStatus(
            holds=done("hold", 0),
            confirms=done("confirm", 0),
            expired=done("expire", 0),
            cancelled=done("cancel", 0),
        )

    def metrics(self) -> Iterator[Metric]:
        """See Subsystem."""
        if self.bookings is not None:
            yield by("move", "booking_moves", "What was done to bookings.", self._done, grows=True)
