"""Looking after a store: `stat`, `tables`, `checkpoint`, `verify`, `rebuild`, `fingerprint`."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.text import Text

from walnut.client.address import is_url
from walnut.log.cli.arguments import examples, lsn
from walnut.log.cli.arguments import moment as moment_
from walnut.log.cli.records import write_out
from walnut.log.errors import ArchiveError, LogCorrupt
from walnut.log.show import console, count, duration, facts_table, moment, progress, size
from walnut.store.care import rebuild as rebuild_tables
from walnut.store.care import verify as verify_store
from walnut.store.cli import arguments, values
from walnut.store.cli.served import served, table_facts
from walnut.store.errors import BackupError, TablesFailed, TablesLost
from walnut.store.fingerprint import fingerprint as fingerprint_of
from walnut.store.model import StoreStat
from walnut.store.record import utc
from walnut.store.remote import StoreReader

DIFFERENT: Final = 3
"""Exit code when tables and log do not agree, or the tables can't be read."""

source = click.option(
    "--from", "source", metavar="URL",
    help="A backup to begin from, when the log no longer reaches back to the beginning.",
)  # fmt: skip


@click.command(epilog=examples("walnut store stat shop", "walnut store stat shop --json"))
@arguments.directory
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def stat(directory: str, *, as_json: bool) -> None:
    """Show the store at DIR at a glance: its LSNs, its log, its tables."""
    with StoreReader(directory) as reader:
        facts = reader.stat()
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    _print_stat(console(), facts)


def _print_stat(out: Console, facts: StoreStat) -> None:
    out.print(Text(click.format_filename(facts.path), "bold"), soft_wrap=True)
    shown = facts_table()
    behind = facts.durable_lsn - facts.checkpoint_lsn
    shown.add_row("durable", f"LSN {facts.durable_lsn}")
    shown.add_row(
        "flushed", f"LSN {facts.checkpoint_lsn}; {count(behind, 'record')} to fold at the next open"
    )
    first, since = facts.window
    if since:
        shown.add_row("restorable", f"from LSN {first}, {moment(since)}, with a backup before it")
    shown.add_row("log", size(facts.log_bytes))
    out.print(shown)
    if facts.tables:
        out.print()
        out.print(values.rows_table([_table_row(msgspec.to_builtins(row)) for row in facts.tables]))


def _table_row(row: dict[str, Any]) -> dict[str, Any]:
    words = {True: "yes", False: ""}
    return {
        "table": row["name"],
        "schema": row["schema"],
        "indexes": ", ".join(row["indexes"]),
        "subjects": words[row["subjects"]],
        "before-images": words[row["before"]],
    }


@click.command(
    epilog=examples("walnut store tables shop", "walnut store tables shop --format table")
)
@arguments.place
@arguments.format_
def tables(directory: str, format_: str) -> None:
    """List the tables of the store at DIR: schema, indexes, what is kept of them."""
    if is_url(directory):
        with served(directory) as server:
            assert server is not None
            rows = [table_facts(info) for info in server.tables()]
    else:
        with StoreReader(directory) as reader:
            rows = [msgspec.to_builtins(row) for row in reader.stat().tables]
    if format_ == "table":
        console().print(values.rows_table([_table_row(row) for row in rows]))
        return
    for row in rows:
        write_out(values.jsonl(row))


@click.command(epilog=examples("walnut store checkpoint shop"))
@arguments.place
def checkpoint(directory: str) -> None:
    """Fold the log into the tables and flush them, so that the next open has nothing to do.

    The log before the restore window may go then.
    """
    name = click.format_filename(directory)
    with served(directory) as server:
        if server is not None:
            click.echo(f"{name}: flushed up to LSN {server.checkpoint()}")
            return
    with arguments.open_to_write(directory) as store:
        redone = store.redo
        flushed = store.checkpoint()
    click.echo(
        f"{name}: flushed up to LSN {flushed}; {count(redone.transactions, 'transaction')} folded in "
        f"{duration(redone.seconds)}"
    )


