"""Slots: who holds back the log, and how far behind each of them is."""

from __future__ import annotations

import functools
from html import escape

from nicegui import ui

from walnut.console.parts.asking import confirm, dialog
from walnut.console.parts.elements import actions, badge, button, heading, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.grid import Column, Grid, Line
from walnut.console.reading import reading
from walnut.console.shell import acting
from walnut.console.visit import Visit, link
from walnut.console.words import number, size
from walnut.log.model import LogStat, SlotStat
from walnut.log.slots import Slot
from walnut.store.checkpoint import SLOT
from walnut.store.store import Store


async def slots_page(visit: Visit) -> None:
    """Draw it."""
    store = visit.resources.find(Store)
    stat = await reading(store.log.stat)
    with heading(
        "Slots",
        "Named places of readers that come and go. The log keeps everything from the slot that is furthest "
        "behind on: one that nobody advances any more fills the disk.",
    ):
        if visit.may("log:write"):
            _new(visit, store)
    with tag("section", "w-panel flush"):
        if not stat.slots:
            empty(
                "bookmark",
                "No slots",
                "A reader that must miss nothing makes one, and advances it as it goes:",
                'slot = store.log.slot("indexer")\nslot.advance(lsn)',
            )
            return
        grid = Grid(
            "Slots",
            [
                Column("Slot", "minmax(140px, 1fr)"),
                Column("Next LSN", "130px", right=True),
                Column("Behind", "130px", right=True),
                Column("Holds back", "130px", right=True),
                Column("", "minmax(130px, 1fr)"),
            ],
            least=680,
        )
        grid.add([_line(stat, slot) for slot in stat.slots])
        if visit.may("log:write"):
            _drops(visit, store, stat)


def _line(stat: LogStat, slot: SlotStat) -> Line:
    furthest = slot.lsn == min(one.lsn for one in stat.slots)
    held = sum(segment.bytes for segment in stat.segments if segment.next_lsn > slot.lsn)
    said = badge("the store's own") if slot.name == SLOT else ""
    if furthest and slot.lag:
        said += " " + badge("furthest behind", "warn")
    return Line(
        (f"<b>{escape(slot.name)}</b>", number(slot.lsn), number(slot.lag), size(held), said),
        link("log", upto=max(1, slot.lsn)),
        f"Slot {slot.name}: show the log there",
    )


def _new(visit: Visit, store: Store) -> None:
    async def make() -> None:
        visit.require("log:write")
        start = None if lsn.value is None else int(lsn.value)
        await reading(store.log.slot, str(name.value or "").strip(), start)
        ui.navigate.reload()

    with dialog(
        "New slot", "The log is kept from there on, until the slot is advanced or dropped."
    ) as shown:
        name = ui.input("Name").props("outlined dense autofocus")
        lsn = ui.number("At LSN", placeholder="the oldest there is", min=1, precision=0)
        lsn.props("outlined dense stack-label")
        with actions():
            button("Cancel", shown.close)
            button("Make slot", acting(visit, make), "main")
    button("New slot", shown.open, "main", key="n")


def _drops(visit: Visit, store: Store, stat: LogStat) -> None:
    async def drop(name: str) -> None:
        visit.require("log:write")
        await reading(Slot(store.log.directory, name).drop)
        ui.navigate.reload()

    own = [slot for slot in stat.slots if slot.name != SLOT]
    if not own:
        return
    with tag("div", "w-panel-head").style("border:0"):
        for slot in own:
            told = "Its reader may miss what the log then forgets, and has to begin anew."
            act = acting(visit, functools.partial(drop, slot.name))
            ask = functools.partial(
                confirm, f"Drop {slot.name}?", told, "Drop", act, typed=slot.name
            )
            button(f"Drop {slot.name}", ask, "danger")
