"""What errors of jobs mean over HTTP."""

from __future__ import annotations

from tests.problems import unmapped
from walnut.jobs import errors
from walnut.jobs.problems import INTERNAL, PROBLEMS
from walnut.jobs.webhooks import errors as webhooks


def test_every_error_of_jobs_has_a_meaning_or_is_internal_on_purpose() -> None:
    assert unmapped(errors, {*PROBLEMS, *INTERNAL}) == set()
    assert unmapped(webhooks, {*PROBLEMS, *INTERNAL}) == set()
