"""`make log`: a real file goes into a log, the log is verified, and what happened is shown.

python -m walnut.log.demo [FILE]
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.text import Text

from walnut.log.errors import LogError
from walnut.log.log import Log
from walnut.log.metrics import Metrics
from walnut.log.model import Recovery
from walnut.log.remote import LogReader
from walnut.log.show import (
    console,
    count,
    damage_line,
    duration,
    facts_table,
    histogram_table,
    lsns,
    progress,
    records_table,
    recovery_note,
    size,
)
from walnut.log.verify import VerifyReport, verify

LOG: Final = Path("build/run/log")
"""Where the log is: it stays, and the next run goes on with it."""

STORE: Final = Path("build/run/store")
"""Where the last commands that it names make tables."""

FILES: Final = (
    "/var/log/dpkg.log",
    "/var/log/apt/history.log",
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/pacman.log",
    "/var/log/dnf.log",
    "/var/log/zypp/history",
    "/var/log/apk.log",
    "/var/log/install.log",
    "/var/log/system.log",
    "CHANGELOG.md",
    "README.md",
    "LICENSE",
)
"""What most machines have one of; the last ones lie in this project."""

LAST: Final = 5
"""Records shown at the end."""

STEP: Final = 256
"""Lines between two moves of the progress bar."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did."""

    bytes: int
    seconds: float
    first_lsn: int
    last_lsn: int
    recovery: Recovery
    metrics: Metrics


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False)
def main(file: str | None) -> None:
    """Append the lines of FILE (else of a log of this machine) to the log build/run/log, verify
    it, and show it."""
    try:
        path = Path(file) if file else find_file()
        run = append_lines(path, LOG)
        with progress("verifying") as shown:
            report = verify(LOG, progress=shown)
        with LogReader(LOG) as log:
            last = [*log.read(max(log.first_lsn, log.next_lsn - LAST))]
            screen = console()
            print_run(screen, path, run, report)
            screen.print(f"\nThe last {count(len(last), 'record')}:\n")
            screen.print(records_table(last))
            print_next(screen, run.last_lsn)
    except BrokenPipeError:
        sys.exit(141)  # whoever read this went away, as in `make log | head`
    except (LogError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename:
            text = f"{click.format_filename(error.filename)}: {error.strerror}"
        click.echo(f"walnut: {text}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("\nwalnut: interrupted; what was acknowledged is in the log", err=True)
        sys.exit(130)
    sys.exit(3 if report.damages else 0)


def find_file() -> Path:
    """The first file of those that is there, can be read and has something in it."""
    for name in FILES:
        try:
            with Path(name).open("rb") as file:
                if file.read(1):
                    return Path(name)
        except OSError:
            continue
    raise LogError("found no file to append: name one, as in `make log FILE=/path/to/a.log`")


def append_lines(path: Path, to: Path) -> Run:
    """Append every line, each by itself: the log makes groups of them as fast as the disk goes."""
    with path.open("rb") as file:
        if not file.peek(1):
            raise LogError(f"{path} is empty: name a file that has lines, with FILE=")
        with Log(to) as log, progress("appending") as shown:
            first, total = log.next_lsn, path.stat().st_size
            longest = log.options.record_bytes + 1
            done = steps = 0
            started = time.perf_counter()
            while line := file.readline(longest):
                _ = log.submit(line.removesuffix(b"\n"))  # waits only when the buffer is full
                done += len(line)
                steps += 1
                if steps % STEP == 0:
                    shown(done, total)
            log.sync()  # and here for all of them to be durable
            return Run(
                bytes=done,
                seconds=time.perf_counter() - started,
                first_lsn=first,
                last_lsn=log.durable_lsn,
                recovery=log.recovery,
                metrics=log.metrics,
            )


def print_run(screen: Console, path: Path, run: Run, report: VerifyReport) -> None:
    """What was appended, how fast, in how many flushes, and whether it is sound."""
    name = click.format_filename(path)
    records = run.last_lsn + 1 - run.first_lsn
    metrics = run.metrics
    screen.print(Text.assemble("Walnut appended ", (name, "bold"), " to ", (str(LOG), "bold")))
    screen.print()
    facts = facts_table()
    facts.add_row("log", opened(run))
    facts.add_row(
        "appended",
        f"{count(records, 'line')}, {size(run.bytes)}: {lsns(run.first_lsn, run.last_lsn)}",
    )
    facts.add_row(
        "speed",
        f"{records / run.seconds:,.0f} records/s, {size(run.bytes / run.seconds)}/s, all durable "
        f"in {duration(run.seconds)}",
    )
    facts.add_row(
        "frames",
        f"{metrics.frames:,}, one for each flush: {metrics.batch.mean:,.0f} records in one on "
        f"average, {metrics.batch.maximum:,.0f} at most",
    )
    facts.add_row(
        "fsync",
        f"half of them under {microseconds(metrics.sync.quantile(0.5))}, "
        f"99 in 100 under {microseconds(metrics.sync.quantile(0.99))}",
    )
    facts.add_row("", histogram_table(metrics.sync, microseconds, 1))
    facts.add_row("verified", verified(report))
    screen.print(facts)
    for damage in report.damages:
        screen.print(Text(f"damaged: {damage_line(damage)}", "bold red"), soft_wrap=True)


def microseconds(number: float) -> str:
    """A time that was measured in microseconds."""
    return duration(number / 1e6)


def opened(run: Run) -> str:
    """How the log was found."""
    recovery, seconds = run.recovery, duration(run.recovery.seconds)
    if recovery.created:
        return f"new, made in {seconds}"
    if recovery.clean:
        return f"was there and closed cleanly: goes on after LSN {run.first_lsn - 1}, open in {seconds}"
    return (
        f"was there and not closed: {count(recovery.scanned_frames, 'frame')} checked in {seconds}, "
        f"{recovery_note(recovery) or 'nothing lost'}, goes on after LSN {run.first_lsn - 1}"
    )


def verified(report: VerifyReport) -> Text:
    """What checking every byte came to."""
    sound = not report.damages
    verdict = "sound" if sound else count(len(report.damages), "damaged place")
    return Text.assemble(
        (verdict, "bold green" if sound else "bold red"),
        f": {count(report.records, 'record')} in {count(report.frames, 'frame')} and "
        f"{count(report.segments, 'segment')}, every byte of {size(report.bytes)} read back",
    )


def print_next(screen: Console, last_lsn: int) -> None:
    """Commands to try, as they can be pasted."""
    program = command()
    screen.print("\nTry next:\n")
    for line in (
        f"{program} log tail {LOG}",
        f"{program} log cat {LOG} --start {last_lsn} --format json",
        f"date | {program} log append {LOG} --ack",
        f"""{program} store put --new {STORE} notes '{{"key": "n1", "value": "hello"}}'""",
        f"{program} store scan {STORE} notes --format table",
    ):
        screen.print(f"  {line}", soft_wrap=True)


def command() -> str:
    """How `walnut` is called from here."""
    near = Path(".venv/bin/walnut")
    if near.exists():
        return str(near)
    beside = Path(sys.executable).with_name("walnut")
    return shlex.quote(str(beside)) if beside.exists() else f"{sys.executable} -m walnut.cli"


if __name__ == "__main__":
    main()
