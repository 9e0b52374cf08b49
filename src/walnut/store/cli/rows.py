"""Rows in and out: `get`, `scan`, `put`, `delete`."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import click
import msgspec

from walnut.client.address import is_url
from walnut.log.cli.arguments import examples
from walnut.log.cli.records import write_out
from walnut.log.show import Progressed, console, count, progress
from walnut.store.catalog import TableInfo, prefix_of
from walnut.store.cli import arguments, values
from walnut.store.cli.served import refuse_declare, served
from walnut.store.document import Document, holds_documents, key_of
from walnut.store.errors import AlreadyDefined, Erased, UnknownTable, WrongType
from walnut.store.keys import Key, encode
from walnut.store.record import Meta
from walnut.store.remote import StoreReader
from walnut.store.schema import fields_of
from walnut.store.store import Store
from walnut.store.table import Table
from walnut.store.tables import after
from walnut.store.transaction import Transaction

T = TypeVar("T")
BATCH = 1000
"""Rows of one transaction, when many are put; and rows that are read between two looks at the bar."""

LONGEST = 16 << 20
"""Bytes of a line that are looked at; a row is smaller."""

who = click.option(
    "--by",
    "principal",
    default="",
    metavar="NAME",
    help="Who does this; a server keeps it with the why, as it knows itself who asks.",
)
why = click.option("--why", "reason", default="", metavar="TEXT", help="Why; both are kept.")


def find(reader: StoreReader, name: str) -> TableInfo:
    """What the store knows of a table. Raises UnknownTable."""
    for info in reader.infos().values():
        if info.name == name:
            return info
    there = ", ".join(reader.tables()) or "none"
    raise UnknownTable(f"there is no table {name!r} in {reader.path}; there are: {there}")


@click.command(
    epilog=examples(
        "walnut store get shop notes n1",
        """walnut store get shop rooms '["h1", 2]' --format table""",
    )
)
@arguments.place
@arguments.table
@click.argument("key", type=arguments.KEY)
@arguments.format_
def get(directory: str, table: str, key: Key, format_: str) -> None:
    """Print the row of TABLE with this KEY.

    KEY is JSON; a word that is none stands for itself. A key of several parts is a list. A UUID, a
    time, a date, bytes: {"uuid": "..."}, {"time": ...}, {"date": ...}, {"bytes": "<base64>"}.
    """
    if is_url(directory):
        with served(directory) as server:
            assert server is not None
            row = server.row(table, key)
    else:
        with StoreReader(directory) as reader:
            full = prefix_of(find(reader, table).id) + encode(key)
            data = reader.read(full)
            row = None if data is None else fields_of(full, data, reader.keyring)
    if row is None:
        raise click.ClickException(
            f"{table} has no row with the key {values.cell(values.shown(key))}"
        )
    if format_ == "table":
        console().print(values.rows_table([row]))
    else:
        write_out(values.jsonl(row))


@click.command(
    epilog=examples(
        "walnut store scan shop notes",
        "walnut store scan shop rooms --prefix h1 --reverse --limit 1",
        "walnut store scan shop rooms --start h1 --format table",
    )
)
@arguments.place
@arguments.table
@click.option("--prefix", type=arguments.KEY, default=(), metavar="KEY", help="Keys that begin so.")
@click.option("--start", type=arguments.KEY, default=(), metavar="KEY", help="From this key on.")
@click.option("--stop", type=arguments.KEY, default=(), metavar="KEY", help="Up to, not with, it.")
@click.option("--reverse", is_flag=True, help="Backwards.")
@click.option("--limit", type=click.IntRange(min=0), help="So many at most.")
@arguments.format_
def scan(
    directory: str,
    table: str,
    prefix: Key,
    start: Key,
    stop: Key,
    limit: int | None,
    format_: str,
    *,
    reverse: bool,
) -> None:
    """Print the rows of TABLE in the order of their keys.

    --start and --stop are what comes after the --prefix. Rows about somebody who was erased are
    left out.
    """
    with _scanned(directory, table, prefix, start, stop, limit, reverse=reverse) as rows:
        if format_ == "table":
            with progress("reading rows") as shown:
                found = list(_told(rows, shown, limit))
            console().print(values.rows_table(found))
            return
        # Where rows go to the terminal they are the progress, and a bar would be among them.
        with progress("reading rows", enabled=not sys.stdout.isatty()) as shown:
            for row in _told(rows, shown, limit):
                write_out(values.jsonl(row))


@contextlib.contextmanager
def _scanned(
    directory: str,
    table: str,
    prefix: Key,
    start: Key,
    stop: Key,
    limit: int | None,
    *,
    reverse: bool,
) -> Iterator[Iterator[dict[str, Any]]]:
    if is_url(directory):
        with served(directory) as server:
            assert server is not None
            yield server.rows(table, prefix, start, stop, limit, reverse=reverse)
        return
    with StoreReader(directory) as reader:
        base = prefix_of(find(reader, table).id) + encode(prefix)
        end = base + encode(stop) if stop != () else after(base)
        items = reader.walk(base + encode(start), end, reverse=reverse)
        yield itertools.islice(_readable(items, reader), limit)


def _told(rows: Iterable[T], shown: Progressed, total: int | None) -> Iterator[T]:
    for number, row in enumerate(rows):
        if number % BATCH == 0:
            shown(number, total)
        yield row


def _readable(
    items: Iterable[tuple[bytes, bytes]], reader: StoreReader
) -> Iterator[dict[str, Any]]:
    for full, data in items:
        try:
            yield fields_of(full, data, reader.keyring)
        except Erased:
            continue


@click.command(
    epilog=examples(
        """walnut store put --new shop notes '{"key": "n2", "value": {"done": 0}}'""",
        """echo '{"key": "a", "value": 1}' | walnut store put shop notes -""",
        """walnut store put shop rooms '{"hotel": "h9"}' --declare app:tables""",
    )
)
@arguments.place
@arguments.table
@click.argument("row")
@click.option("--new", is_flag=True, help="Make the store and the table, if they are not there.")
@arguments.declare
@who
@why
def put(
    directory: str,
    table: str,
    row: str,
    declare: str | None,
    principal: str,
    reason: str,
    *,
    new: bool,
) -> None:
    """Put a ROW of JSON into TABLE, or with - each line of stdin.

    Tables made here hold documents: rows of {"key": "...", "value": any JSON}. A table that a
    program made may have indexes, which only its program knows: name the function that declares
    them. Many lines are put a thousand to a transaction; one that is refused ends it, and says
    which.
    """
    lines = iter([row.encode()]) if row != "-" else _stdin()
    done = 0
    typed = row == "-" and sys.stdin.isatty()  # a bar would be among what is typed
    with (
        served(directory, principal, reason) as server,
        progress("putting rows", enabled=row == "-" and not typed) as shown,
    ):
        if server is None:
            puts = _put_here(directory, table, lines, declare, Meta(principal, reason), new=new)
        else:
            refuse_declare(declare)
            puts = server.put(table, lines, new=new)
        for done in puts:
            shown(done, None)
    click.echo(f"{count(done, 'row')} put")


def _put_here(
    directory: str,
    table: str,
    lines: Iterator[bytes],
    declare: str | None,
    meta: Meta,
    *,
    new: bool,
) -> Iterator[int]:
    """Put them into a store that nobody has open; how many are put, after each transaction."""
    done = 0
    with Store(directory) if new else arguments.open_to_write(directory) as store:
        target = writable(store, table, declare, new=new)
        decoder = msgspec.json.Decoder(target.codec.row)
        while batch := list(itertools.islice(lines, BATCH)):
            rows = []
            for number, text in enumerate(batch, done + 1):
                try:
                    rows.append(decoder.decode(text))
                    if unknown := target.codec.unknown(msgspec.json.decode(text)):
                        raise msgspec.ValidationError(f"no field {', '.join(unknown)}")
                except (msgspec.MsgspecError, RecursionError) as error:
                    raise WrongType(
                        f"row {number} is none of {table} ({error}); those before transaction "
                        f"{done // BATCH + 1} were put, {done} of them"
                    ) from error
            with arguments.running(declare or table):
                store.by(meta).call(_put_all, target, rows)
            done += len(rows)
            yield done


def _stdin() -> Iterator[bytes]:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed: give the ROW, or lines on stdin")
    return iter(functools.partial(sys.stdin.buffer.readline, LONGEST), b"")


def _put_all(tx: Transaction, table: Table[Any], rows: list[Any]) -> None:
    for row in rows:
        table.put(tx, row)


@click.command(
    epilog=examples(
        """walnut store put --new shop notes '{"key": "n3", "value": 3}'""",
        "walnut store delete shop notes n3 --by ann --why 'a mistake'",
    )
)
@arguments.place
@arguments.table
@click.argument("key", type=arguments.KEY)
@arguments.declare
@who
@why
def delete(
    directory: str, table: str, key: Key, declare: str | None, principal: str, reason: str
) -> None:
    """Delete the row of TABLE with this KEY. Exits with 1 if there is none."""
    with served(directory, principal, reason) as server:
        if server is None:
            gone = _delete_here(directory, table, key, declare, Meta(principal, reason))
        else:
            refuse_declare(declare)
            gone = server.delete(table, key)
    if not gone:
        raise click.ClickException(
            f"{table} has no row with the key {values.cell(values.shown(key))}"
        )
    click.echo("1 row deleted")


def _delete_here(directory: str, table: str, key: Key, declare: str | None, meta: Meta) -> bool:
    with arguments.open_to_write(directory) as store:
        target = writable(store, table, declare, new=False)
        with arguments.running(declare or table):
            return store.by(meta).call(target.delete, key)


def writable(store: Store, name: str, declare: str | None, *, new: bool) -> Table[Any]:
    """A table to write through: one of documents, or as a program declares it.

    Raises UnknownTable, AlreadyDefined."""
    if declare is not None:
        arguments.declare_by(store, declare)
        return store.declared(name)
    info = store.info(name)
    if info is None and not new:
        there = ", ".join(store.tables()) or "none"
        raise UnknownTable(
            f"there is no table {name!r} in {store.path} (there are: {there}): --new makes one"
        )
    if info is not None and not holds_documents(info):
        raise AlreadyDefined(
            f"{name} is a table of a program, which may keep indexes and encrypt: give the function "
            "that declares it, as --declare MODULE:FUNCTION"
        )
    return store.table(name, Document, key=key_of)
