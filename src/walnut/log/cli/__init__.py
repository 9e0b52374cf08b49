"""`walnut log`: the log from a shell.

    records.py   append, cat, tail: records in and out
    care.py      stat, verify, repair, truncate, slots: the log itself
    copies.py    archive, restore: the log elsewhere

Every example in these commands' help is run by `tests/test_help.py`.
"""

from __future__ import annotations

import click

from walnut.log.cli import arguments
from walnut.log.cli.care import repair, slots, stat, truncate, verify
from walnut.log.cli.copies import archive, restore
from walnut.log.cli.records import append, cat, tail


@click.group(
    epilog=arguments.examples(
        "printf 'hello\\nworld\\n' | walnut log append data/log",
        "walnut log cat data/log",
        "walnut log stat data/log",
    )
)
def log() -> None:
    """A durable log of records in a directory: write it, read it, look after it.

    A record is any bytes; here, a line. Each gets a number, its LSN, from 1 on. One process at a
    time may write a log; any number may read it meanwhile.

    Exit codes: 0 done; 1 refused, the line on stderr says why; 2 wrong command line; 3 damage
    found; 130 interrupted; 141 the reader of the output went away.
    """


for _command in (append, cat, tail, stat, verify, repair, truncate, slots, archive, restore):
    log.add_command(_command)
