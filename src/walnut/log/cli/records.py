"""Records in and out: `append`, `cat`, `tail`.

A line is a record without its newline, so `cat` gives back exactly the lines that `append` read.
"""

from __future__ import annotations

import contextlib
import signal
import stat as stat_module
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Final, Protocol, Self, cast

import click

from walnut.log.cli import arguments
from walnut.log.errors import LsnUnknown, RecordTooLarge
from walnut.log.model import Record
from walnut.log.reader import Reader
from walnut.log.remote import LogReader
from walnut.log.show import count, hex_block, json_line, progress, recovery_note

CHUNK: Final = 1 << 20
"""Read at once at most; the lines of a chunk share one flush. A pipe gives what it has, so a slow
one is appended line by line and a fast one a chunk at a time, without a timer."""

Form = Callable[[Record], bytes]

FORMS: Final[dict[str, Form]] = {
    "raw": lambda record: bytes(record.data) + b"\n",
    "json": json_line,
    "hex": hex_block,
}

in_format = click.option(
    "--format", "form", type=click.Choice(list(FORMS)), default="raw", show_default=True,
    help="raw: the lines as they were. json: an object per line with lsn, time and data "
    "(data_base64 where it is not UTF-8). hex: for looking at bytes.",
)  # fmt: skip


# -- append -------------------------------------------------------------------------------------


@click.command(
    epilog=arguments.examples(
        "printf 'hello\\nworld\\n' | walnut log append data/log",
        "walnut log append data/log access.log",
        "echo 'order 17 paid' | walnut log append --ack data/log",
    )
)
@arguments.directory
@click.argument("source", metavar="[FILE]", default="-")
@click.option("--ack", is_flag=True, help="Print each LSN as soon as its record is durable.")
def append(directory: str, source: str, *, ack: bool) -> None:
    """Append the lines of FILE, or of stdin, to the log at DIR.

    DIR is made if it is missing. Each line becomes a record, without its newline; any bytes will
    do. A pipe that stays open is appended as it comes. When this ends with exit code 0, every
    line is on disk; when it is killed, every LSN that --ack printed is.
    """
    with contextlib.ExitStack() as stack:
        file, size = _open_source(source, stack)
        log = stack.enter_context(arguments.open_to_write(directory))
        if note := recovery_note(log.recovery):
            click.echo(f"walnut: {note}", err=True)
        first = log.next_lsn
        shown = stack.enter_context(progress("appending", enabled=size > 0 and not ack))
        interrupts = stack.enter_context(Interrupts())
        try:
            done = 0
            for lines, read in read_lines(file, log.options.record_bytes, interrupts):
                lsn = log.append_many(lines)
                if ack:
                    _acknowledge(lsn, len(lines))
                done += read
                shown(done, size)
        finally:
            # Also on the way out with an error: what is in the log is there to stay.
            if not ack:
                appended = log.durable_lsn + 1 - first
                span = f": LSN {first} to {log.durable_lsn}" if appended else ""
                click.echo(f"{count(appended, 'record')} appended{span}")


def _open_source(source: str, stack: contextlib.ExitStack) -> tuple[BinaryIO, int]:
    """The bytes to append, and how many they are, 0 where that is not known."""
    if source == "-":
        if sys.stdin is None:
            raise click.UsageError("stdin is closed: name a FILE")
        return sys.stdin.buffer, 0
    path = Path(source)
    file = stack.enter_context(path.open("rb"))
    about = path.stat()
    return file, about.st_size if stat_module.S_ISREG(about.st_mode) else 0


def _acknowledge(first: int, number: int) -> None:
    write_out(b"".join(b"%d\n" % lsn for lsn in range(first, first + number)))
    sys.stdout.buffer.flush()


def read_lines(
    file: BinaryIO, longest: int, interrupts: Interrupts
) -> Iterator[tuple[list[bytes], int]]:
    """Lines without their newlines, as many as there are at a time, and the bytes read for them.

    A last line that has no newline is a line all the same.

    Raises RecordTooLarge once a line is over `longest`, when those before it have been given."""
    begun: list[bytes] = []
    number = length = 0

    def check(size: int) -> None:
        if size > longest:
            raise RecordTooLarge(
                f"line {number + 1} has more than {longest} bytes, the longest record there can be: "
                "split it. The lines before it were appended"
            )

    while chunk := interrupts.read(file, CHUNK):
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            check(len(lines[0]))  # the others are no longer than a chunk
            yield lines, len(chunk)
            number += len(lines)
            begun, length = [], 0
        begun.append(rest)
        length += len(rest)
        check(length)
    if length:
        yield [b"".join(begun)], 0


