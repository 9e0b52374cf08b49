"""`walnut-sim`: run the simulator over many seeds, or replay one."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import click
from rich.console import Console
from rich.progress import track

from walnut.testing.booking_bugs import BOOKING_BUGS
from walnut.testing.booking_simulator import simulate_booking
from walnut.testing.bugs import BUGS, switched_on
from walnut.testing.jobs_bugs import JOBS_BUGS
from walnut.testing.jobs_simulator import simulate_jobs
from walnut.testing.simulator import Outcome, simulate
from walnut.testing.store_bugs import STORE_BUGS
from walnut.testing.store_simulator import simulate_store
from walnut.testing.topics_bugs import TOPICS_BUGS
from walnut.testing.topics_simulator import simulate_topics

LIVES: Final = {
    "": simulate,
    "store": simulate_store,
    "jobs": simulate_jobs,
    "topics": simulate_topics,
    "booking": simulate_booking,
}


SEEDS_OF_A_POOL: Final = 800
"""Then its processes are replaced."""


@click.command()
@click.option("--seeds", default=2000, show_default=True, help="How many seeds to run.")
@click.option("--start", default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=int, help="Run this one alone.")
@click.option("--trace", is_flag=True, help="With --seed: print every step and every I/O call.")
@click.option("--processes", default=2, show_default=True, help="Processes to run in.")
@click.option(
    "--store", "of", flag_value="store", help="Live the lives of whole stores, not of logs alone."
)
@click.option("--jobs", "of", flag_value="jobs", help="Live the lives of servers that run jobs.")
@click.option("--topics", "of", flag_value="topics", help="Live the lives of stores with topics.")
@click.option("--booking", "of", flag_value="booking", help="Live the lives of bookings.")
@click.option(
    "--bug",
    type=click.Choice(sorted(BUGS | STORE_BUGS | JOBS_BUGS | TOPICS_BUGS | BOOKING_BUGS)),
    help="Switch a deliberate bug on.",
)
def main(
    seeds: int,
    start: int,
    seed: int | None,
    *,
    trace: bool,
    processes: int,
    of: str | None,
    bug: str | None,
) -> None:
    """Live the lives of logs, of stores, jobs, topics or bookings, on disks that fail; check every promise.

    Exits with 1 when a promise was broken, naming each seed and how to replay it.
    """
    live = LIVES[of or ""]
    with switched_on(bug):
        if seed is not None:
            outcome = live(seed, trace=trace)
            click.echo("\n".join(outcome.trace), nl=bool(outcome.trace))
            report([outcome], 0.0, of)
            return
        started = time.perf_counter()
        numbers = range(start, start + seeds)
        shown = track(
            lived(live, numbers, processes),
            "simulating",
            seeds,
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        outcomes = list(shown)
    report(outcomes, time.perf_counter() - started, of)


def lived(live: Callable[..., Outcome], seeds: Sequence[int], processes: int) -> Iterator[Outcome]:
    """What came of each seed. Processes are replaced on the way, as stores that crashed leave cycles
    that no garbage collector sees: tickets are hidden from it."""
    for begin in range(0, len(seeds), SEEDS_OF_A_POOL):
        with ProcessPoolExecutor(processes) as pool:
            yield from pool.map(live, seeds[begin : begin + SEEDS_OF_A_POOL], chunksize=20)


def report(outcomes: list[Outcome], seconds: float, of: str | None) -> None:
    """Print what happened; exit with 1 if a seed failed."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    for name, count in sorted(counts.items()):
        click.echo(f"{count:>10,}  {name}")
    failed = [outcome for outcome in outcomes if outcome.failure]
    rate = f", {len(outcomes) / seconds:.0f} a second" if seconds else ""
    click.echo(f"{len(outcomes):>10,}  seeds{rate}; {len(failed)} broke a promise")
    for outcome in failed[:20]:
        click.echo(f"seed {outcome.seed}: {outcome.failure}", err=True)
        which = f"--{of} " if of else ""
        click.echo(f"    replay: walnut-sim {which}--seed {outcome.seed} --trace", err=True)
    if failed:
        sys.exit(1)
