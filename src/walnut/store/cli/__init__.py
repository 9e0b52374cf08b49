"""`walnut store`: tables from a shell.

    rows.py      get, scan, put, delete: rows in and out, as JSON
    feed.py      changes: what transactions did
    care.py      stat, tables, checkpoint, verify, rebuild, fingerprint: the store itself
    copies.py    backup, restore: the store elsewhere

Every example in these commands' help is run by `tests/test_help.py`.
"""

from __future__ import annotations

import click

from walnut.log.cli.arguments import examples
from walnut.store.cli.care import checkpoint, fingerprint, rebuild, stat, tables, verify
from walnut.store.cli.copies import backup, restore
from walnut.store.cli.feed import changes
from walnut.store.cli.rows import delete, get, put, scan


@click.group(
    epilog=examples(
        """walnut store put --new shop notes '{"key": "n1", "value": "buy walnuts"}'""",
        "walnut store get shop notes n1",
        "walnut store scan shop notes --format table",
    )
)
def store() -> None:
    """Tables folded from a log in a directory: read them, write them, look after them.

    Rows go in and come out as JSON. What reads here may be used while another process writes the
    store. What writes is done by the server that has the store open, if one has; while a program
    has it open, only that can write.

    Exit codes: as those of `walnut log`; 3 is what `verify` ends with when tables and log, or
    a backup and its store, differ.
    """


for _command in (
    get, scan, put, delete, changes, stat, tables, checkpoint, backup, restore, verify, rebuild,
    fingerprint,
):  # fmt: skip
    store.add_command(_command)