class _Readable(Protocol):
    def read1(self, size: int) -> bytes: ...


class Interrupts:
    """Lets Ctrl-C strike while waiting for input, and not in the middle of the log's work."""

    def __init__(self) -> None:
        self._struck = False
        self._reading = False
        self._before: object = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._strike)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def _strike(self, _number: int, _frame: FrameType | None) -> None:
        again, self._struck = self._struck, True
        if self._reading or again:
            raise KeyboardInterrupt

    def read(self, file: BinaryIO, size: int) -> bytes:
        """What there is to read, up to `size`; waits for the first byte; b"" at the end."""
        self._reading = True
        try:
            if self._struck:
                raise KeyboardInterrupt
            return cast("_Readable", file).read1(size)
        finally:
            self._reading = False


# -- cat and tail -------------------------------------------------------------------------------


@click.command(
    epilog=arguments.examples(
        "walnut log cat data/log",
        "walnut log cat data/log --start 2 --stop 5",
        "walnut log cat data/log --format json",
        "walnut log cat data/log --format hex --stop 2",
    )
)
@arguments.directory
@click.option(
    "--start",
    type=arguments.lsn,
    metavar="LSN",
    help="The first LSN to print; else the log's first.",
)
@click.option(
    "--stop",
    type=arguments.lsn,
    metavar="LSN",
    help="The LSN to stop before; else the end of the log.",
)
@in_format
def cat(directory: str, start: int | None, stop: int | None, form: str) -> None:
    """Print the records of the log at DIR, oldest first.

    Another process may be writing the log: what is durable when this starts is printed.
    """
    with LogReader(directory) as reader:
        begin = reader.first_lsn if start is None else start
        copy(reader, Reader(reader.directory, reader), begin, stop, form)


@click.command(
    epilog=arguments.examples(
        "walnut log tail data/log",
        "walnut log tail data/log -n 3 --format json",
        "walnut log tail data/log --follow",
        "walnut log tail data/log --follow --start 1",
    )
)
@arguments.directory
@click.option("-n", "--lines", type=click.IntRange(min=0), default=None, help="How many.  [10]")
@click.option("--start", type=arguments.lsn, metavar="LSN", help="Begin at this LSN instead.")
@click.option("-f", "--follow/--no-follow", help="Go on with what is appended, until Ctrl-C.")
@in_format
def tail(directory: str, lines: int | None, start: int | None, form: str, *, follow: bool) -> None:
    """Print the last records of the log at DIR."""
    if lines is not None and start is not None:
        raise click.UsageError("use -n or --start: both say where to begin")
    with LogReader(directory) as reader:
        if start is None:
            wanted = 10 if lines is None else lines
            start = max(reader.first_lsn, reader.next_lsn - wanted)
        files = Reader(reader.directory, reader)
        lsn = copy(reader, files, start, None, form)
        while follow and reader.wait_for(lsn):
            lsn = copy(reader, files, lsn, None, form)


def copy(log: LogReader, files: Reader, start: int, stop: int | None, form: str) -> int:
    """Print the records in [start, stop) that are durable now; returns the LSN to go on from."""
    end = log.next_lsn
    if start > end:
        raise LsnUnknown(
            f"LSN {start} is past the end of the log, whose next LSN is {end}: "
            "start there or before"
        )
    end = end if stop is None else min(stop, end)
    if form == "raw":
        _copy_raw(files, start, end)
    else:
        ready = bytearray()  # few large writes: a pipe is slow with many small ones
        for piece in map(FORMS[form], files.read(start, end)):
            ready += piece
            if len(ready) >= CHUNK:
                write_out(ready)
                ready = bytearray()
        write_out(ready)
    sys.stdout.buffer.flush()
    return max(start, end)


def _copy_raw(files: Reader, start: int, stop: int) -> None:
    """A frame at a time, three times as fast as record by record."""
    if start >= stop:
        return
    for frame in files.frames(start, stop):
        first = frame.first_lsn
        records = frame.records()[max(0, start - first) : stop - first]
        if records:
            write_out(b"\n".join(records) + b"\n")


def write_out(data: bytes | bytearray) -> None:
    """Write all of it to stdout, which takes less at a time where PYTHONUNBUFFERED is set."""
    left = memoryview(data)
    while left:
        left = left[sys.stdout.buffer.write(left) :]
