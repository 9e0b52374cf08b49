"""The last lines of `make test`: what passed, and by name what was not run.

A skipped test is easy to overlook and proves nothing. So pytest's JUnit file is read once more
and every skip is listed with its reason. A reason ends with the command that would make the test
run: `pytest.skip("needs PostgreSQL; enable with: sudo apt-get install postgresql")`.

With CI=true the list must be empty. Expected failures (xfail) did run, and are not listed.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET


def main(report: Path) -> int:
    """Print the closing lines for a JUnit file; the exit code."""
    suites = ET.parse(report).getroot()  # noqa: S314 - written by our own pytest a moment ago
    skipped = list(not_run(suites))
    for name, reason in skipped:
        how = "" if "enable with:" in reason else "; enable with: (the reason does not say)"
        print(f"not run: {name}: {reason}{how}")
    passed = sum(not case.findall("skipped") for case in suites.iter("testcase"))
    print(f"pytest: {passed} passed, {len(skipped)} not run")
    if skipped and os.environ.get("CI") == "true":
        print("CI=true: every test has to run", file=sys.stderr)
        return 1
    return 0


def not_run(suites: ET.Element) -> Iterator[tuple[str, str]]:
    """Name and reason of each skipped test, and of each file skipped whole."""
    for case in suites.iter("testcase"):
        for skip in case.findall("skipped"):
            if skip.get("type") == "pytest.skip":
                yield node_id(case), " ".join(skip.get("message", "").split())
            elif skip.get("type") != "pytest.xfail":
                # A file skipped while pytest collected it: the reason is in a tuple's repr.
                _, _, reason = ast.literal_eval(skip.text or "(0, 0, '')")
                yield case.get("file", "?"), reason.removeprefix("Skipped: ")


def node_id(case: ET.Element) -> str:
    """The name under which pytest runs this test again: path::Class::test."""
    path = case.get("file", "?")
    module = path.removesuffix(".py").replace("/", ".")
    classes = case.get("classname", "").removeprefix(module).strip(".").split(".")
    return "::".join([path, *filter(None, classes), case.get("name", "?")])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
