"""Every error that topics raise on purpose.

Each message says what happened, to what, and what to do about it. All of them are `TopicsError`; what
the store and the log refuse comes through as they name it.
"""

from __future__ import annotations


class TopicsError(Exception):
    """Base of every error raised by `walnut.topics`."""


class UnknownTopic(TopicsError, LookupError):
    """There is no topic of this name."""


class TopicExists(TopicsError):
    """There is a topic of this name already."""


class TooManyTopics(TopicsError):
    """There are as many topics as `TopicsOptions.topics` allows."""


class NoTopics(TopicsError, LookupError):
    """The store has no tables of topics: no program has made a `Topics` on it."""


class InvalidName(TopicsError, ValueError):
    """A topic, a producer or a group can't be called that."""


class InvalidTopicOption(TopicsError, ValueError):
    """An option or an argument is out of its range."""


class InvalidMessage(TopicsError, TypeError):
    """A message is not bytes, and not a `Message` of bytes, a key and headers of text."""


class MessageTooLarge(TopicsError, ValueError):
    """A message, or the messages of one append, take more than they may."""


class OffsetTruncated(TopicsError, LookupError):
    """What is asked for is no longer kept.

    Attributes:
        topic: its name.
        first: the first offset that still is.
    """

    def __init__(self, topic: str, offset: int, first: int) -> None:
        super().__init__(
            f"offset {offset} of {topic} is no longer kept: the first one that is has the number "
            f"{first}, so go on from there, or from 'earliest'"
        )
        self.topic = topic
        self.first = first


class OffsetUnknown(TopicsError, LookupError):
    """What is asked for is behind the end of the topic.

    Attributes:
        topic: its name.
        next: the offset that its next message gets.
    """

    def __init__(self, topic: str, offset: int, next_offset: int) -> None:
        super().__init__(
            f"{topic} has no offset {offset}: its next message gets {next_offset}; if it was there "
            "once, the topic was deleted and made anew, or the store restored to a moment before"
        )
        self.topic = topic
        self.next = next_offset


class SequenceGap(TopicsError):
    """A producer left out a sequence number, which may be an append that was lost.

    Attributes:
        expected: the number that its next append has.
    """

    def __init__(self, topic: str, producer: str, sequence: int, expected: int) -> None:
        super().__init__(
            f"producer {producer!r} sent sequence {sequence} to {topic} and {expected} is next: send "
            "what is missing first"
            + (
                "; if it did, it was forgotten: go on with a new name, from 0"
                if expected == 0
                else ""
            )
        )
        self.expected = expected


class StaleSequence(TopicsError):
    """A producer sent a sequence number that is too old to tell what became of it."""


class PositionMoved(TopicsError):
    """A group's position is not where whoever commits it left it: another consumer was faster.

    Attributes:
        offset: where it is.
    """

    def __init__(self, group: str, topic: str, expected: int, offset: int) -> None:
        super().__init__(
            f"group {group!r} is at offset {offset} of {topic} and not at {expected}: another consumer "
            f"committed meanwhile, so drop what was read and go on from {offset}"
        )
        self.offset = offset
