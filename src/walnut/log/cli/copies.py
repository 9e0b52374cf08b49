"""The log elsewhere: `archive` and `restore`."""

from __future__ import annotations

from typing import Final

import click

from walnut.log.archive import Archive
from walnut.log.archive import restore as restore_log
from walnut.log.cli import arguments
from walnut.log.errors import ArchiveError, LogCorrupt
from walnut.log.remote import LogReader
from walnut.log.show import count, lsns, progress, size

DAMAGED: Final = 3
"""Exit code when damage was found."""

url = click.argument("url", metavar="URL")


@click.command(
    epilog=arguments.examples(
        "walnut log archive data/log backup",
        "walnut log archive data/log backup --no-tail",
        "walnut log archive data/log backup --check",
    )
)
@arguments.directory
@url
@click.option(
    "--tail/--no-tail",
    default=True,
    help="With the segment being written, or only sealed ones and what is there of it already.",
)
@click.option("--check", is_flag=True, help="Then read the whole archive back and check it.")
def archive(directory: str, url: str, *, tail: bool, check: bool) -> None:
    """Copy what is new in the log at DIR to an archive.

    URL is a directory, or an object store: s3://bucket/path, gs://..., az://... The log may be
    written meanwhile. An archive is complete up to the last LSN that this prints.
    """
    with LogReader(directory) as reader, progress("archiving") as shown:
        place = Archive(url)
        report = place.push(reader, tail=tail, progress=shown)
    manifest = place.manifest()
    first, last = manifest.first_lsn if manifest else report.next_lsn, report.next_lsn - 1
    click.echo(
        f"{url}: {count(report.uploaded, 'segment')} stored, {size(report.stored_bytes)}; "
        + (f"holds {lsns(first, last)}" if first <= last else "holds no record yet")
    )
    if check:
        try:
            with progress("checking") as shown:
                manifest = place.check(progress=shown)
        except (ArchiveError, LogCorrupt) as error:
            click.echo(f"walnut: {error}", err=True)
            raise click.exceptions.Exit(DAMAGED) from error
        stored = sum(entry.stored_bytes for entry in manifest.entries)
        click.echo(f"{url}: sound, every byte of {size(stored)} read back")


@click.command(
    epilog=arguments.examples(
        "walnut log archive data/log backup",
        "walnut log restore backup restored/log",
        "walnut log restore backup earlier/log --to-lsn 10",
        "walnut log restore backup then/log --to-time 2050-01-31T09:00:00Z",
    )
)
@url
@arguments.directory
@click.option("--to-lsn", type=arguments.lsn, metavar="LSN", help="The last LSN to restore.")
@click.option(
    "--to-time", type=arguments.moment, metavar="TIME",
    help="Restore what was written until then, as 2026-07-21T10:00:00Z; without a zone, local time.",
)  # fmt: skip
def restore(url: str, directory: str, to_lsn: int | None, to_time: int | None) -> None:
    """Make the log DIR, which must be new or empty, from an archive.

    All of it, or up to an LSN or a moment. Everything is checked on the way.
    """
    if to_lsn is not None and to_time is not None:
        raise click.UsageError("use --to-lsn or --to-time: both say where to end")
    with progress("restoring") as shown:
        report = restore_log(url, directory, to_lsn=to_lsn, to_time_ns=to_time, progress=shown)
    records = report.next_lsn - report.first_lsn
    span = f", {lsns(report.first_lsn, report.next_lsn - 1)}" if records else ""
    click.echo(f"{click.format_filename(directory)}: {count(records, 'record')} restored{span}")
