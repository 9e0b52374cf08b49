"""Asking the visitor, and telling what went wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from nicegui import ui

from walnut.console.parts.elements import actions, button, tag


def report(error: Exception) -> str:
    """What a visitor is told of an error: its own words if it is one of Walnut's, which are written for
    people and hold no secrets; else that it was logged."""
    if type(error).__module__.startswith("walnut."):
        return f"{error}"
    return f"{type(error).__name__}: this was not foreseen, and is in the server's log."


@contextmanager
def dialog(title: str, told: str = "") -> Iterator[ui.dialog]:
    """A dialog that is closed at first; what the block draws is in it."""
    with ui.dialog() as shown, ui.card():
        shown.props["aria-label"] = title
        tag("h2", "", title)
        if told:
            tag("p", "muted", told)
        yield shown


def confirm(
    title: str, told: str, word: str, act: Callable[[], Awaitable[None]], *, typed: str = ""
) -> None:
    """Ask before something that can't be undone; with `typed`, that has to be typed first."""

    async def done() -> None:
        shown.close()
        await act()

    with dialog(title, told) as shown:
        go: ui.button | None = None
        if typed:
            field = ui.input(f"Type {typed} to go on").props("outlined dense autofocus")

            def look() -> None:
                if go is not None:
                    go.set_enabled(field.value == typed)

            field.on_value_change(look)
        with actions():
            button("Cancel", shown.close)
            go = button(word, done, "danger")
            go.set_enabled(not typed)
    shown.open()
