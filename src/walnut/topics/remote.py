"""`TopicsReader`: the topics of a store that another process writes, read and followed from here.

    StoreReader.refresh ─▶ read ─▶ a slice ─▶ ...        nothing there: wait until the log has grown

What must stay true: it writes nothing anywhere, and shows the durable state after one LSN, which
following moves on.
"""

from __future__ import annotations

from collections.abc import Iterator

from walnut.log.commit import refuse_event_loop
from walnut.store.errors import UnknownTable
from walnut.store.remote import StoreReader
from walnut.topics.errors import NoTopics
from walnut.topics.model import READ_BYTES, READ_MESSAGES, Message, Slice, Start
from walnut.topics.reading import Reading
from walnut.topics.rows import Rows
from walnut.topics.tails import each


class TopicsReader(Reading):
    """The topics of a store that is read. For one thread, as the `StoreReader` is.

    Raises NoTopics, SchemaChanged, UnknownSchema."""

    def __init__(self, store: StoreReader) -> None:
        self.store = store
        try:
            super().__init__(Rows(store))
        except UnknownTable as error:
            raise NoTopics(
                f"{store.path} has no topics ({error}): a program makes them, by walnut.Topics(store), "
                "or `walnut topics create`"
            ) from error

    def slices(
        self,
        topic: str,
        start: Start = "latest",
        *,
        limit: int = READ_MESSAGES,
        bytes: int = READ_BYTES,  # noqa: A002  as of `read`
        timeout: float | None = None,
    ) -> Iterator[Slice]:
        """See `Topics.slices`; the store is looked at whenever its log has grown, whatever in.

        Raises UnknownTopic, OffsetTruncated, OffsetUnknown; TablesLost as `StoreReader.refresh`."""
        refuse_event_loop("slices", "a thread")
        self.store.refresh()
        return self._slices(topic, self.offset_of(self.store, topic, start), limit, bytes, timeout)

    def _slices(
        self, topic: str, offset: int, limit: int, most: int, timeout: float | None
    ) -> Iterator[Slice]:
        while True:
            found = self.read(self.store, topic, offset, limit=limit, bytes=most)
            if found.messages:
                offset = found.next
                yield found
            elif self.store.log.wait_for(self.store.lsn + 1, timeout):
                self.store.refresh()
            else:
                return

    def follow(
        self, topic: str, start: Start = "latest", *, timeout: float | None = None
    ) -> Iterator[Message]:
        """`slices`, message by message."""
        return each(self.slices(topic, start, timeout=timeout))
