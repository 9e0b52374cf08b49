"""`walnut topics`: topics from a shell.

    messages.py  append, read, tail: messages in and out
    care.py      list, create, stat, truncate, delete: the topics themselves
    hands.py     who does it: the command itself, or a server
    views.py     both as JSON and as tables

Every example in these commands' help is run by `tests/test_help.py`.
"""

from __future__ import annotations

import click

from walnut.log.cli.arguments import examples
from walnut.topics.cli.care import create, delete, list_, stat, truncate
from walnut.topics.cli.messages import append, read, tail


@click.group(
    epilog=examples(
        "printf 'hello\\nworld\\n' | walnut topics append --new shop greetings",
        "walnut topics read shop greetings",
        "walnut topics list shop --format table",
    )
)
def topics() -> None:
    """Topics in a store: append to them, read them, look after them.

    Messages come out as a line of JSON each, or as a table where people look. What reads here may be
    used while another process writes the store. What writes is done by the server that has the
    store open, if one has; while a program has it open, only that can write.
    """


for _command in (list_, create, append, read, tail, stat, truncate, delete):
    topics.add_command(_command)
