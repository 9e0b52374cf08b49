"""`python -m bench`: measure, and print one table."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bench.booking_rows import BOOKING_ROWS
from bench.http_rows import HTTP_ROWS
from bench.jobs_rows import JOBS_ROWS
from bench.measure import Row, Setting
from bench.peers import contestants
from bench.rows import ROWS as LOG_ROWS
from bench.rows import machine
from bench.store_rows import STORE_ROWS
from bench.topics_rows import TOPICS_ROWS

ROWS = LOG_ROWS | STORE_ROWS | TOPICS_ROWS | JOBS_ROWS | HTTP_ROWS | BOOKING_ROWS


@click.command()
@click.option("--quick", is_flag=True, help="Ten times smaller, without the servers: a smoke test.")
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="These rows alone.")
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--dir",
    "folder",
    default=".build/bench",
    show_default=True,
    help="A folder on the disk to measure.",
)
@click.option("--json", "json_file", type=click.Path(), help="Write the rows here too.")
@click.option("--markdown", type=click.Path(), help="Write the table here too.")
def main(
    *,
    quick: bool,
    only: tuple[str, ...],
    rounds: int,
    folder: str,
    json_file: str | None,
    markdown: str | None,
) -> None:
    """Measure Walnut beside its peers and the machine's limits. Targets are ratios."""
    console = Console(width=max(150, Console().width))  # a table that wraps can not be read
    setting = Setting(Path(folder), 1 if quick else rounds, 0.1 if quick else 1.0)
    setting.folder.mkdir(parents=True, exist_ok=True)
    console.print(machine(setting.folder))
    rows: list[Row] = []
    try:
        with contestants(setting, servers=not quick) as (peers, absent):
            for name in only or list(ROWS):
                with console.status(name):
                    rows += ROWS[name](setting, peers)
    finally:
        shutil.rmtree(setting.folder, ignore_errors=True)
    for line in absent:
        console.print(f"not measured: {line}", style="yellow")
    console.print(table(rows))
    if json_file:
        Path(json_file).write_bytes(msgspec.json.encode(rows))
    if markdown:
        Path(markdown).write_text(text(rows))


def cells(row: Row) -> list[str]:
    sign = "≥" if row.better == "more" else "≤"
    wanted = (
        ("", "")
        if row.target is None
        else (f"{sign} {row.target:g}", "met" if row.met else "missed")
    )

    def figure(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"

    return [
        row.what,
        figure(row.ours) + row.unit,
        row.peer,
        figure(row.theirs) + row.unit,
        f"{row.ratio:,.2f}",
        *wanted,
    ]


HEADS = ["what", "Walnut", "beside", "theirs", "ratio", "target", ""]


def table(rows: list[Row]) -> Table:
    """For the terminal."""
    drawn = Table(box=None, header_style="dim", padding=(0, 1))
    for number, head in enumerate(HEADS):
        drawn.add_column(head, justify="right" if number in {1, 3, 4, 5} else "left")
    for row in rows:
        drawn.add_row(*cells(row), style=None if row.met else "yellow")
    return drawn


def text(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [HEADS, ["---", "--:", "---", "--:", "--:", "--:", "---"], *map(cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
