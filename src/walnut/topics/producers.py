"""Idempotent producers: an append that is sent again is not appended again.

    orders, shop-7:  sequence 41 ─▶ offsets 90..92      a repeat of it gets the same answer
                     sequence 42 ─▶ offsets 93..93      43 is next; 44 would be a gap

What must stay true: what a producer sent last is written by the transaction that appends it, so the two
are there together or not at all.
"""

from __future__ import annotations

from typing import Final

from walnut.store.transaction import Transaction
from walnut.topics.errors import InvalidTopicOption, SequenceGap, StaleSequence
from walnut.topics.model import Appended, Producer, check_name
from walnut.topics.rows import HOUR, ProducerRow, Rows, Sent, Topic

WINDOW: Final = 16
"""Appends remembered per producer: how many may be under way when a connection breaks. Each costs some
ten bytes in every record of that producer."""


def check_producer(producer: Producer) -> None:
    """Raise InvalidName or InvalidTopicOption for what is no producer."""
    try:
        name, sequence = producer
    except (TypeError, ValueError):
        raise InvalidTopicOption(
            f"a producer is a pair of its name and a sequence number, not {producer!r:.80}"
        ) from None
    check_name("a producer", name)
    if type(sequence) is not int or not 0 <= sequence < 1 << 63:
        raise InvalidTopicOption(f"a producer's sequence is a number from 0, not {sequence!r:.80}")


class Producers:
    """What producers sent."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows.producers

    def find(self, tx: Transaction, topic: Topic, producer: Producer) -> Appended | None:
        """Where this append went, or None if it is the next one. Raises SequenceGap, StaleSequence."""
        name, sequence = producer
        row = self._rows.get(tx, (topic.id, name))
        expected = 0 if row is None else row.sequence + 1
        if sequence == expected:
            return None
        if row is None or sequence > expected:
            raise SequenceGap(topic.name, name, sequence, expected)
        back = expected - sequence
        if back > len(row.sent):
            raise StaleSequence(
                f"producer {name!r} sent sequence {sequence} to {topic.name} after {row.sequence}, and "
                f"only the last {WINDOW} are remembered: number appends upwards, and repeat one before "
                "going on"
            )
        sent = row.sent[-back]
        return Appended(sent.first, sent.next, sent.lsn, repeated=True)

    def add(self, tx: Transaction, topic: Topic, producer: Producer, done: Appended) -> None:
        """Remember where an append went."""
        name, sequence = producer
        row = self._rows.get(tx, (topic.id, name))
        sent = [] if row is None else row.sent[1 - WINDOW :]
        sent.append(Sent(done.first, done.next, done.lsn))
        self._rows.put(tx, ProducerRow(topic.id, name, sequence, tx.time // HOUR, sent))
