"""The topics themselves: `list`, `create`, `stat`, `truncate`, `delete`."""

from __future__ import annotations

import click
import msgspec

from walnut.log.cli.arguments import examples
from walnut.log.show import console, count, facts_table, moment, size
from walnut.store.cli import arguments
from walnut.store.cli.rows import who, why
from walnut.store.cli.values import jsonl, rows_table
from walnut.topics.cli import views
from walnut.topics.cli.hands import open_to_read, open_to_write
from walnut.topics.model import TopicOptions


@click.command(
    "list", epilog=examples("walnut topics list shop", "walnut topics list shop --format table")
)
@arguments.place
@views.format_
def list_(directory: str, form: str | None) -> None:
    """List the topics of the store at DIR by name."""
    with open_to_read(directory) as topics:
        views.print_topics(topics.all(), table=views.is_table(form))


@click.command(
    epilog=examples(
        "walnut topics create shop audit",
        "walnut topics create --new plant sensors --keep-seconds 86400",
    )
)
@arguments.place
@views.topic
@click.option("--new", is_flag=True, help="Make the store, if it is not there.")
@click.option("--keep-seconds", type=float, metavar="N", help="Keep messages of this age.")
@click.option("--keep-bytes", type=int, metavar="N", help="Keep so many bytes.")
@click.option("--keep-messages", type=int, metavar="N", help="Keep so many messages.")
@who
@why
def create(
    directory: str,
    topic: str,
    keep_seconds: float | None,
    keep_bytes: int | None,
    keep_messages: int | None,
    principal: str,
    reason: str,
    *,
    new: bool,
) -> None:
    """Make a TOPIC. It keeps every message, unless it is told a limit."""
    options = TopicOptions(
        keep_seconds=keep_seconds, keep_bytes=keep_bytes, keep_messages=keep_messages
    )
    with open_to_write(directory, principal, reason, new=new) as topics:
        topics.create(topic, options)
    click.echo(f"{topic} made; keeps messages {_words(options)}")


def _words(options: TopicOptions) -> str:
    words = views.keeps(options)
    return words if words == "for ever" else f"within {words}"


@click.command(
    epilog=examples("walnut topics stat shop orders", "walnut topics stat shop orders --json")
)
@arguments.place
@views.topic
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def stat(directory: str, topic: str, *, as_json: bool) -> None:
    """Show a TOPIC at a glance, and how far its groups have read it."""
    with open_to_read(directory) as topics:
        info, positions = topics.info(topic), topics.positions(topic)
    if as_json:
        line = views.topic_line(info) | {"positions": msgspec.to_builtins(positions)}
        click.echo(jsonl(line), nl=False)
        return
    out, shown = console(), facts_table()
    shown.add_row("offsets", f"{info.first} up to, not with, {info.next}")
    shown.add_row("held", f"{count(info.messages, 'message')}, {size(info.bytes)}")
    shown.add_row("created", moment(info.created))
    if info.oldest:
        shown.add_row("oldest", moment(info.oldest))
    shown.add_row("keeps", views.keeps(info.options))
    out.print(shown)
    if positions:
        out.print()
        out.print(
            rows_table(
                [
                    {"group": p.group, "offset": p.offset, "lag": p.lag, "since": moment(p.time)}
                    for p in positions
                ]
            )
        )


@click.command(epilog=examples("walnut topics truncate shop orders 2 --by ann --why 'a mistake'"))
@arguments.place
@views.topic
@click.argument("before", type=click.IntRange(min=0), metavar="OFFSET")
@who
@why
def truncate(directory: str, topic: str, before: int, principal: str, reason: str) -> None:
    """Let go of the messages of TOPIC with offsets below OFFSET. There is no way back."""
    with open_to_write(directory, principal, reason) as topics:
        info = topics.truncate(topic, before)
    click.echo(f"{topic} begins at offset {info.first}")


@click.command(
    epilog=examples(
        "walnut topics create shop mistyped", "walnut topics delete shop mistyped --by ann"
    )
)
@arguments.place
@views.topic
@who
@why
def delete(directory: str, topic: str, principal: str, reason: str) -> None:
    """Delete a TOPIC and all it holds. There is no way back but a backup."""
    with open_to_write(directory, principal, reason) as topics:
        info = topics.delete(topic)
    click.echo(f"{topic} deleted; it held {count(info.messages, 'message')}")
