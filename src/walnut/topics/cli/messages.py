"""Messages in and out: `append`, `read`, `tail`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import click
import msgspec

from walnut.log.cli.arguments import examples
from walnut.log.cli.arguments import moment as moment_
from walnut.log.cli.records import Interrupts, read_lines, write_out
from walnut.log.show import count
from walnut.store.cli import arguments
from walnut.store.cli.rows import who, why
from walnut.store.cli.values import jsonl
from walnut.store.record import utc
from walnut.topics.cli import views
from walnut.topics.cli.hands import open_to_read, open_to_write
from walnut.topics.errors import InvalidMessage
from walnut.topics.model import Message, Start

BATCH = 1000
"""Messages of one transaction."""

SHOWN = 1000
"""Messages of a table for people."""

LAST = 10
"""Messages that `tail` begins with."""


def start(text: str) -> Start:
    """Where to read from, as given on a command line."""
    if text in {"earliest", "latest"}:
        return "earliest" if text == "earliest" else "latest"
    if text.isascii() and text.isdecimal() and len(text) < 20:
        return int(text)
    return utc(moment_(text))


@click.command(
    epilog=examples(
        "printf 'hello\\nworld\\n' | walnut topics append --new shop greetings",
        "walnut topics append shop orders access.log",
        """echo '{"value": "paid"}' | walnut topics append shop orders --json""",
    )
)
@arguments.place
@views.topic
@click.argument("source", metavar="[FILE]", default="-")
@click.option("--json", "as_json", is_flag=True, help="Lines are messages as `read` prints them.")
@click.option("--new", is_flag=True, help="Make the store and the topic, if they are not there.")
@who
@why
def append(
    directory: str,
    topic: str,
    source: str,
    principal: str,
    reason: str,
    *,
    as_json: bool,
    new: bool,
) -> None:
    """Append the lines of FILE, or of stdin, to TOPIC, a message each.

    Up to a thousand lines are one transaction. When this ends with exit code 0, every message is
    durable; when it is refused, it says how many are.
    """
    with contextlib.ExitStack() as stack:
        if source == "-" and sys.stdin is None:
            raise click.UsageError("stdin is closed: name a FILE")
        file = sys.stdin.buffer if source == "-" else stack.enter_context(Path(source).open("rb"))
        topics = stack.enter_context(open_to_write(directory, principal, reason, new=new))
        topics.ready(topic, new=new)
        interrupts = stack.enter_context(Interrupts())
        done = 0
        try:
            for lines, _ in read_lines(file, topics.longest, interrupts):
                messages: Sequence[bytes | Message] = _read(lines, done) if as_json else lines
                waiting = iter(messages)
                while batch := list(islice(waiting, BATCH)):
                    topics.append(topic, batch)
                    done += len(batch)
        finally:
            click.echo(f"{count(done, 'message')} appended to {topic}")


def _read(lines: list[bytes], done: int) -> list[Message]:
    messages = []
    for number, line in enumerate(lines, done + 1):
        try:
            messages.append(views.read_message(line))
        except (msgspec.MsgspecError, ValueError) as error:
            raise InvalidMessage(
                f"line {number} is no message ({error}): the {count(done, 'line')} before those that "
                "were read with it are appended"
            ) from error
    return messages


@click.command(
    epilog=examples(
        "walnut topics read shop orders",
        "walnut topics read shop orders --start 1 --limit 2",
        "walnut topics read shop orders --start 2026-01-01 --format table",
    )
)
@arguments.place
@views.topic
@click.option(
    "--start", "begin", type=start, default="earliest", metavar="OFFSET|TIME",
    help="From there on; else from the first that is kept.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="So many at most.")
@views.format_
def read(directory: str, topic: str, begin: Start, limit: int | None, form: str | None) -> None:
    """Print messages of TOPIC, in the order of their offsets."""
    with open_to_read(directory) as topics:
        found = islice(topics.messages(topic, begin), limit)
        if views.is_table(form):
            views.print_messages(islice(found, SHOWN))
            return
        for message in found:
            write_out(jsonl(views.message_line(message)))


@click.command(
    epilog=examples(
        "walnut topics tail shop orders",
        "walnut topics tail shop orders --lines 1 --follow",
    )
)
@arguments.place
@views.topic
@click.option("--lines", "-n", type=click.IntRange(min=0), default=LAST, show_default=True,
              help="So many of the last messages.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on as they come, until Ctrl-C.")
@views.format_
def tail(directory: str, topic: str, lines: int, form: str | None, *, follow: bool) -> None:
    """Print the last messages of TOPIC, and with --follow those that come."""
    if follow and form == "table":
        raise click.UsageError("--follow has no end: leave out --format table")
    with open_to_read(directory) as topics:
        info = topics.info(topic)
        begin = max(info.first, info.next - lines)
        if not follow and views.is_table(form):
            views.print_messages(topics.messages(topic, begin))
            return
        found = topics.follow(topic, begin) if follow else topics.messages(topic, begin)
        for message in found:
            write_out(jsonl(views.message_line(message)))
            if follow:
                sys.stdout.buffer.flush()
