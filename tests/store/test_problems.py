"""What errors mean over HTTP: every one has a meaning, and no two meanings share a name."""

from __future__ import annotations

from tests.problems import public_errors, unmapped
from walnut.jobs.problems import PROBLEMS as JOBS
from walnut.log import errors as log_errors
from walnut.store import errors
from walnut.store.problems import INTERNAL, PROBLEMS
from walnut.topics.problems import PROBLEMS as TOPICS
from walnut.web.problems import Problems


def test_every_error_of_log_and_store_has_a_meaning_or_is_internal_on_purpose() -> None:
    assert public_errors(errors), "there is something to look at"
    assert unmapped(errors, {*PROBLEMS, *INTERNAL}) == set()
    assert unmapped(log_errors, {*PROBLEMS, *INTERNAL}) == set()
    assert not INTERNAL & PROBLEMS.keys()


def test_all_subsystems_together_give_each_type_one_meaning() -> None:
    kinds = Problems(PROBLEMS, TOPICS, JOBS).kinds
    assert len({kind.slug for kind in kinds}) == len(kinds)


def test_who_is_told_to_come_again_is_told_when() -> None:
    for kind in Problems(PROBLEMS, TOPICS, JOBS).kinds:
        if kind.status == 503:
            assert kind.retry_after, kind
