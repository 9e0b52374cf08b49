"""The server's own pages of the console, and the menu of all.

    overview.py    how it is: a plot for each thing that can go wrong
    pulse.py       what the plots show: a look at the store each second
    tokens.py      who may come in
    slots.py       who holds back the log
    backups.py     copies, and the moments that can be restored
    settings.py    what it was told
    shutdown.py    stopping, step by step

What must stay true: importing this loads NiceGUI, so nothing does that before the server is ready.
"""

from __future__ import annotations

from importlib import import_module, util
from typing import Final

from walnut.console.app import Section
from walnut.subsystem.model import Page

GROUPS: Final = (("Data", ("tables", "topics", "jobs")), ("Log", ("log", "slots", "backups")))


def sections(subsystems: tuple[str, ...] = ("store", "topics", "jobs")) -> list[Section]:
    """The menu: the server's pages, and those of the subsystems that are switched on."""
    found = [page for name in subsystems for page in _pages_of(name)]
    return [Section("", found)]


def _pages_of(name: str) -> tuple[Page, ...]:
    place = f"walnut.{name}.page"
    if util.find_spec(place) is None:
        return ()
    pages: tuple[Page, ...] = import_module(place).PAGES
    return pages
