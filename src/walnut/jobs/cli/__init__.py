"""`walnut jobs`: durable work from a shell.

    look.py      list, show, dead: jobs
    ahead.py     timers: what happens when
    top.py       top: queues at work
    by_hand.py   retry, cancel, drop, pause, resume

Every example in these commands' help is run by `tests/test_help.py`.
"""

from __future__ import annotations

import click

from walnut.jobs.cli.ahead import timers
from walnut.jobs.cli.by_hand import cancel, drop, pause, resume, retry
from walnut.jobs.cli.look import dead, list_, show
from walnut.jobs.cli.top import top
from walnut.log.cli.arguments import examples


@click.group(
    epilog=examples(
        "walnut jobs top work --once",
        "walnut jobs list work --state dead --state waiting",
        "walnut jobs retry work --all-dead --by ann --why 'the mail server is back'",
    )
)
def jobs() -> None:
    """The jobs, timers and queues in the store at DIR: see them, put right what went wrong.

    list, show, dead, timers and top only read: use them while a program runs the jobs. retry,
    cancel, drop, pause and resume write: a server that has the store open does it for them; while
    a program has it, only that can, by its `walnut.Jobs`.

    A JOB is an id, or so many of its first digits, at least 8, that no other job's id begins with
    them: what `list` shows will do.

    Exit codes: as those of `walnut log`.
    """


for _command in (list_, show, dead, timers, top, retry, cancel, drop, pause, resume):
    jobs.add_command(_command)
