"""Figures at a glance."""

from __future__ import annotations

from nicegui import ui

from walnut.console.parts.elements import Tag, tag


class Tile:
    """A name, a figure that changes, a note."""

    def __init__(self, name: str, value: str = "", note: str = "", hint: str = "") -> None:
        with tag("div", "w-tile") as tile:
            tag("div", "name", name)
            self._value: Tag = tag("div", "value", value)
            self._note: Tag = tag("div", "note", note)
            if hint:
                ui.tooltip(hint)
                tile.props["title"] = hint

    def show(self, value: str, note: str = "") -> None:
        """Show other words, if they are others."""
        if self._value.text != value:
            self._value.text = value
        if self._note.text != note:
            self._note.text = note


def tiles() -> Tag:
    """A place for tiles: those drawn in its `with` are beside one another."""
    return tag("div", "w-tiles")
