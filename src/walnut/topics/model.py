"""The types of topics: what goes in and comes out, and how a topic is kept. No I/O.

What must stay true: everything here is plain data; what is stored is in `rows`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from walnut.topics.errors import InvalidName, InvalidTopicOption

KIB: Final = 1 << 10
MIB: Final = 1 << 20
DAY: Final = 86_400.0

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", re.ASCII)
"""Names of topics, producers and groups: they fit into a URL, a file name and a key as they are."""

MESSAGE_BYTES: Final = 1_000_000
"""The largest message by default: it fits into the largest row that a store takes by default."""

APPEND_BYTES: Final = 8 * MIB
"""The messages of one append: a record of the log holds them all, and takes 16 MiB."""

HEADERS: Final = 64
"""Headers of one message."""

READ_MESSAGES: Final = 1000
READ_BYTES: Final = MIB
"""What one read gives at most, unless it asks for another number."""

Start = int | dt.datetime | Literal["earliest", "latest"]
"""Where to read from: an offset; the first message of a moment or later; the first message that is
kept; or the next one to come."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message. Whoever appends one gives its content; a topic gives it the rest.

    Attributes:
        value: its content.
        key: what it is about; None for nothing.
        headers: more about it, for people and routers.
        offset: its place in the topic, from 0.
        time: when it was appended, ns since the Unix epoch; never decreases in a topic.
    """

    value: bytes
    key: bytes | None = None
    headers: dict[str, str] = {}
    offset: int = -1
    time: int = 0


Messages = bytes | Message | Sequence[bytes | Message]
"""What can be appended: one message or several; bytes stand for a message that is only a value."""

Producer = tuple[str, int]
"""Who appends, and the number of the append among its own, from 0."""


class TopicOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long a topic keeps its messages: while none of these limits is passed. None is no limit.

    Attributes:
        keep_seconds: their age.
        keep_bytes: of values, keys and headers together.
        keep_messages: their number.
    """

    keep_seconds: float | None = None
    keep_bytes: int | None = None
    keep_messages: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidTopicOption(
                    f"{name} is {value}: it is more than 0, or None for no limit"
                )


class TopicsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How all topics of a store behave.

    Attributes:
        create: appending to a topic that is not there makes it, with `default`.
        default: the options of topics that are made without any.
        topics: how many there may be. Each costs a row, and a look at it per sweep.
        message_bytes: value, key and headers of the largest message.
        producer_seconds: a producer that appended nothing for so long is forgotten.
    """

    create: bool = False
    default: TopicOptions = TopicOptions()
    topics: int = 100_000
    message_bytes: int = MESSAGE_BYTES
    producer_seconds: float = DAY

    def __post_init__(self) -> None:
        """Refuse what can't work, by name."""
        for name, value in (
            ("topics", self.topics),
            ("message_bytes", self.message_bytes),
            ("producer_seconds", self.producer_seconds),
        ):
            if not value > 0:
                raise InvalidTopicOption(f"{name} is {value}: it is more than 0")
        if self.message_bytes > APPEND_BYTES:
            raise InvalidTopicOption(
                f"message_bytes is {self.message_bytes}: an append takes {APPEND_BYTES} bytes at most"
            )


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A topic at a glance.

    Attributes:
        name: of the topic.
        created: ns since the Unix epoch.
        options: how long it keeps messages.
        first: the first offset that is kept. next: the one that the next message gets; where both are
            the same it is empty.
        bytes: of values, keys and headers that are kept.
        oldest: when the first message that is kept was appended, ns; 0 if there is none.
    """

    name: str
    created: int
    options: TopicOptions
    first: int
    next: int
    bytes: int
    oldest: int

    @property
    def messages(self) -> int:
        """How many are kept."""
        return self.next - self.first


class TopicPage(msgspec.Struct, frozen=True):
    """Some topics by name, and the cursor that goes on behind them; None when there are no more."""

    topics: list[TopicInfo]
    cursor: str | None


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Where messages were put.

    Attributes:
        first: offset of the first of them. next: the offset after the last of them.
        lsn: of the transaction.
        repeated: they had been appended before, by the same producer under the same sequence.
    """

    first: int
    next: int
    lsn: int
    repeated: bool = False


class Slice(msgspec.Struct, frozen=True):
    """Messages in a row.

    Attributes:
        messages: the messages.
        next: where to read on.
        end: the offset that the topic's next message got when this was read: `end - next` are left.
    """

    messages: list[Message]
    next: int
    end: int


class Position(msgspec.Struct, frozen=True):
    """How far a group has consumed a topic.

    Attributes:
        group: who.
        offset: of the next message it will read.
        time: when that was committed, ns since the Unix epoch.
        lag: messages that it has not read.
    """

    group: str
    offset: int
    time: int
    lag: int


class Swept(msgspec.Struct):
    """What a sweep removed.

    Attributes:
        messages, bytes: that were over the limits of their topics, or of topics that were deleted.
        chunks: rows that held them.
        producers: that had been idle for too long.
        more: there may be more to remove than one sweep does: sweep again.
    """

    messages: int = 0
    bytes: int = 0
    chunks: int = 0
    producers: int = 0
    more: bool = False


class Metrics(msgspec.Struct):
    """Counters since this was made.

    Attributes:
        appends: that put something into a topic and are durable. messages, bytes: that they put.
        repeats: appends that were found to be there already.
        publishes: `publish` calls. batches: transactions that they shared.
        tails: that follow a topic now.
        swept_messages, swept_bytes: removed. forgotten_producers: likewise.
    """

    appends: int = 0
    messages: int = 0
    bytes: int = 0
    repeats: int = 0
    publishes: int = 0
    batches: int = 0
    tails: int = 0
    swept_messages: int = 0
    swept_bytes: int = 0
    forgotten_producers: int = 0


def check_name(what: str, name: str) -> str:
    """Raise InvalidName for what is no name."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise InvalidName(
            f"{what} can't be called {name!r:.220}: a name has 1 to 200 letters, digits, dots, hyphens "
            "and underscores, and begins with none of dot and hyphen"
        )
    return name
