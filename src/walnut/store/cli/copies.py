"""The store elsewhere: `backup` and `restore`."""

from __future__ import annotations

import click

from walnut.log.cli.arguments import examples, lsn, moment
from walnut.log.show import count, lsns, progress, size
from walnut.store.cli import arguments
from walnut.store.cli.served import served
from walnut.store.record import utc
from walnut.store.store import Store

url = click.argument("url", metavar="URL")


@click.command(epilog=examples("walnut store backup shop backup"))
@arguments.place
@url
@click.option(
    "--slot",
    metavar="NAME",
    help="Keep the log until the next backup with this name, however late.",
)
def backup(directory: str, url: str, slot: str | None) -> None:
    """Store what is new in the store at DIR in a backup: its tables as they are, and its log.

    URL is a directory, or an object store: s3://bucket/path, gs://..., az://... The keys of
    subjects are not in it: keep a copy of DIR/keys elsewhere, and drop it whenever somebody is
    erased. A program that has the store open backs it up by `store.backup(URL)`.

    Of a server, URL is the name of one of the places in walnut.toml ([store] backups), and --slot
    of any name has it keep the log until its next backup there.
    """
    with progress("storing tables") as shown, served(directory) as server:
        if server is None:
            with arguments.open_to_write(directory) as store:
                report = store.backup(url, slot=slot, progress=shown)
        else:
            report = server.backup(url, hold=slot is not None, progress=shown)
    click.echo(
        f"{url}: {count(report.new_files, 'file')} of {report.files} new, {size(report.new_bytes)}; "
        f"tables at LSN {report.lsn}, log up to LSN {report.next_lsn - 1}"
    )


@click.command(
    epilog=examples(
        "walnut store backup shop backup",
        "walnut store restore backup copy --keys shop/keys",
        "walnut store restore backup then --to-time 2050-01-31T09:00:00Z",
    )
)
@url
@arguments.directory
@click.option(
    "--keys", metavar="DIR", help="The keys of subjects: DIR/keys of the store, or a copy."
)
@click.option("--to-lsn", type=lsn, metavar="LSN", help="The last LSN to restore.")
@click.option(
    "--to-time", type=moment, metavar="TIME",
    help="Restore what was decided until then, as 2026-07-21T10:00:00Z; without a zone, local time.",
)  # fmt: skip
def restore(
    url: str, directory: str, keys: str | None, to_lsn: int | None, to_time: int | None
) -> None:
    """Make the store DIR, which must be new or empty, from a backup.

    All of it, or up to an LSN or a moment. Without --keys, rows about subjects can't be read in
    it. What was erased stays erased.
    """
    if to_lsn is not None and to_time is not None:
        raise click.UsageError("use --to-lsn or --to-time: both say where to end")
    to = to_lsn if to_time is None else utc(to_time)
    with progress("fetching tables") as shown:
        redone = Store.restore(url, directory, to=to, keys=keys, progress=shown)
    click.echo(
        f"{click.format_filename(directory)}: restored up to LSN {redone.upto}; tables from LSN "
        f"{redone.after}"
        + (
            f", then {lsns(redone.after + 1, redone.upto)} folded"
            if redone.upto > redone.after
            else ""
        )
    )
