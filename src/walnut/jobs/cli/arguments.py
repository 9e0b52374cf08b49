"""Arguments that several commands share, and how a store's jobs are opened for them.

What must stay true: what a command is told is checked by reading, before the store is opened to write;
so a slip changes nothing, not even which tables there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import click

from walnut.client.address import is_url
from walnut.jobs.model import State
from walnut.jobs.overview import MIN_DIGITS, JobTables, Which, find, id_of, in_order, tables_of
from walnut.store.cli import arguments
from walnut.store.remote import StoreReader

STATES: Final = [state.name.lower() for state in State]

directory = arguments.directory
place = arguments.place
format_ = click.option(
    "--format", "format_", type=click.Choice(["table", "json"]), default="table",
    show_default=True, help="A table for people, or a line of JSON each, with times in UTC.",
)  # fmt: skip
queue = click.option("--queue", metavar="QUEUE", help="Of this queue.")
task = click.option("--task", metavar="TASK", help="Of this task.")
tenant = click.option("--tenant", metavar="TENANT", help="For this tenant.")
who = click.option("--by", "principal", default="", metavar="NAME", help="Who does this.")
why = click.option(
    "--why", "reason", default="", metavar="TEXT", help="Why; both are kept in the log."
)


def limit(default: int) -> Callable[[Any], Any]:
    """So many rows at most, if nothing else is said."""
    return click.option(
        "--limit", type=click.IntRange(min=1), default=default, show_default=True, metavar="NUMBER",
        help="So many at most.",
    )  # fmt: skip


class JobParameter(click.ParamType[str]):
    """An id of a job, or its beginning."""

    name = "job"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click."""
        found = id_of(value)
        if found is None:
            self.fail(
                f"{value!r} is no id of a job: give {MIN_DIGITS} to 32 of its hex digits, as "
                "`walnut jobs list` shows them.",
                param,
                ctx,
            )
        return found


JOB = JobParameter()
some_jobs = click.argument("jobs", metavar="JOB...", nargs=-1, type=JOB)


class Opened(NamedTuple):
    """A store that is read, and its tables of jobs."""

    reader: StoreReader
    tables: JobTables


@contextmanager
def open_to_read(path: str) -> Iterator[Opened]:
    """The jobs at a path, whoever has it open. Raises NotALog, NoJobs."""
    opened = open_anew(path)
    with opened.reader:
        yield opened


def open_anew(path: str) -> Opened:
    """The same; whoever calls it closes the reader."""
    reader = StoreReader(path)
    try:
        return Opened(reader, tables_of(reader))
    except BaseException:
        reader.close()
        raise


def find_all(path: str, beginnings: Sequence[str]) -> list[str]:
    """The ids that begin so, each once, in an order in which they can be retried.

    A server finds them itself. Raises UnknownJob, AmbiguousJob."""
    if is_url(path):
        return list(dict.fromkeys(beginnings))
    with open_to_read(path) as (reader, tables):
        return in_order(find(tables, reader, beginning) for beginning in beginnings)


def which(
    queue: str | None, task: str | None, tenant: str | None, states: Sequence[str] = ()
) -> Which:
    """What the options say."""
    return Which(
        states={State[name.upper()] for name in states}, queue=queue, task=task, tenant=tenant
    )
