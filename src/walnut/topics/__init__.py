"""Topics: named sequences of messages on the store. `docs/topics.md` teaches it."""

from walnut.topics.errors import OffsetTruncated, TopicsError
from walnut.topics.model import (
    Appended,
    Message,
    Position,
    Slice,
    Swept,
    TopicInfo,
    TopicOptions,
    TopicPage,
    TopicsOptions,
)
from walnut.topics.remote import TopicsReader
from walnut.topics.topics import Topics

__all__ = [
    "Appended",
    "Message",
    "OffsetTruncated",
    "Position",
    "Slice",
    "Swept",
    "TopicInfo",
    "TopicOptions",
    "TopicPage",
    "Topics",
    "TopicsError",
    "TopicsOptions",
    "TopicsReader",
]
