"""Backups: the moments that can be gone back to, on a line of time; making one, and trying it.

What must stay true: what is shown as restorable is what the log and the place hold, read now; a backup goes
to places that walnut.toml names, and nowhere else.
"""

from __future__ import annotations

import functools
import time
from html import escape
from typing import Final

from nicegui import ui

from walnut.console.parts.asking import report
from walnut.console.parts.elements import badge, button, heading, html, pairs, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.grid import Column, Grid, Line
from walnut.console.parts.timeline import Mark, timeline_html
from walnut.console.reading import reading
from walnut.console.shell import acting
from walnut.console.visit import Visit
from walnut.console.words import ago, moment, number, size, span
from walnut.log.errors import LogError
from walnut.server.pages.provided import found
from walnut.store.backups import Backups, Kept, Run
from walnut.store.errors import StoreError
from walnut.store.store import Store

POINTS: Final = 50
"""Restore points of a place that are listed; the line of time shows all."""
LOOK_SECONDS: Final = 0.5
"""Between two looks at a backup under way."""


async def backups_page(visit: Visit) -> None:
    """Draw it."""
    store = visit.resources.find(Store)
    backups = found(visit, Backups)
    with heading(
        "Backups",
        "A backup is the tables of a moment and the log around it. From that, everything can be made again "
        "as it was after any transaction, or at any moment, in the line below.",
    ):
        if visit.may("store:write"):
            _checkpoint(visit, store)
    await _window(store)
    if backups is None or not backups.places:
        with tag("section", "w-panel"):
            empty(
                "backup",
                "No place for backups yet",
                "Name one in walnut.toml, best on another disk or in an object store, and restart:",
                '[store.backups]\nnightly = "/mnt/backup/walnut"   # or s3://bucket/walnut',
            )
        return
    for name in sorted(backups.places):
        if visit.may("backups:read", name):
            await _place(visit, backups, name)


async def _window(store: Store) -> None:
    stat = await reading(store.stat)
    now = time.time_ns()
    first_lsn, oldest = stat.window
    with tag("section", "w-panel"):
        tag("h2", "", "What the log of this server reaches back to")
        if not oldest:
            tag("p", "muted", "Nothing was written yet.")
            return
        marks = []
        if stat.checkpoint_age is not None and stat.checkpoint_lsn:
            at = max(oldest, now - int(stat.checkpoint_age * 1e9))
            marks.append(Mark(at, f"Checkpoint at LSN {stat.checkpoint_lsn:,}, {ago(at, now)}"))
        html(timeline_html(oldest, now, (oldest, now), marks))
        pairs(
            [
                ("From", f"LSN {first_lsn:,}, {moment(oldest)[:-4]} UTC ({ago(oldest, now)})"),
                ("To", f"LSN {stat.durable_lsn:,}, now"),
                ("On disk", size(stat.log_bytes)),
                (
                    "Last checkpoint",
                    f"LSN {stat.checkpoint_lsn:,}; a restart folds {number(max(0, stat.durable_lsn - stat.checkpoint_lsn))} records after it",
                ),
            ]
        )


def _checkpoint(visit: Visit, store: Store) -> None:
    async def flush() -> None:
        visit.require("store:write")
        lsn = await reading(store.checkpoint)
        ui.notify(f"The tables are flushed up to LSN {lsn:,}.", type="positive")
        ui.navigate.reload()

    button("Checkpoint now", acting(visit, flush))


async def _place(visit: Visit, backups: Backups, name: str) -> None:
    url = backups.url_of(name)
    with tag("section", "w-panel"):
        with tag("div", "w-controls"):
            tag("h2", "", name)
            tag("span", "mono muted small", url)
            tag("div", "w-grow")
            if visit.may("backups:write", name):
                button(
                    "Back up now",
                    acting(visit, functools.partial(_start, visit, backups, name)),
                    "main",
                )
                button("Check it", acting(visit, functools.partial(_check, visit, backups, name)))
        try:
            kept = await backups.kept(name)
        except (StoreError, LogError) as error:
            tag("p", "bad", report(error), role="alert")
            return
        _progress(backups, name)
        _points(name, url, kept)


