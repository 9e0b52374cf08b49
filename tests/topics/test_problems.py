"""What errors of topics mean over HTTP."""

from __future__ import annotations

from tests.problems import unmapped
from walnut.topics import errors
from walnut.topics.problems import PROBLEMS


def test_every_error_of_topics_has_a_meaning() -> None:
    assert unmapped(errors, {*PROBLEMS}) == set()
