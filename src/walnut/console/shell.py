"""The frame that each page is drawn in: bar, menu, shortcuts, errors, and sessions that end.

    request ─▶ Visit ─▶ frame ─▶ may the visitor see it? ─▶ page.build(visit)
                          └─ a clock: is the session still good? else everything is cleared away

What must stay true: an error of a page is shown on it and logged, and leaves the others alone; a visitor
whose session has ended sees and does nothing more, also with a page that is still open.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources as files
from typing import Any, Final

import nicegui
from fastapi import FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from nicegui import app as nicegui_app
from nicegui import context, ui

from walnut.console.app import Console
from walnut.console.errors import SessionEnded
from walnut.console.parts.asking import dialog, report
from walnut.console.parts.elements import actions, button, html, tag
from walnut.console.parts.empty import empty
from walnut.console.visit import PREFIX, Visit, link
from walnut.subsystem.model import Page
from walnut.web.asgi import App
from walnut.web.errors import Forbidden

log = logging.getLogger("walnut.console")

SESSION_SECONDS: Final = 3.0
"""Between two looks at whether an open page's session is still good."""
BUILD_SECONDS: Final = 15.0
"""A page that takes longer to build is given up: it would be one that scans."""

WELL: Final = "running"
"""The state of a server that is as it should be."""

NUT: Final = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><ellipse cx="16" cy="16" rx="12.5" ry="14" '
    'fill="#84430f"/><path d="M16 2v28M9 7c3 4 3 14 0 18M23 7c-3 4-3 14 0 18" fill="none" '
    'stroke="#f1d6b4" stroke-width="1.8" stroke-linecap="round"/></svg>'
)
LETTERS: Final[Mapping[str, str]] = {
    "": "o", "log": "l", "tables": "r", "topics": "c", "jobs": "j", "tokens": "k", "slots": "s",
    "backups": "b", "settings": "i", "shutdown": "d",
}  # fmt: skip
"""The second key of `g ...`, by page."""
KEYS: Final = (
    ("/", "Go to the search field"), ("j  k", "Next row, row before"), ("Enter", "Open the row"),
    ("n", "New"), ("e", "Edit"), ("f", "Follow what is new, or stop"), ("t", "Theme"),
    ("?", "This list"), ("Esc", "Close, or leave a field"),
)  # fmt: skip


@asynccontextmanager
async def mounted(console: Console, *, reconnect_seconds: float) -> AsyncIterator[App]:
    """NiceGUI's app with the console's pages, while it runs."""
    ui.add_head_html(_head(), shared=True)
    paths = [page for section in console.sections for page in section.pages]
    _register(console, paths[0], "/")
    for page in paths:
        _register(console, page, f"/{page.path}")
    outer = FastAPI(openapi_url=None)
    ui.run_with(
        outer,
        mount_path=PREFIX,
        title="Walnut",
        favicon=NUT,
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=reconnect_seconds,
        message_history_length=200,
        show_welcome_message=False,
        binding_refresh_interval=None,
        gzip_middleware_factory=lambda inner: GZipMiddleware(inner, compresslevel=1),
    )
    # Its own life and not the outer one's, which looks through all objects of the process first.
    async with nicegui_app.router.lifespan_context(nicegui_app):
        yield outer


def _head() -> str:
    here = files.files("walnut.console")
    style = here.joinpath("console.css").read_text()
    script = here.joinpath("console.js").read_text()
    return f"<style>{style}</style><script>{script}</script>"


def _register(console: Console, page: Page, path: str) -> None:
    async def build(request: Request) -> None:
        visit = Visit(request.scope, page.path, dict(request.query_params), console.resources)
        with _frame(console, visit, page):
            await _fill(visit, page)

    ui.page(path, title=f"{page.title} · Walnut", response_timeout=BUILD_SECONDS)(build)


async def _fill(visit: Visit, page: Page) -> None:
    if not visit.may(page.scope, any_=True):
        _forbidden(visit, page)
        return
    try:
        built = page.build(visit)
        if inspect.isawaitable(built):
            await built
    except Exception as error:
        log.exception("console: page %r failed", page.path)
        with tag("section", "w-panel"):
            empty("report", f"{page.title} could not be shown", report(error))


def _forbidden(visit: Visit, page: Page) -> None:
    with tag("section", "w-panel"):
        empty(
            "lock",
            f"You may not see {page.title}",
            f"{visit.caller.principal} came in with a token that does not have the scope {page.scope}. "
            "Ask an operator for one that has, and log in with it.",
            f"walnut token create NAME --scope {page.scope}",
        )


# -- the frame ----------------------------------------------------------------------------------


