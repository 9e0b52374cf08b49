"""What transactions did: `changes`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any

import click

from walnut.client.address import is_url
from walnut.log.cli.arguments import examples
from walnut.log.cli.records import write_out
from walnut.log.show import console
from walnut.store.changes import ERASED, Change
from walnut.store.cli import arguments, values
from walnut.store.cli.rows import find
from walnut.store.cli.served import change_line, change_row, served
from walnut.store.remote import StoreReader

SHOWN = 10_000
"""Rows of a table for people."""


@click.command(
    epilog=examples(
        "walnut store changes shop",
        "walnut store changes shop --table rooms --since 2 --format table",
        "walnut store changes shop --follow",
    )
)
@arguments.place
@click.option("--since", type=click.IntRange(min=0), metavar="LSN", help="After this LSN.")
@click.option("--upto", type=click.IntRange(min=0), metavar="LSN", help="Up to this LSN.")
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="Of this table alone.",
              shell_complete=arguments.complete_table)  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on as they come, until Ctrl-C.")
@arguments.format_
def changes(
    directory: str,
    since: int | None,
    upto: int | None,
    tables: tuple[str, ...],
    format_: str,
    *,
    follow: bool,
) -> None:
    """Print what transactions changed: which row, what it is now, when, by whom and why.

    What it was before is there for tables that keep it. A row that nobody can read any more, since
    it was about somebody who was erased, says so.
    """
    if follow and (upto is not None or format_ == "table"):
        raise click.UsageError("--follow has no end: leave out --upto and --format table")
    if is_url(directory):
        _print_served(directory, since, upto, tables, format_, follow=follow)
        return
    with StoreReader(directory) as reader:
        for name in tables:
            find(reader, name)
        begin = reader.log.first_lsn - 1 if since is None else since
        found: Iterable[Change]
        if follow:
            found = reader.follow(begin, tables=tables or None)
        else:
            found = reader.changes(begin, upto=upto, tables=tables or None)
        if format_ == "table":
            rows = [_flat(change) for change in islice(found, SHOWN)]
            console().print(values.rows_table(rows))
            return
        for change in found:
            write_out(values.jsonl(_line(change)))


def _print_served(
    directory: str,
    since: int | None,
    upto: int | None,
    tables: tuple[str, ...],
    format_: str,
    *,
    follow: bool,
) -> None:
    with served(directory) as server:
        assert server is not None
        found = server.changes(since, upto, tables, follow=follow)
        if format_ == "table":
            rows = [change_row(change) for change in islice(found, SHOWN)]
            console().print(values.rows_table(rows))
            return
        for change in found:
            write_out(values.jsonl(change_line(change)))
            if follow:
                sys.stdout.buffer.flush()


def _line(change: Change) -> dict[str, Any]:
    line: dict[str, Any] = {
        "lsn": change.lsn,
        "time": change.time.isoformat(),
        "table": change.table,
        "key": values.shown(change.key),
    }
    for name, row in (("before", change.before), ("after", change.after)):
        line[name] = {"erased": True} if row is ERASED else row
    line |= {
        name: value
        for name in ("principal", "reason", "request_id")
        if (value := getattr(change.meta, name))
    }
    return line


def _flat(change: Change) -> dict[str, Any]:
    words = {None: "deleted", ERASED: "erased"}
    after = words[change.after] if change.after in (None, ERASED) else change.after
    return {
        "lsn": change.lsn,
        "time": values.local_time(change.time),
        "table": change.table,
        "key": values.shown(change.key),
        "now": after,
        "by": ": ".join(filter(None, (change.meta.principal, change.meta.reason))),
    }
