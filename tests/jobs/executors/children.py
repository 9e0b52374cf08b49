"""Programs that the tests start, and kill."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.jobs.executors.calls import call, left_by, returned, start
from tests.jobs.executors.tasks import task
from walnut.jobs.context import Context
from walnut.jobs.executors.processes import ProcessOptions, ProcessRunner
from walnut.jobs.executors.threads import ThreadRunner


@task
def of_main(ctx: Context, number: int) -> str:
    return f"{__name__} {number}"


def serve(folder: Path) -> None:
    """Children that sleep, that keep the interpreter's lock, that have processes of their own."""
    runner = ProcessRunner(ProcessOptions(workers=4), 1000)
    for name in ("deaf", "hog"):
        start(runner, call(name, 600, str(folder / name)))
    start(runner, call("offspring", str(folder / "offspring"))).result()
    pids = [pid for name in ("deaf", "hog", "offspring") for pid in left_by(folder / name)]
    print(*pids, flush=True)
    time.sleep(600)


def leave_open(folder: Path) -> None:
    """End without closing anything."""
    runner = ProcessRunner(ProcessOptions(workers=2), 1000)
    start(runner, call("deaf", 600, str(folder / "deaf")))
    print(*left_by(folder / "deaf"), flush=True)


def abandon(folder: Path) -> None:
    """End while an abandoned thread hangs."""
    runner = ThreadRunner(1, 1000)
    hung = call("deaf", 600, str(folder / "deaf"))
    start(runner, hung)
    left_by(folder / "deaf")
    runner.kill(hung)
    runner.close(0)
    print("ended", flush=True)


def own(_folder: Path) -> None:
    """Run a task of this program's main module."""
    runner = ProcessRunner(ProcessOptions(workers=1), 1000)
    print(returned(start(runner, call(of_main.target, 7)).result()), flush=True)
    runner.close(5)


def print_elsewhere(_folder: Path) -> None:
    """What tasks print goes to standard error, from where it is read with them."""
    runner = ProcessRunner(ProcessOptions(workers=1), 1000)
    os.write(1, b"we print\n")
    returned(start(runner, call("say")).result())
    runner.close(5)


if __name__ == "__main__":
    program: Callable[[Path], None] = globals()[sys.argv[1]]
    program(Path(sys.argv[2]))
