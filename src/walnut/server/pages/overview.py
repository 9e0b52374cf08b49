"""The overview: how the server is, as a story that a newcomer can follow, with a plot for each thing that
can go wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from nicegui import ui

from walnut.console.parts.elements import Tag, heading, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.plot import Plot
from walnut.console.parts.tiles import Tile, tiles
from walnut.console.visit import Visit, link
from walnut.console.words import DASH, ago, micros, moment, number, size, span
from walnut.server.pages.provided import found
from walnut.server.pulse import Beat, Pulse
from walnut.shutdown.lifecycle import Lifecycle
from walnut.store.store import Store
from walnut.subsystem.model import ServerInfo

DRAW_SECONDS: Final = 2.0
EVERY: Final = 2
"""Of the beats, one of so many is drawn: the eye sees no more."""
MIB: Final = 1 << 20
GIB: Final = 1 << 30
HOUR: Final = 3600.0


async def overview_page(visit: Visit) -> None:
    """Draw it, and draw it anew every two seconds."""
    store, pulse = visit.resources.find(Store), visit.resources.find(Pulse)
    heading(
        "Overview",
        "What this server does right now. Every change takes the path below: decided alone, written to the "
        "log with others, synced to the disk, and only then seen and answered.",
    )
    with tag("section", "w-panel"):
        path = Path()
    with tiles():
        facts = Facts(visit)
    plots = Plots()
    if store.log.durable_lsn < FEW:
        _first_steps()

    def draw() -> None:
        beats = list(pulse.beats)
        path.show(beats[-1] if beats else None, store)
        facts.show(store, pulse)
        plots.show(beats[::-EVERY][::-1])

    draw()
    ui.timer(DRAW_SECONDS, draw)


FEW: Final = 20
"""Records: a server with fewer has a newcomer before it."""


def _first_steps() -> None:
    with tag("section", "w-panel"):
        empty(
            "rocket_launch",
            "Nearly nothing here yet",
            "Make a table or a topic, put something into it, and watch it come by in the log.",
        )
        with tag("div", "w-controls").style("justify-content:center;padding-bottom:20px"):
            for title, page in (("Tables", "tables"), ("Topics", "topics"), ("Log", "log")):
                tag("a", "w-button", title, href=link(page))


class Path:
    """The way of a write, with what each step of it does now."""

    STEPS: Final = (
        ("Transactions", "each runs alone"),
        ("Share a write", "records per group"),
        ("Sync", "to the disk"),
        ("Durable", "the newest safe LSN"),
        ("Tables", "records behind the log"),
        ("Checkpoint", "records to fold at a restart"),
    )

    def __init__(self) -> None:
        self._values: list[Tag] = []
        with tag("div", "w-path", role="list"):
            for name, note in self.STEPS:
                with tag("div", role="listitem"):
                    tag("div", "name", name)
                    self._values.append(tag("div", "value", DASH))
                    tag("div", "note", note)

    def show(self, beat: Beat | None, store: Store) -> None:
        """Show a second."""
        if beat is None:
            words = [DASH] * 3
        else:
            words = [
                f"{number(round(beat.commits, 1))}/s",
                number(round(beat.group, 1)) if beat.group else DASH,
                micros(1e3 * beat.sync) if beat.sync else DASH,
            ]
        words += [
            number(store.log.durable_lsn),
            number(max(0, store.log.durable_lsn - store.applied_lsn)),
            number(max(0, store.applied_lsn - store.checkpoints.lsn)),
        ]
        for tag_, word in zip(self._values, words, strict=True):
            if tag_.text != word:
                tag_.text = word


class Facts:
    """Figures that change slowly."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._up = Tile("Up", hint="Since this process began")
        self._flight = Tile("Under way", hint="Requests, streams and sockets")
        self._log = Tile("Log", hint="On disk")
        self._disk = Tile("Disk free", hint="Of the file system with the data directory")
        self._window = Tile("Restore window", hint="Any moment in it can be restored")

    def show(self, store: Store, pulse: Pulse) -> None:
        """Show them as they are."""
        now = time.time_ns()
        info = found(self._visit, ServerInfo)
        life = found(self._visit, Lifecycle)
        if info is not None:
            self._up.show(span((now - info.started) / 1e9), f"Walnut {info.version}")
        if life is not None:
            counts = life.inflight.counts
            self._flight.show(number(counts.total), str(counts))
        depth = pulse.depth
        self._log.show(size(depth.log_bytes), f"LSN {store.log.first_lsn:,} on")
        if depth.total:
            self._disk.show(
                size(depth.free), f"{100 * depth.free / depth.total:.0f}% of {size(depth.total)}"
            )
        if depth.oldest:
            self._window.show(span((now - depth.oldest) / 1e9), f"from {moment(depth.oldest)[:-4]}")
        else:
            self._window.show(DASH, ago(0, now))


class Plots:
    """The plots."""

    def __init__(self) -> None:
        with tag("div", "w-plots"):
            self._commits = Plot(
                "Commits",
                "Transactions made durable each second.",
                ["commits/s"],
                lambda now: f"{number(round(now[0], 1))}/s",
            )
            self._latency = Plot(
                "Latency",
                "From the start of a transaction until it is on disk. Mostly the disk's sync.",
                ["p99", "p50"],
                lambda now: f"p99 {micros(1e3 * now[0])}",
                unit=" ms",
                area=False,
            )
            self._group = Plot(
                "Group size",
                "Records that share one write and one sync. It grows by itself under load.",
                ["records"],
                lambda now: number(round(now[0], 1)),
            )
            self._lag = Plot(
                "Waiting",
                "Records that are not durable yet, and durable ones that tables miss. Near zero is healthy.",
                ["not durable", "not applied"],
                lambda now: number(now[0] + now[1]),
            )
            self._sync = Plot(
                "Sync",
                "One sync of the log to the disk. What it takes, every transaction waits for.",
                ["p50"],
                lambda now: micros(1e3 * now[0]),
                unit=" ms",
            )
            self._checkpoint = Plot(
                "To fold at a restart",
                "Records since the last checkpoint. It falls to nearly zero with each one.",
                ["records"],
                lambda now: number(now[0]),
            )
            self._log = Plot(
                "Log on disk",
                "It grows by whole files, and forgets by whole files what is out of the window.",
                ["log"],
                lambda now: size(now[0] * MIB),
                unit=" MiB",
            )
            self._free = Plot(
                "Disk free",
                "When it is used up, writes are refused until there is room again. Nothing is lost.",
                ["free"],
                lambda now: size(now[0] * GIB),
                unit=" GiB",
            )
            self._window = Plot(
                "Restore window",
                "How far back the log reaches: any moment since then can be gone back to.",
                ["window"],
                lambda now: span(now[0] * HOUR),
                unit=" h",
            )

    def show(self, beats: Sequence[Beat]) -> None:
        """Draw these seconds."""
        for plot, fields in (
            (self._commits, ("commits",)),
            (self._latency, ("p99", "p50")),
            (self._group, ("group",)),
            (self._lag, ("undurable", "unapplied")),
            (self._sync, ("sync",)),
            (self._checkpoint, ("unflushed",)),
        ):
            plot.show([[(beat.at, getattr(beat, field)) for beat in beats] for field in fields])
        for plot, field, unit in (
            (self._log, "log_bytes", MIB),
            (self._free, "free", GIB),
            (self._window, "window", HOUR),
        ):
            plot.show([[(beat.at, getattr(beat, field) / unit) for beat in beats]])
