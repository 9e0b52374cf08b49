"""The server's own pages of the console, and the menu of all.

    overview.py    how it is: a plot for each thing that can go wrong
    provided.py    what may be there or not
    tokens.py      who may come in
    slots.py       who holds back the log
    backups.py     copies, and the moments that can be restored
    settings.py    what it was told
    shutdown.py    stopping, step by step

What must stay true: importing this loads NiceGUI, so nothing does that before the server is ready.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module, util
from typing import Final

from walnut.console.app import Section
from walnut.server.pages.backups import backups_page
from walnut.server.pages.overview import overview_page
from walnut.server.pages.settings import settings_page
from walnut.server.pages.shutdown import shutdown_page
from walnut.server.pages.slots import slots_page
from walnut.server.pages.tokens import tokens_page
from walnut.subsystem.model import Page

OVERVIEW: Final = Page("overview", "Overview", "speed", overview_page, "server:read")
LOG: Final = (
    Page("slots", "Slots", "bookmark", slots_page, "log:read"),
    Page("backups", "Backups", "history", backups_page, "backups:read"),
)
SERVER: Final = (
    Page("tokens", "Tokens", "key", tokens_page, "tokens:read"),
    Page("settings", "Settings", "tune", settings_page, "server:read"),
    Page("shutdown", "Shutdown", "power_settings_new", shutdown_page, "server:read"),
)
OF_THE_LOG: Final = frozenset({"log"})
"""Pages of subsystems that stand with those of the log."""


def sections(subsystems: Collection[str]) -> list[Section]:
    """The menu: the server's pages, and those of the subsystems that are switched on."""
    pages = [page for name in subsystems for page in pages_of(name)]
    return [
        Section("", (OVERVIEW,)),
        Section("Data", [page for page in pages if page.path not in OF_THE_LOG]),
        Section("Log", [*(page for page in pages if page.path in OF_THE_LOG), *LOG]),
        Section("Server", SERVER),
    ]


def pages_of(subsystem: str) -> tuple[Page, ...]:
    """The pages that a subsystem has: `walnut.NAME.page:PAGES`."""
    place = f"walnut.{subsystem}.page"
    if util.find_spec(place) is None:
        return ()
    pages: tuple[Page, ...] = import_module(place).PAGES
    return pages
