"""The routes of booking: resources, what is free, the life of a booking, who waits, calendars.

    asking ── resources, availability        what there is, and what is free of it
        ├──── holds, reading                 the life of a booking, and looking at it
        ├──── waiting                        waitlist, and the queue of a sale
        └──── calendars, feed                series, iCalendar, import

What must stay true: no logic of booking is here; what a route does could be done by the library's own
methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from walnut.booking.api import availability, calendars, holds, reading, waiting
from walnut.booking.api import resources as resources_
from walnut.booking.api.asking import Desk
from walnut.booking.bookings import Bookings
from walnut.booking.queue import Queue
from walnut.booking.series import SeriesBook
from walnut.booking.subscriptions import Subscriptions
from walnut.booking.waitlist import Waitlist
from walnut.subsystem.model import Resources

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


def routes(resources: Resources) -> Sequence[ControllerRouterHandler]:
    """All of them, of what booking's service has provided. Raises NotProvided."""
    desk = Desk(resources.find(Bookings))
    queue = resources.find(Queue)
    return [
        *resources_.routes(desk),
        *availability.routes(desk),
        *holds.routes(desk, queue),
        *reading.routes(desk),
        *waiting.routes(desk, resources.find(Waitlist), queue),
        *calendars.routes(desk, resources.find(SeriesBook), resources.find(Subscriptions)),
    ]
