"""An empty state: what would be here, and what to do so that it is."""

from __future__ import annotations

from nicegui import ui

from walnut.console.parts.elements import tag


def empty(icon: str, title: str, told: str, command: str = "") -> None:
    """Say that there is nothing, why, and which command makes something."""
    with tag("div", "w-empty"):
        ui.icon(icon).props("aria-hidden=true")
        tag("h2", "", title)
        tag("p", "", told)
        if command:
            tag("pre", "", command)
