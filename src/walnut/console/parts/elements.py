"""Elements of HTML, by their names.

What must stay true: the text of a `tag` is text; only `html` takes markup, which its callers have made of
escaped parts.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement


class Tag(TextElement):
    """An element with some text, which can be changed, and others within."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(tag=name, text=text)


def tag(kind: str, classes: str = "", text: str = "", /, **attributes: Any) -> Tag:
    """An element: `tag("a", "more", "All rows", href="...")`."""
    element = Tag(kind, text)
    if classes:
        element.classes(classes)
    for key, value in attributes.items():
        element.props[key] = value
    return element


def html(markup: str, name: str = "div") -> ui.html:
    """An element with markup that is known to be good."""
    return ui.html(markup, sanitize=False, tag=name)


def badge(text: str, kind: str = "") -> str:
    """The markup of a word with a ground of its own; kinds: good, warn, bad, accent."""
    return f'<span class="w-badge {escape(kind)}">{escape(text)}</span>'


def pairs(items: list[tuple[str, str]]) -> ui.html:
    """Names and what they are: each second part is markup."""
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in items)
    return html(f'<dl class="w-pairs" style="margin:0">{inside}</dl>')


def heading(title: str, told: str = "", crumbs: list[tuple[str, str]] | None = None) -> Tag:
    """The head of a page: its name, what it is for, how one got here. Buttons go into what is
    returned."""
    head = tag("div", "w-head")
    with head, tag("div"):
        if crumbs:
            links = " / ".join(
                f'<a href="{escape(href)}">{escape(name)}</a>' for name, href in crumbs
            )
            html(f'<div class="w-crumbs">{links}</div>')
        tag("h1", "", title)
        if told:
            tag("p", "", told)
    return head


def button(
    text: str, act: Callable[..., Any] | None, kind: str = "", *, key: str = ""
) -> ui.button:
    """A button; kinds: "main" for what most come for, "danger" for what can't be undone.

    `key`: the shortcut that presses it, which `console.js` knows."""
    made = ui.button(text, on_click=act, color=None).props("unelevated no-caps")
    made.classes(f"w-{kind or 'plain'}")
    if key:
        made.props["data-key"] = key
    return made


def actions() -> Tag:
    """Where the buttons of a dialog go."""
    return tag("div", "w-controls w-actions")
