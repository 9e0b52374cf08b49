"""Looking again and again, beside whoever draws: what `walnut top` shows is the newest sight there is.

    thread: look ─▶ Watched ─▶ wait a second ─▶ look ...       main: keys, the screen
                └ nobody answers: what was seen last stays, with the reason

What must stay true: a server that hangs or is away never holds up the keys and the screen; a restart is
a gap in what is seen and nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from walnut.cli.sight import Rate, Sight, look_at_files
from walnut.client.client import Client
from walnut.client.errors import ClientError, Refused
from walnut.client.place import client_of, inside, server_of
from walnut.log.errors import LogError
from walnut.store.errors import StoreError

KEPT: Final = 120
"""Rates that are remembered, for as many columns."""
SAMPLE: Final = 1000
"""Records of the log whose changes are counted, of the last ones; the rest is taken to be like them."""
TOPICS: Final = "topics"
"""The tables that topics are kept in are told as topics."""


class Watched(msgspec.Struct, frozen=True):
    """What there is to draw.

    Attributes:
        seen: the newest sight; None before the first.
        away: why there is no newer one; empty while all is well.
        rates: commits a second, the newest last.
        topics, tables: messages and changes a second, the busiest first.
    """

    seen: Sight | None = None
    away: str = ""
    rates: Sequence[float] = ()
    topics: Sequence[Rate] = ()
    tables: Sequence[Rate] = ()


class Watching:
    """Looks at a place every `interval` seconds until it is left."""

    def __init__(self, place: str, interval: float) -> None:
        self._place = place
        self._interval = interval
        self._left = threading.Event()
        self._rates: deque[float] = deque(maxlen=KEPT)
        self._now = Watched()
        self._thread = threading.Thread(target=self._run, name="walnut-top", daemon=True)

    @property
    def now(self) -> Watched:
        """What was seen last."""
        return self._now

    def start(self) -> None:
        """Begin. What goes wrong at the first look is raised by `look`, before this."""
        self._thread.start()

    def leave(self) -> None:
        """Look no more."""
        self._left.set()

    def _run(self) -> None:
        while not self._left.wait(self._interval):
            self.look()

    def look(self) -> Watched:
        """Look once."""
        before = self._now
        try:
            self._now = self._looked(before)
        except (ClientError, LogError, StoreError, OSError) as error:
            self._now = msgspec.structs.replace(before, away=str(error), topics=(), tables=())
        return self._now

    def _looked(self, before: Watched) -> Watched:
        address = server_of(self._place)
        if address is None:
            seen = look_at_files(inside(self._place, "store"), self._place, before.seen)
            tables: Sequence[Rate] = ()
        else:
            from walnut.cli.served import look_at_server  # noqa: PLC0415, a directory is read without

            with client_of(address, patience=0.0) as client:
                seen = look_at_server(client, self._place, before.seen)
                tables = _tables(client, before.seen, seen)
        if seen.per_second is not None:
            self._rates.append(seen.per_second)
        return Watched(seen, "", tuple(self._rates), _topics(before.seen, seen), tables)


def _topics(before: Sight | None, seen: Sight) -> list[Rate]:
    """How fast topics grow, by their offsets."""
    if before is None or seen.time <= before.time:
        return []
    seconds = (seen.time - before.time) / 1e9
    known = {topic.name: topic.next for topic in before.topics}
    rates = [
        Rate(topic.name, (topic.next - known[topic.name]) / seconds)
        for topic in seen.topics
        if topic.next > known.get(topic.name, topic.next)
    ]
    return sorted(rates, key=lambda rate: -rate.per_second)


def _tables(client: Client, before: Sight | None, seen: Sight) -> list[Rate]:
    """How often tables change, by the last records of the log."""
    if before is None or seen.durable_lsn <= before.durable_lsn or seen.time <= before.time:
        return []
    seconds = (seen.time - before.time) / 1e9
    begin = max(before.durable_lsn, seen.durable_lsn - SAMPLE)
    counts: dict[str, int] = {}
    try:
        for change in islice(client.changes(begin, upto=seen.durable_lsn), 10 * SAMPLE):
            if change.table.partition(".")[0] != TOPICS:
                counts[change.table] = counts.get(change.table, 0) + 1
    except Refused:  # truncated meanwhile, or not for this token
        return []
    part = (seen.durable_lsn - begin) / (seen.durable_lsn - before.durable_lsn)
    rates = [Rate(name, number / part / seconds) for name, number in counts.items()]
    return sorted(rates, key=lambda rate: -rate.per_second)
