"""What errors of booking mean over HTTP."""

from __future__ import annotations

from tests.problems import unmapped
from walnut.booking import errors
from walnut.booking.problems import PROBLEMS
from walnut.jobs.problems import PROBLEMS as JOBS_PROBLEMS
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.topics.problems import PROBLEMS as TOPICS_PROBLEMS
from walnut.web.problems import Problems


def test_every_error_of_booking_has_a_meaning() -> None:
    assert unmapped(errors, {*PROBLEMS}) == set()


def test_its_slugs_mean_nothing_else_elsewhere() -> None:
    slugs = {
        kind.slug
        for kind in Problems(STORE_PROBLEMS, JOBS_PROBLEMS, TOPICS_PROBLEMS, PROBLEMS).kinds
    }
    assert {"taken", "hold-expired", "stale-version"} <= slugs
