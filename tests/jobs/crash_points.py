"""Run `examples/trip.py` once for each point at which it can crash; start it again, and see what there is.

    python crash_points.py DIRECTORY [FIRST EVERY]

A point is any write or sync of the log, and any moment before or after something happens outside. The
process is gone at the point, as by `kill -9`. A line for each: the point, its exit, and the world then.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.trip import World, main
from walnut.log.disk import RealFile
from walnut.store import Store  # noqa: F401  loaded before the forks, which then begin at once

GONE = 9


class Points:
    """Counts points; the process is gone at the one that was chosen."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self) -> None:
        """Pass a point."""
        self.left -= 1
        if self.left == 0:
            os._exit(GONE)


def live(directory: Path, points: Points) -> int:
    """The program, in a process of its own; how it ended."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for name in ("write", "sync"):
            crashing(name, points)
        asyncio.run(main(directory, points))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def crashing(name: str, points: Points) -> None:
    """Have a method of files pass a point before it does anything."""
    method: Any = getattr(RealFile, name)

    def passing(*args: Any) -> Any:
        points()
        return method(*args)

    setattr(RealFile, name, passing)


def try_all(directory: Path, first: int, every: int) -> None:
    """Each so many points, until the program gets to its end before the point."""
    for point in itertools.count(first, every):
        folder = directory / str(point)
        end = live(folder, Points(point))
        again = live(folder, Points(0)) if end == GONE else end
        world = World(folder / "world.db")
        acts = ("charge", "book", "refund", "mail: enjoy", "mail: sorry")
        told = [world.balance(guest) for guest in ("ann", "bob")] + [
            world.count(act) for act in acts
        ]
        print(point, end, again, *told, flush=True)
        if end != GONE:
            return


if __name__ == "__main__":
    try_all(Path(sys.argv[1]), *map(int, sys.argv[2:] or (1, 1)))
