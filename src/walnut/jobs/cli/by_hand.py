"""Jobs and queues put right by hand: `retry`, `cancel`, `drop`, `pause`, `resume`.

What must stay true: each job is a transaction of its own, with who did it and why; one that is refused
is named and holds up no other.
"""

from __future__ import annotations

from typing import Final

import click

from walnut.client.address import is_url, parse
from walnut.client.errors import Refused
from walnut.client.place import client_of
from walnut.jobs.cli import arguments
from walnut.jobs.cli.hands import Deed, Hand, open_to_write
from walnut.jobs.errors import JobsError, NotPossible, UnknownQueue
from walnut.jobs.model import Pause
from walnut.jobs.overview import Which, check_names, dead, in_order, pauses
from walnut.log.cli.arguments import examples
from walnut.log.show import count, moment
from walnut.store.errors import StoreError

AT_ONCE: Final = 256
"""Transactions under way together, which share what the disk costs."""


# -- jobs ---------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "walnut jobs dead work --format ids | xargs -r walnut jobs retry work",
        "walnut jobs retry work --all-dead --task app.send --why 'server is back'",
    )
)
@arguments.place
@arguments.some_jobs
@click.option("--all-dead", is_flag=True, help="All dead letters.")
@click.option("--task", metavar="TASK", help="With --all-dead: of this task.")
@arguments.who
@arguments.why
def retry(
    directory: str,
    jobs: tuple[str, ...],
    task: str | None,
    principal: str,
    reason: str,
    *,
    all_dead: bool,
) -> None:
    """Give each JOB that is dead or was cancelled a new beginning, with all its tries.

    One that waits for its next try has it at once. A workflow goes on at its first step that
    failed. They run when a program runs the jobs. Each is a transaction of its own; if one is
    refused, the others are done, and the exit code is 1.
    """
    if bool(jobs) == all_dead:
        raise click.UsageError("name each JOB, or use --all-dead")
    if task is not None and not all_dead:
        raise click.UsageError("--task says which of --all-dead")
    if all_dead:
        ids = _dead(directory, task)
        if not ids:
            click.echo("no dead letters")
            return
    else:
        ids = arguments.find_all(directory, jobs)
    with open_to_write(directory, principal, reason) as hand:
        _each(hand, ids, "retried", "retry")


def _dead(directory: str, task: str | None) -> list[str]:
    """The ids of all dead letters, in an order in which they can be retried.

    Raises UnknownTask if there are none, as there is no such task."""
    if is_url(directory):
        with client_of(parse(directory)) as client:
            return [job["id"] for job in client.jobs.dead(task=task)][::-1]
    with arguments.open_to_read(directory) as (reader, tables):
        which = Which(task=task)
        ids = in_order(dead(tables, reader, which))
        if not ids:
            check_names(tables, reader, which)
        return ids


@click.command(
    epilog=examples(
        "walnut jobs cancel work $(walnut jobs list work --limit 1 --format ids)",
    )
)
@arguments.place
@arguments.some_jobs
@arguments.who
@arguments.why
def cancel(directory: str, jobs: tuple[str, ...], principal: str, reason: str) -> None:
    """End each JOB that has not ended, and with it those that come after it.

    --why becomes its error. Each is a transaction of its own; if one is refused, the others are
    done, and the exit code is 1.
    """
    ids = arguments.find_all(directory, _named(jobs))[::-1]  # or one would take the others with it
    with open_to_write(directory, principal, reason) as hand:
        _each(hand, ids, "cancelled", "cancel")


@click.command(
    epilog=examples(
        "walnut jobs dead work --format ids | xargs -r walnut jobs drop work",
    )
)
@arguments.place
@arguments.some_jobs
@arguments.who
@arguments.why
def drop(directory: str, jobs: tuple[str, ...], principal: str, reason: str) -> None:
    """Forget each JOB, which has ended; dead letters too. There is no way back.

    Each is a transaction of its own; if one is refused, the others are done, and the exit code
    is 1.
    """
    ids = arguments.find_all(directory, _named(jobs))[
        ::-1
    ]  # as a result is kept while it is needed
    with open_to_write(directory, principal, reason) as hand:
        _each(hand, ids, "dropped", "drop")


def _named(jobs: tuple[str, ...]) -> tuple[str, ...]:
    if not jobs:
        raise click.UsageError("Missing argument 'JOB...'.")
    return jobs


def _each(hand: Hand, ids: list[str], done: str, deed: Deed) -> None:
    """Do it to each of them, and say to how many and why not to others."""
    refused: list[str] = []
    for begin in range(0, len(ids), AT_ONCE):
        waits = [hand.begin(deed, id_) for id_ in ids[begin : begin + AT_ONCE]]
        for wait in waits:
            try:
                wait()
            except (JobsError, StoreError, Refused) as error:
                refused.append(str(error))
    if len(ids) > len(refused):
        click.echo(f"{count(len(ids) - len(refused), 'job')} {done}")
    for text in refused[:-1]:
        click.echo(f"walnut: {text}", err=True)
    if refused:
        raise click.ClickException(refused[-1])


# -- queues -------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "walnut jobs pause work mail --by ann --why 'mail server is down'",
        "walnut jobs pause work reports --new",
    )
)
@arguments.place
@click.argument("queue")
@click.option("--new", is_flag=True, help="Also if no job is of this queue yet.")
@arguments.who
@arguments.why
def pause(directory: str, queue: str, principal: str, reason: str, *, new: bool) -> None:
    """Start no more jobs of QUEUE, until `resume`. What runs goes on.

    It stays paused when the program that runs the jobs is started again.
    """
    known = _pauses(directory, None if new else queue).get(queue)
    if known is not None:
        by = f" by {known.by}" if known.by else ""
        click.echo(f"{queue} is paused already, since {moment(known.since)}{by}")
        return
    with open_to_write(directory, principal, reason) as hand:
        hand.pause(queue)
    click.echo(f"{queue} is paused")


@click.command(
    epilog=examples("walnut jobs pause work mail", "walnut jobs resume work mail --by ann")
)
@arguments.place
@click.argument("queue")
@arguments.who
@arguments.why
def resume(directory: str, queue: str, principal: str, reason: str) -> None:
    """Go on with QUEUE, which was paused. Exits with 1 if it is not."""
    paused = _pauses(directory, None)
    if queue not in paused:
        raise NotPossible(
            f"{queue} is not paused; these are: {', '.join(sorted(paused)) or 'none'}"
        )
    with open_to_write(directory, principal, reason) as hand:
        hand.resume(queue)
    click.echo(f"{queue} goes on")


def _pauses(directory: str, known: str | None) -> dict[str, Pause]:
    """The queues that are paused. Raises UnknownQueue: there is none of the name `known`."""
    if not is_url(directory):
        with arguments.open_to_read(directory) as (reader, tables):
            found = pauses(tables, reader)
            if known is not None and known not in found:
                check_names(tables, reader, Which(queue=known))
            return found
    with client_of(parse(directory)) as client:
        queues = client.jobs.queues()
    names = [one.queue for one in queues]
    if known is not None and known not in names:
        raise UnknownQueue(
            f"no job is of the queue {known!r}; there are: {', '.join(names) or 'none'}"
        )
    return {
        one.queue: Pause(one.queue, one.paused["since"], one.paused["by"])
        for one in queues
        if one.paused is not None
    }
