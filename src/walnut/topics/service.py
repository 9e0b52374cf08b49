"""Topics as the server runs them: on the store, swept now and then.

What must stay true: a full disk makes retention late and nothing else; whatever else stops a sweep has
stopped the store, and stops the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from prometheus_client import Metric

from walnut.log.errors import LogFull
from walnut.store.store import Store
from walnut.subsystem.metrics import counter, gauge
from walnut.subsystem.model import Subsystem
from walnut.subsystem.units import Bytes, Seconds
from walnut.topics.model import DAY, MESSAGE_BYTES, TopicOptions, TopicsOptions
from walnut.topics.problems import PROBLEMS
from walnut.topics.topics import Topics
from walnut.web.problems import Kind

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

Positive = Annotated[int, msgspec.Meta(ge=1)]

_log = logging.getLogger("walnut.topics")


class TopicsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Named topics with offsets and retention of their own.

    Attributes:
        create: appending to a topic that is not there makes it.
        keep: of a topic made so, how long it keeps messages.
        keep_size: of a topic made so, how much it keeps.
        topics: how many there may be.
        message_size: of the largest message, with its key and headers.
        producers: how long one that appends nothing is remembered.
        sweep_interval: between two looks for what topics no longer keep.
    """

    create: bool = True
    keep: Seconds | None = 7 * DAY
    keep_size: Bytes | None = None
    topics: Positive = 100_000
    message_size: Bytes = MESSAGE_BYTES
    producers: Seconds = DAY
    sweep_interval: Seconds = 10.0

    @property
    def options(self) -> TopicsOptions:
        """The same as a library calls it."""
        return TopicsOptions(
            create=self.create,
            default=TopicOptions(keep_seconds=self.keep, keep_bytes=self.keep_size),
            topics=self.topics,
            message_bytes=self.message_size,
            producer_seconds=self.producers,
        )


class TopicsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Topics in `walnut status`, since the server was started.

    Attributes:
        appends: that put `messages`. tails: that follow a topic now. swept: messages let go of.
    """

    appends: int
    messages: int
    tails: int
    swept: int


class Service(Subsystem[TopicsSettings]):
    """Provides `Topics` and sweeps them."""

    name: ClassVar = "topics"
    needs: ClassVar = ("store",)
    settings: ClassVar = TopicsSettings
    tables: ClassVar = ("topics", "topics.*")

    topics: Topics | None = None

    async def start(self) -> None:
        """Find the topics of the store."""
        self.topics = Topics(self.resources.find(Store), self.config.options)
        self.resources.provide(self.topics)

    async def run(self) -> None:
        """Sweep, again and again."""
        assert self.topics is not None, "it has started"
        while True:
            await asyncio.sleep(self.config.sweep_interval)
            more = True
            while more:
                try:
                    more = (await asyncio.to_thread(self.topics.sweep)).more
                except LogFull as full:
                    _log.warning("retention waits for room: %s", full)
                    more = False

    async def stop(self) -> None:
        """Nobody uses it any more."""
        self.resources.withdraw(Topics)

    def routes(self) -> Sequence[ControllerRouterHandler]:
        """See Subsystem."""
        from walnut.topics.api import routes  # noqa: PLC0415 -- Litestar, for a server alone

        return routes(self.resources)

    def problems(self) -> Mapping[type[Exception], Kind]:
        """See Subsystem."""
        return PROBLEMS

    def status(self) -> TopicsStatus | None:
        """See Subsystem."""
        if self.topics is None:
            return None
        counts = self.topics.metrics
        return TopicsStatus(
            appends=counts.appends,
            messages=counts.messages,
            tails=counts.tails,
            swept=counts.swept_messages,
        )

    def metrics(self) -> Iterator[Metric]:
        """See Subsystem."""
        if self.topics is None:
            return
        counts = self.topics.metrics
        yield counter("topics_appends", "Appends that put something into a topic.", counts.appends)
        yield counter("topics_messages", "Messages appended.", counts.messages)
        yield counter("topics_bytes", "Bytes of them, keys and headers included.", counts.bytes)
        yield counter("topics_repeats", "Appends that were there already.", counts.repeats)
        yield counter("topics_swept_messages", "Messages let go of.", counts.swept_messages)
        yield gauge("topics_tails", "Readers that follow a topic now.", counts.tails)
