"""Tokens: who may come in, and to what. A new one's text is shown once.

What must stay true: the text of a token is in the page of whoever made it, until it is left; nowhere else.
"""

from __future__ import annotations

import functools
import time
from html import escape
from typing import Final

from nicegui import ui

from walnut.console.parts.asking import confirm, dialog
from walnut.console.parts.elements import actions, badge, button, heading, pairs, tag
from walnut.console.parts.empty import empty
from walnut.console.parts.grid import Column, Grid, Line
from walnut.console.shell import acting, go
from walnut.console.visit import Visit, link
from walnut.console.words import ago, moment
from walnut.server.access.gate import Gate
from walnut.server.access.tokens import Token, Tokens, Wanted

DAY: Final = 86_400 * 10**9
"""In ns."""
LIVES: Final = {
    0: "never",
    1: "in a day",
    7: "in a week",
    30: "in 30 days",
    90: "in 90 days",
    365: "in a year",
}
EXAMPLES: Final = (
    ("*", "everything"),
    ("tables:read", "rows of all tables"),
    ("tables:write:orders-*", "rows of tables with such names"),
    ("topics:write:orders", "append to one topic"),
    ("metrics:read", "for Prometheus"),
)


async def tokens_page(visit: Visit) -> None:
    """Draw the page that the address asks for."""
    tokens = visit.resources.find(Gate).tokens
    if name := visit.query.get("token", ""):
        _one(visit, tokens, tokens.find(name))
        return
    with heading(
        "Tokens",
        "Whoever comes in brings one, programs and people alike. A token has the scopes it was given, and "
        "its name is in the audit trail of all it does.",
    ):
        if visit.may("tokens:write", any_=True):
            _new(visit, tokens)
    with tag("section", "w-panel flush"):
        all_of = list(tokens)
        if not all_of:
            empty("key", "No tokens", "The first start of the server makes the operator's.")
            return
        grid = Grid(
            "Tokens",
            [
                Column("Name", "minmax(130px, 1fr)"),
                Column("Scopes", "minmax(200px, 2fr)"),
                Column("Last used", "120px"),
                Column("Expires", "130px"),
                Column("Made by", "minmax(110px, .8fr)"),
            ],
            least=760,
        )
        grid.add([_line(tokens, token) for token in all_of])


def _line(tokens: Tokens, token: Token) -> Line:
    now = time.time_ns()
    return Line(
        (
            f"<b>{escape(token.name)}</b>",
            " ".join(badge(scope, "accent" if scope == "*" else "") for scope in token.scopes),
            ago(tokens.last_used(token), now),
            _expiry(token, now),
            escape(token.created_by),
        ),
        link("tokens", token=token.id),
        f"Token {token.name}",
    )


def _expiry(token: Token, now: int) -> str:
    if not token.expires:
        return '<span class="muted">never</span>'
    return badge("expired", "bad") if token.expires <= now else ago(token.expires, now)


def _new(visit: Visit, tokens: Tokens) -> None:
    async def make() -> None:
        caller = visit.require("tokens:write")
        scopes = tuple(str(field.value or "").replace(",", " ").split())
        days = int(life.value or 0)
        made = await tokens.create(
            Wanted(
                name=str(name.value or "").strip(),
                scopes=scopes,
                description=str(about.value or "").strip(),
                expires=time.time_ns() + days * DAY if days else 0,
            ),
            caller,
        )
        shown.close()
        _once(made.token.name, made.text)

    told = "It can be given what you may yourself, and no more."
    with dialog("New token", told) as shown:
        name = ui.input("Name").props("outlined dense autofocus")
        field = ui.input("Scopes", placeholder="tables:read topics:write:orders").props(
            "outlined dense stack-label"
        )
        with tag("div", "w-controls"):
            for scope, what in EXAMPLES:
                add = functools.partial(_add, field, scope)
                small = button(scope, add)
                small.props("dense").props["title"] = what
        life = ui.select(LIVES, value=90, label="Expires").props("outlined dense")
        about = ui.input("What it is for").props("outlined dense")
        with actions():
            button("Cancel", shown.close)
            button("Make token", acting(visit, make), "main")
    button("New token", shown.open, "main", key="n")


def _add(field: ui.input, scope: str) -> None:
    there = str(field.value or "").split()
    if scope not in there:
        field.value = " ".join([*there, scope])


def _once(name: str, text: str) -> None:
    told = "It is shown this once: only its SHA-256 is kept. Copy it to where it will be used."
    with dialog(f"Token {name}", told) as shown:
        shown.props("persistent")
        tag("code", "w-secret mono", text, id="w-token")
        with actions():
            copy = "navigator.clipboard.writeText(document.getElementById('w-token').textContent)"
            button("Copy", lambda: ui.run_javascript(copy), "main")
            button("I have it", ui.navigate.reload)
    shown.open()


def _one(visit: Visit, tokens: Tokens, token: Token) -> None:
    async def revoke() -> None:
        caller = visit.require("tokens:write", token.name)
        await tokens.revoke(token.name, caller)
        go(link("tokens"))

    with heading(token.name, token.description, [("Tokens", link("tokens"))]):
        if visit.may("tokens:write", token.name):
            told = "Whoever uses it is refused from that moment on. There is no way back."
            ask = functools.partial(
                confirm,
                f"Revoke {token.name}?",
                told,
                "Revoke",
                acting(visit, revoke),
                typed=token.name,
            )
            button("Revoke", ask, "danger")
    now = time.time_ns()
    facts = [
        ("Scopes", " ".join(badge(scope) for scope in token.scopes)),
        ("Id", f'<span class="mono">{escape(token.id)}</span>'),
        ("Acts as", f'<span class="mono">{escape(token.principal)}</span>'),
        (
            "Made",
            f"{moment(token.created)} UTC ({ago(token.created, now)}), by {escape(token.created_by)}",
        ),
        (
            "Expires",
            f"{moment(token.expires)} ({ago(token.expires, now)})" if token.expires else "never",
        ),
        ("Last used", ago(tokens.last_used(token), now) + " (as this process knows)"),
    ]
    with tag("section", "w-panel"):
        pairs(facts)