def _frame(console: Console, visit: Visit, page: Page) -> Any:
    ui.colors(primary="#84430f", secondary="#655d52", positive="#1c6b3c", negative="#a8261c")
    tag("a", "w-skip", "To the page", href="#w-main")
    help_ = _help(console)
    with tag("header", "w-bar"):
        menu = tag("button", "w-icon w-narrow", type="button", **{"aria-controls": "w-menu"})
        menu.props["aria-label"] = "Menu"
        menu.props["onclick"] = "walnutMenu()"
        with menu:
            ui.icon("menu")
        with tag("a", "w-brand", href=f"{PREFIX}/"):
            html(NUT, "span").classes("w-nut")
            tag("span", "", "Walnut")
        tag("span", "w-where w-wide", console.name)
        tag("div", "w-grow")
        _state(console)
        _icon(
            "contrast",
            "Theme: system, light or dark (t)",
            lambda: ui.run_javascript("walnutTheme()"),
        )
        keys = _icon("keyboard", "Keyboard shortcuts (?)", help_.open).classes("w-wide")
        keys.props["data-key"] = "?"
        tag("span", "small muted w-wide nowrap", visit.caller.principal)
        with tag("form", "w-out", action=f"{PREFIX}/logout", method="post"):
            tag("button", "", "Log out", type="submit")
    tag("div", "", id="w-said", role="status", **{"aria-live": "polite"}).style(
        "position:absolute;left:-9999px"
    )
    with tag("div", "w-shell"):
        with tag("nav", "w-menu", id="w-menu") as pages:
            pages.props["aria-label"] = "Pages"
            _menu(console, visit, page)
        # Not a `main`: NiceGUI's own is around all of this.
        main = tag("section", "w-page", id="w-main")
        main.props["aria-label"] = page.title
    ui.timer(SESSION_SECONDS, lambda: _look(visit, main))
    return main


def _icon(name: str, label: str, act: Callable[[], object]) -> ui.button:
    made = ui.button(icon=name, on_click=act, color=None).props("flat").classes("w-icon")
    made.props["aria-label"] = label
    with made:
        ui.tooltip(label)
    return made


def _state(console: Console) -> None:
    badge = tag("span", "w-badge good", WELL)
    badge.props["title"] = "What the server is doing"

    def draw() -> None:
        state = console.state()
        if badge.text != state:
            badge.text = state
            badge.classes(replace="w-badge good" if state == WELL else "w-badge warn")

    draw()
    ui.timer(1.0, draw)


def _menu(console: Console, visit: Visit, page: Page) -> None:
    first = console.sections[0].pages[0]
    for section in console.sections:
        seen = [one for one in section.pages if visit.may(one.scope, any_=True)]
        if seen and section.title:
            tag("h2", "", section.title)
        for one in seen:
            path = "" if one is first else one.path
            attributes = {"href": link(path)}
            if one is page:
                attributes["aria-current"] = "page"
            if letter := LETTERS.get(path):
                attributes["data-go"] = letter
            with tag("a", "", **attributes):
                ui.icon(one.icon)
                tag("span", "", one.title)


def _help(console: Console) -> ui.dialog:
    pages = [one for section in console.sections for one in section.pages]
    with dialog("Keyboard shortcuts") as shown:
        rows = [f"<kbd>{keys}</kbd><span>{what}</span>" for keys, what in KEYS]
        for number, one in enumerate(pages):
            if letter := LETTERS.get("" if number == 0 else one.path):
                rows.append(
                    f"<span><kbd>g</kbd> <kbd>{letter}</kbd></span><span>{one.title}</span>"
                )
        html(f'<div class="w-help">{"".join(rows)}</div>')
        with actions():
            button("Close", shown.close)
    return shown


# -- sessions -----------------------------------------------------------------------------------


def _look(visit: Visit, main: ui.element) -> None:
    """Clear the page away once its session has ended."""
    try:
        visit.still()
    except SessionEnded:
        end(visit, main)


def end(visit: Visit, main: ui.element) -> None:
    """Nothing of the page stays in sight, nor does anything of it go on."""
    visit.ended = True
    for timer in list(context.client.elements.values()):
        if isinstance(timer, nicegui.ui.timer):
            timer.cancel()
    main.clear()
    with main, tag("section", "w-panel"):
        empty("logout", "Your session has ended", "Log in again to go on where you were.")
        with tag("div", "w-controls").style("justify-content:center;padding-bottom:24px"):
            tag("a", "w-button", "Log in", href=f"{PREFIX}/login")


def go(address: str) -> None:
    """Send the visitor to a page: `go(link("tables"))`. NiceGUI adds where it is mounted by itself."""
    ui.navigate.to(address.removeprefix(PREFIX))


Act = Callable[..., Awaitable[None]]


def acting(visit: Visit, act: Act) -> Act:
    """A handler of a button: what it raises is told to the visitor; what nobody foresaw is logged."""

    async def acted(*args: Any) -> None:
        try:
            await act(*args)
        except SessionEnded as error:
            ui.notify(str(error), type="warning")
        except Forbidden as error:
            ui.notify(str(error), type="negative", multi_line=True)
        except Exception as error:
            if not type(error).__module__.startswith("walnut."):
                log.exception("console: an action on page %r failed", visit.page)
            ui.notify(report(error), type="negative", multi_line=True, timeout=10_000)

    return acted
