"""The benchmarks run; what they measure is not for tests."""

import subprocess
import sys
from pathlib import Path


def test_a_quick_run_of_one_row_prints_a_table(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench",
        "--quick",
        "--only",
        "single",
        "--dir",
        str(tmp_path / "b"),
    ]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert "bare pwrite+fdatasync" in done.stdout
    assert "sqlite3" in done.stdout
