"""`walnut token create|list|revoke`: with the running server, or on its data directory while it is
stopped.

What must stay true: a token's text is alone on stdout, once, and in no argument.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import click
import msgspec
from rich.text import Text

from walnut.client.place import Directory, client_of, server_of
from walnut.log.cli.arguments import examples
from walnut.log.show import console, duration
from walnut.server.access.errors import InvalidToken
from walnut.server.access.peers import own_principal
from walnut.server.access.tokens import TABLE, Token, Tokens, Wanted
from walnut.server.access.views import NewToken, TokenView, view
from walnut.store.cli.arguments import open_to_write
from walnut.store.cli.values import cell
from walnut.store.errors import UnknownTable
from walnut.store.remote import StoreReader
from walnut.subsystem.units import read_seconds
from walnut.web.access import EVERYTHING
from walnut.web.caller import Caller

PATH: Final = "/v1/tokens"
place = click.argument("directory", metavar="DIR", type=Directory("store", remote=True))


@click.group(
    epilog=examples(
        "walnut token create walnut-data prometheus --scope metrics:read",
        "walnut token list walnut-data",
    )
)
def token() -> None:
    """Tokens: who may do what over HTTP.

    DIR is the data directory of a server, running or stopped. Of one elsewhere give --url instead.
    """


@token.command(
    epilog=examples(
        "walnut token create walnut-data ci --scope topics:write:ci --expires 90d",
        "walnut token create walnut-data prometheus --scope metrics:read",
    )
)
@place
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, metavar="SCOPE",
    help="What it allows, as topics:read, tables:write:orders-* or * for everything. Repeat it.",
)  # fmt: skip
@click.option(
    "--expires", metavar="TIME", help="After which it ends: 12h, 90d. Never, if not given."
)
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
def create(
    directory: str, name: str, scopes: tuple[str, ...], expires: str | None, description: str
) -> None:
    """Make a token with the name NAME, and print it.

    This is the only time that it can be seen: the server keeps a digest of it. It grants nothing
    that the one who makes it has not.
    """
    until = _until(expires)
    address = server_of(directory)
    if address is None:
        wanted = Wanted(name=name, scopes=scopes, description=description, expires=until)
        with _tokens(directory) as tokens:
            text = tokens.create_now(wanted, _caller()).text
    else:
        new = NewToken(
            name=name,
            scopes=list(scopes),
            description=description,
            expires=dt.datetime.fromtimestamp(until / 1e9, dt.UTC) if until else None,
        )
        with client_of(address) as client:
            answer = client.transport.request(
                "POST", PATH, body=msgspec.json.encode(new), headers=_JSON
            )
        text = msgspec.json.decode(answer.body, type=TokenView).token
    if not text:
        raise click.ClickException(
            f"the token {name} was made, and the answer with its text was lost on the way: revoke it, "
            "and make another"
        )
    click.echo(text)


@token.command("list", epilog=examples("walnut token list walnut-data"))
@place
@click.option(
    "--format", "format_", type=click.Choice(["table", "json"]), default="table",
    show_default=True, help="A table for people, or a line of JSON each, with times in UTC.",
)  # fmt: skip
def list_(directory: str, format_: str) -> None:
    """List the tokens there are, without what opens anything."""
    address = server_of(directory)
    if address is None:
        found = _read(directory)
    else:
        with client_of(address) as client:
            found = list(client.pages(PATH, TokenView))
    if format_ == "json":
        for one in found:
            click.echo(msgspec.json.encode(one))
        return
    _show(found)


@token.command(epilog=examples("walnut token revoke walnut-data old"))
@place
@click.argument("name")
def revoke(directory: str, name: str) -> None:
    """Take back the token with the name or id NAME.

    From now on nothing is done with it, and a running server cuts what it has open.
    """
    address = server_of(directory)
    if address is None:
        with _tokens(directory) as tokens:
            tokens.revoke_now(name, _caller())
    else:
        with client_of(address) as client:
            client.transport.request("DELETE", f"{PATH}/{quote(name, safe='')}")
    click.echo(f"revoked {name}")


_JSON: Final = {"Content-Type": "application/json"}


def _until(expires: str | None) -> int:
    if expires is None:
        return 0
    try:
        seconds = read_seconds(expires)
    except ValueError as error:
        raise InvalidToken(f"{expires!r} is no time: write it as 12h, 90d or 30d12h") from error
    return time.time_ns() + int(seconds * 1e9)


@contextmanager
def _tokens(directory: str) -> Iterator[Tokens]:
    with open_to_write(directory) as store:
        yield Tokens(store)


def _caller() -> Caller:
    """Whoever can write the directory may do everything in it."""
    return Caller(own_principal(), (EVERYTHING,), "")


def _read(directory: str) -> list[TokenView]:
    with StoreReader(directory) as reader:
        try:
            table = reader.table(TABLE, Token, key=lambda token: token.id)
        except UnknownTable:
            return []
        return sorted((view(one, 0) for one in table.scan(reader)), key=lambda one: one.name)


def _show(found: list[TokenView]) -> None:
    from rich.table import Table  # noqa: PLC0415  slow to import, and seldom needed

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("name", "scopes", "expires", "used", "made by", "id", "description"):
        table.add_column(name, style="cyan" if name == "name" else None, overflow="fold")
    now = dt.datetime.now(dt.UTC)
    for one in found:
        row = (
            one.name, " ".join(one.scopes), _ahead(one.expires, now), _ago(one.last_used, now),
            one.created_by, one.id, one.description,
        )  # fmt: skip
        table.add_row(*(Text(cell(text)) for text in row))
    console().print(table)


def _ahead(moment: dt.datetime | None, now: dt.datetime) -> str:
    if moment is None:
        return "never"
    return "expired" if moment <= now else f"in {duration((moment - now).total_seconds())}"


def _ago(moment: dt.datetime | None, now: dt.datetime) -> str:
    return "" if moment is None else f"{duration((now - moment).total_seconds())} ago"
