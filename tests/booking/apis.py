"""Bookings behind their routes, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from litestar.testing import TestClient

from tests.booking.office import Clock
from tests.store.apis import resources_of
from tests.store.helpers import SMALL
from walnut.booking import api
from walnut.booking.bookings import Bookings
from walnut.booking.problems import PROBLEMS
from walnut.booking.queue import Queue
from walnut.booking.series import SeriesBook
from walnut.booking.subscriptions import Subscriptions
from walnut.booking.waitlist import Waitlist
from walnut.jobs import Jobs
from walnut.jobs.problems import PROBLEMS as JOBS_PROBLEMS
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.store.store import Store
from walnut.subsystem.model import Resources
from walnut.testing.web import client

ALL_PROBLEMS = (STORE_PROBLEMS, JOBS_PROBLEMS, PROBLEMS)
ROOM = {"id": "room", "kind": {"type": "exclusive"}, "zone": "Europe/Berlin", "grid": 900,
        "horizon": 10 * 366 * 86_400, "price": 5000}  # fmt: skip
NINE = {
    "type": "time",
    "resource": "room",
    "start": "2030-05-02T09:00:00",
    "end": "2030-05-02T10:00:00",
}


def with_bookings(resources: Resources, jobs: Jobs) -> Resources:
    """What the server provides to the routes of booking."""
    bookings = Bookings(jobs.store, jobs)
    for thing in (
        bookings,
        Waitlist(bookings),
        Queue(jobs.store, jobs),
        SeriesBook(bookings),
        Subscriptions(jobs.store),
    ):
        resources.provide(thing)
    return resources


class Desk(NamedTuple):
    """A client of the routes, and what is behind them."""

    http: TestClient[Any]
    resources: Resources
    clock: Clock

    def post(self, path: str, body: object = None, status: int = 201, **headers: str) -> Any:
        """What is answered to a POST, if it has this status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.http.post(f"/v1/booking/{path}", json=body, headers=named)
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, path: str, status: int = 200) -> Any:
        """What is answered to a GET, if it has this status."""
        answer = self.http.get(f"/v1/booking/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()

    def put(self, path: str, body: object, status: int = 200) -> Any:
        """What is answered to a PUT, if it has this status."""
        answer = self.http.put(f"/v1/booking/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


@contextlib.contextmanager
def opened(path: Path, **given: Any) -> Iterator[Desk]:
    """Bookings of a store at a path, on a Wednesday in 2030, with a room."""
    clock = Clock()
    options = msgspec.structs.replace(SMALL, log=msgspec.structs.replace(SMALL.log, clock=clock))
    with Store(path, options) as store:
        resources = with_bookings(resources_of(store), Jobs(store))
        with client(api.routes(resources), *ALL_PROBLEMS) as http:
            desk = Desk(http, resources, clock)
            desk.put("resources/room", ROOM)
            if given:
                with client(api.routes(resources), *ALL_PROBLEMS, **given) as other:
                    yield Desk(other, resources, clock)
            else:
                yield desk
