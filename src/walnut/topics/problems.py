"""What the errors of topics mean to a caller over HTTP.

What must stay true: every error of `walnut.topics.errors` is here (`tests/topics/test_problems.py`),
and a slug that was published keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from walnut.topics import errors
from walnut.web.problems import Kind

PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    errors.UnknownTopic: Kind("unknown-topic", 404, "There is no topic of this name"),
    errors.TopicExists: Kind("topic-exists", 409, "There is a topic of this name already"),
    errors.TooManyTopics: Kind("too-many-topics", 409, "There are as many topics as there may be"),
    errors.NoTopics: Kind("no-topics", 404, "The store has no topics"),
    errors.InvalidName: Kind("invalid-name", 422, "It can't be called that"),
    errors.InvalidTopicOption: Kind("invalid-argument", 422, "An argument is out of its range"),
    errors.InvalidMessage: Kind("invalid-message", 422, "This can't be sent"),
    errors.MessageTooLarge: Kind("message-too-large", 413, "A message may not be so large"),
    errors.OffsetTruncated: Kind(
        "offset-truncated", 410, "The topic no longer keeps this offset", members=("first",)
    ),
    errors.OffsetUnknown: Kind(
        "offset-unknown", 404, "The topic has no such offset yet", members=("next",)
    ),
    errors.SequenceGap: Kind(
        "sequence-gap", 409, "The producer left out a number", members=("expected",)
    ),
    errors.StaleSequence: Kind("stale-sequence", 409, "The sequence number is too old to tell"),
    errors.PositionMoved: Kind(
        "position-moved", 412, "The group is elsewhere by now", members=("offset",)
    ),
}
