"""A saga that charges, books and mails, crashed at every point and started again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("crash_points.py")
GONE = 9
WORLD = [9900, 0, 2, 1, 1, 1, 1]
"""Ann paid and Bob did not; two charges, one room, one refund, a mail to each."""


def test_the_world_is_the_same_wherever_the_saga_crashed(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, tmp_path / str(first), str(first), "2"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (1, 2)
    ]
    points: dict[int, list[int]] = {}
    for process in processes:
        for line in process.communicate(timeout=280)[0].splitlines():
            point, *told = map(int, line.split())
            points[point] = told
        assert process.returncode == 0
    crashed = [point for point, (end, *_) in points.items() if end == GONE]
    assert len(crashed) > 100
    for point, (_, again, *world) in points.items():
        assert (again, world) == (0, WORLD), f"point {point}"