async def _start(visit: Visit, backups: Backups, name: str) -> None:
    visit.require("backups:write", name)
    backups.start(name)
    ui.notify("The backup has begun. Writers go on.")


async def _check(visit: Visit, backups: Backups, name: str) -> None:
    visit.require("backups:write", name)
    backups.check(name)
    ui.notify("It is being restored beside the tables, and compared.")


def _progress(backups: Backups, name: str) -> None:
    """What is under way, and how the last ones went; the page is drawn anew when one ends."""
    place = tag("div").style("margin-top:10px")
    shown: list[str] = []

    def runs() -> list[Run]:
        return [run for (of, _), run in sorted(backups.last.items()) if of == name]

    def ends() -> list[int]:
        return [run.ended for run in runs() if run.ended]

    before = ends()

    def draw() -> None:
        if ends() != before and all(run.ended for run in runs()):
            ui.navigate.reload()
            return
        words = [_words(run) for run in runs()]
        if words == shown:
            return
        shown[:] = words
        place.clear()
        with place:
            for word in words:
                html(f"<p>{word}</p>")

    draw()
    ui.timer(LOOK_SECONDS, draw)


def _words(run: Run) -> str:
    what = "Backup" if run.what == "backup" else "Check"
    if not run.ended:
        done = f"{100 * run.done / run.total:.0f}%" if run.total else "beginning"
        return f"{badge('under way', 'accent')} {what}: {done}"
    took = span((run.ended - run.began) / 1e9)
    if run.error:
        return f"{badge('failed', 'bad')} {what}: {escape(run.error)}"
    if run.stored is not None:
        return (
            f"{badge('done', 'good')} {what} up to LSN {run.stored.lsn:,}, {size(run.stored.new_bytes)} new, "
            f"in {took}"
        )
    assert run.found is not None
    return f"{badge('good', 'good')} {what}: restored up to LSN {run.found.lsn:,} and compared, in {took}"


def _points(name: str, url: str, kept: Kept) -> None:
    if not kept.points:
        empty("backup", "Nothing here yet", f"Back up now makes the first restore point of {name}.")
        return
    now = time.time_ns()
    first, newest = kept.points[0].made, max(kept.newest, kept.points[-1].made)
    marks = [
        Mark(point.made, f"Tables at LSN {point.lsn:,}, {moment(point.made)[:-4]} UTC")
        for point in kept.points
    ]
    # A log that reaches back to the very first record needs no tables to begin from.
    low = 1 if kept.first_lsn == 1 else kept.points[0].lsn
    high = max(kept.next_lsn - 1, kept.points[-1].lsn)
    to = moment(newest)[:19].replace(" ", "T") + "Z"
    begin = first - max(1, (now - first) // 20)
    html(timeline_html(begin, now, (first, newest), marks))
    pairs(
        [
            (
                "Restorable",
                f"any LSN from {low:,} to {high:,}; the newest {ago(newest, now)}",
            ),
            (
                "Elsewhere",
                f"<code>walnut store restore {escape(url)} NEW --to-time {to}</code>",
            ),
        ]
    )
    _table(name, kept, now).box.style("margin-top:14px")


def _table(name: str, kept: Kept, now: int) -> Grid:
    grid = Grid(
        f"Restore points of {name}",
        [
            Column("Tables at LSN", "140px", right=True),
            Column("Made (UTC)", "minmax(180px, 1fr)"),
            Column("", "120px"),
            Column("Files", "90px", right=True),
            Column("Size", "100px", right=True),
        ],
        least=560,
    )
    grid.add(
        [
            Line(
                (
                    number(one.lsn),
                    moment(one.made)[:-4],
                    ago(one.made, now),
                    number(one.files),
                    size(one.bytes),
                )
            )
            for one in reversed(kept.points[-POINTS:])
        ]
    )
    return grid
