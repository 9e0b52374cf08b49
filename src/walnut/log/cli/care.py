"""Looking after a log: `stat`, `verify`, `repair`, `truncate`, `slots`."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from walnut.log.cli import arguments
from walnut.log.control import read_control
from walnut.log.errors import LsnUnknown
from walnut.log.log import Log
from walnut.log.model import LogOptions
from walnut.log.opening import find_directory
from walnut.log.remote import LogReader
from walnut.log.repair import RepairReport
from walnut.log.repair import repair as repair_log
from walnut.log.show import (
    console,
    count,
    damage_line,
    lsns,
    print_stat,
    progress,
    size,
)
from walnut.log.slots import Slot
from walnut.log.verify import verify as verify_log

DAMAGED: Final = 3
"""Exit code when damage was found."""

agree = click.option("--yes", is_flag=True, help="Do it; this can't be undone.")


@click.command(
    epilog=arguments.examples("walnut log stat data/log", "walnut log stat data/log --json")
)
@arguments.directory
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, with all segments.")
def stat(directory: str, *, as_json: bool) -> None:
    """Show the log at DIR at a glance: its ends, segments and slots."""
    with LogReader(directory) as reader:
        facts = reader.stat()
        if as_json:
            click.echo(msgspec.json.encode(facts))
            return
        records = reader.read(facts.first_lsn, facts.first_lsn + 1)
        first_time = next((record.time for record in records), 0)
    print_stat(console(), facts, state=_state(directory), first_time=first_time)


def _state(directory: str) -> str:
    control = read_control(find_directory(directory, LogOptions(), create=False))
    if control is not None and control.clean is not None:
        return "closed cleanly"
    return "open for writing, or not closed by its last writer"


@click.command(epilog=arguments.examples("walnut log verify data/log"))
@arguments.directory
def verify(directory: str) -> None:
    """Check every byte of the log at DIR, without changing anything.

    Prints each damaged place and the LSNs it takes away, and exits with 3 if there is one. A torn
    tail, which a crash may leave, was never acknowledged and is no damage.
    """
    with progress("verifying") as shown:
        report = verify_log(directory, progress=shown)
    for damage in report.damages:
        click.echo(f"damaged: {damage_line(damage)}")
    held = report.next_lsn - report.first_lsn
    name = click.format_filename(directory)
    click.echo(
        f"{name}: {count(report.records, 'record')} in {count(report.frames, 'frame')} and "
        f"{count(report.segments, 'segment')}, {size(report.bytes)}"
        + (f", {lsns(report.first_lsn, report.next_lsn - 1)}" if held > 0 else "")
    )
    if report.torn_bytes:
        click.echo(
            f"{name}: a torn tail of {count(report.torn_bytes, 'byte')}, never acknowledged, "
            "which the next open cuts"
        )
    if report.damages:
        places = count(len(report.damages), "damaged place")
        click.echo(
            f"walnut: {name} has {places}: restore it from an archive, or look at what "
            f"`walnut log repair {name} --dry-run` would keep",
            err=True,
        )
        raise click.exceptions.Exit(DAMAGED)
    click.echo(f"{name}: sound")


@click.command(
    epilog=arguments.examples(
        "walnut log repair data/log --dry-run", "walnut log repair data/log --yes"
    )
)
@arguments.directory
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@agree
def repair(directory: str, *, dry_run: bool, yes: bool) -> None:
    """Make a damaged log usable again, deleting nothing.

    The log at DIR is ended before its first damage. Nothing is deleted: the files that held the damage, and all behind it, are copied into a
    directory beside the segments, and every LSN that is lost is named. An archive may still hold
    them: see `walnut log restore`.
    """
    if dry_run == yes:
        raise click.UsageError("look first, with --dry-run; then repair, with --yes")
    report = repair_log(directory, dry_run=dry_run)
    if yes:
        Log(directory).close()  # what is left opens, and is durable before it is called repaired
    _print_repair(directory, report, done=yes)


def _print_repair(directory: str, report: RepairReport, *, done: bool) -> None:
    name = click.format_filename(directory)
    if not report.damages:
        click.echo(f"{name}: sound, nothing to repair")
        return
    for damage in report.damages:
        click.echo(f"damaged: {damage_line(damage)}")
    for file in report.set_aside:
        aside = click.format_filename(report.directory)
        click.echo(f"{'set aside' if done else 'to set aside'}: {file} in {aside}")
    for first, last in report.lost:
        records = count(last - first + 1, "record")
        click.echo(f"{'lost' if done else 'to be lost'}: {lsns(first, last)}, {records}")
    kept = report.next_lsn - report.first_lsn
    span = f", {lsns(report.first_lsn, report.next_lsn - 1)}" if kept else ""
    click.echo(f"{name}: {'holds' if done else 'would hold'} {count(kept, 'record')}{span}")


@click.command(
    epilog=arguments.examples(
        "walnut log truncate data/log --before 2", "walnut log truncate data/log --after 4 --yes"
    )
)
@arguments.directory
@click.option(
    "--before", type=arguments.lsn, metavar="LSN", help="Forget the records before this LSN."
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="LSN",
    help="Remove the records after this LSN; needs --yes.",
)
@agree
def truncate(directory: str, before: int | None, after: int | None, *, yes: bool) -> None:
    """Shorten the log at DIR, at one end.

    At the front, what slots still need is kept, and disk space comes back a whole segment at a
    time. At the back, the log goes on from there under a new epoch.
    """
    if (before is None) == (after is None):
        raise click.UsageError("say at which end: --before LSN or --after LSN")
    with LogReader(directory) as reader:  # so that a mistyped DIR is refused and not made
        end = reader.next_lsn
    name = click.format_filename(directory)
    if after is not None and not yes:
        gone = f"{count(end - 1 - after, 'record')}, {lsns(after + 1, end - 1)}"
        raise click.UsageError(
            f"this would remove {gone if after < end - 1 else 'nothing'}: if you mean it, add --yes"
        )
    with arguments.open_to_write(directory) as log:
        if after is not None:
            log.truncate_after(after)
            click.echo(f"{name}: ends after LSN {log.durable_lsn}, epoch {log.epoch}")
            return
        assert before is not None
        first = log.truncate_before(before)
        holding = [slot.name for slot in log.stat().slots if slot.lsn < before]
    click.echo(f"{name}: begins at LSN {first}")
    if first < before and holding:
        held = f"slot {holding[0]!r}" if len(holding) == 1 else count(len(holding), "slot")
        click.echo(f"walnut: what is before LSN {before} is still needed by {held}", err=True)


@click.command(
    epilog=arguments.examples(
        "walnut log slots data/log create billing",
        "walnut log slots data/log advance billing 3",
        "walnut log slots data/log list",
        "walnut log slots data/log drop billing",
    )
)
@arguments.directory
@click.argument(
    "action", type=click.Choice(["list", "create", "advance", "drop"]), default="list",
)  # fmt: skip
@click.argument("name", required=False)
@click.argument("lsn", type=arguments.lsn, required=False, metavar="[LSN]")
def slots(directory: str, action: str, name: str | None, lsn: int | None) -> None:
    """Show and move slots, the named positions of readers.

    Slots hold back truncation. A slot is at the next LSN its reader needs. `create` puts it at LSN, or at the log's first;
    `advance` moves it on to LSN, never back; `drop` forgets it, and what it held back may go.
    """
    if action == "list":
        if name is not None:
            raise click.UsageError("`list` shows all slots and takes no name")
        with LogReader(directory) as reader:
            for slot in reader.stat().slots:
                click.echo(f"{slot.name}\t{slot.lsn}\t{count(slot.lag, 'record')} behind")
        return
    if name is None:
        raise click.UsageError(f"{action} which slot? Give its name")
    if (action == "advance") != (lsn is not None) and action != "create":
        raise click.UsageError(
            "advance to where? Give an LSN" if action == "advance" else "`drop` takes no LSN"
        )
    with LogReader(directory) as reader:
        if lsn is not None and lsn > reader.next_lsn:
            raise LsnUnknown(f"LSN {lsn} is past the end of the log: next is {reader.next_lsn}")
        if action == "create":
            click.echo(f"{name}\t{reader.slot(name, lsn).lsn}")
            return
    chosen = Slot(find_directory(directory, LogOptions(), create=False), name)
    if lsn is None:
        chosen.drop()
        click.echo(f"{name}\tdropped")
        return
    chosen.advance(lsn)
    click.echo(f"{name}\t{lsn}")
