"""Rounds, medians, and the rows they make."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec


class Row(msgspec.Struct):
    """One figure beside another. `better` is "more" or "less"; `target` bounds the ratio
    ours/theirs, and is None where the figure only informs."""

    what: str
    ours: float
    theirs: float
    peer: str
    unit: str
    target: float | None = None
    better: str = "more"

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else 0.0

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        return self.ratio >= self.target if self.better == "more" else self.ratio <= self.target


class Setting(msgspec.Struct):
    """Where to measure, how many rounds, and how much smaller than in full."""

    folder: Path
    rounds: int
    scale: float

    def count(self, full: int) -> int:
        return max(10, int(full * self.scale))

    def fresh(self, name: str) -> Path:
        """An empty place of this name."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path


Contestant = Callable[[], float]


def medians(contestants: dict[str, Contestant], rounds: int) -> dict[str, float]:
    """Each contestant's median over rounds in which all take turns, so that drift hits all."""
    results: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            results[name].append(run())
    return {name: statistics.median(values) for name, values in results.items()}


def rate(count: int, work: Callable[[], object]) -> float:
    """How many a second, of `count` done by `work`."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def in_threads(threads: int, work: Callable[[int], object]) -> None:
    """Run work(number) in so many threads at once."""
    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