@click.command(
    epilog=examples(
        "walnut store backup shop backup",
        "walnut store verify shop --from backup",
        "walnut store verify shop --backup backup",
    )
)
@arguments.directory
@source
@click.option("--backup", metavar="URL", help="Verify this backup of the store, by restoring it.")
@click.option("--to-lsn", type=lsn, metavar="LSN", help="Restore the backup up to this LSN.")
@click.option("--to-time", type=moment_, metavar="TIME", help="Restore it as of this moment.")
def verify(
    directory: str,
    source: str | None,
    backup: str | None,
    to_lsn: int | None,
    to_time: int | None,
) -> None:
    """Fold the log into second tables and compare them with those of the store at DIR.

    With --backup, restore that in a scratch directory in DIR, which is removed, fold it on with the
    log of DIR as far as that reaches back, and compare; another process may have the store open.

    Exits with 3 if they differ, or can't be read: then `walnut store rebuild` makes the tables anew.
    The bytes of the log are checked by `walnut log verify DIR/log`.
    """
    if source is not None and backup is not None:
        raise click.UsageError("--from is for the tables and --backup verifies a backup: use one")
    if to_lsn is not None and to_time is not None:
        raise click.UsageError("use --to-lsn or --to-time: both say where to end")
    if backup is not None:
        _verify_backup(directory, backup, to_lsn if to_time is None else utc(to_time))
        return
    if to_lsn is not None or to_time is not None:
        raise click.UsageError("--to-lsn and --to-time are for a --backup")
    name = click.format_filename(directory)
    try:
        with arguments.open_to_write(directory) as store, progress("folding") as shown:
            found = verify_store(store, backup=source, progress=shown)
    except TablesFailed as error:
        click.echo(f"walnut: {name}: {' '.join(str(error).split())}", err=True)
        raise click.exceptions.Exit(DIFFERENT) from error
    if not found.same:
        click.echo(
            f"walnut: {name}: the tables ({found.tables}) are not what the log makes ({found.log}) at "
            f"LSN {found.lsn}: `walnut store rebuild {name}` makes them anew",
            err=True,
        )
        raise click.exceptions.Exit(DIFFERENT)
    click.echo(f"{name}: the tables are what the log makes, at LSN {found.lsn}: {found.tables}")


def _verify_backup(directory: str, url: str, to: int | dt.datetime | None) -> None:
    name = click.format_filename(directory)
    with StoreReader(directory) as reader:
        try:
            with progress("restoring") as shown:
                found = reader.check_backup(url, to=to, progress=shown)
        except (BackupError, ArchiveError, LogCorrupt, TablesFailed, TablesLost) as error:
            click.echo(f"walnut: {' '.join(str(error).split())}", err=True)
            raise click.exceptions.Exit(DIFFERENT) from error
        first = reader.log.first_lsn
    click.echo(
        f"{url}: restored up to LSN {found.lsn}: tables of LSN {found.base_lsn}, "
        f"{count(found.transactions, 'transaction')} folded, {duration(found.seconds)} in all; "
        + (
            f"not compared, as the log of {name} begins at LSN {first}"
            if found.compared_lsn is None
            else f"the same as {name} at LSN {found.compared_lsn}"
        )
        + f": {found.fingerprint}"
    )


@click.command(epilog=examples("walnut store rebuild shop"))
@arguments.directory
@source
def rebuild(directory: str, source: str | None) -> None:
    """Make the tables of the store at DIR anew, from its whole log or a backup and the log.

    The old ones are set aside as DIR/tables.old.
    """
    with progress("folding") as shown:
        redone = rebuild_tables(directory, backup=source, progress=shown)
    click.echo(
        f"{click.format_filename(directory)}: tables made anew up to LSN {redone.upto}, "
        f"{count(redone.transactions, 'transaction')} folded in {duration(redone.seconds)}"
    )


@click.command(epilog=examples("walnut store fingerprint shop"))
@arguments.directory
def fingerprint(directory: str) -> None:
    """Print a digest of everything in the tables, and the LSN it is of.

    Two stores that folded the same log up to the same LSN have the same.
    """
    with StoreReader(directory) as reader:
        with progress("reading entries") as shown:
            digest = fingerprint_of(reader, reader.lsn, shown)
        click.echo(f"{digest}  LSN {reader.lsn}")
