"""Arguments that several commands share, and how they are read."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import click

from walnut.log.model import MAX_LSN

LSN = click.IntRange(min=1, max=MAX_LSN)

directory = click.argument("directory", metavar="DIR")


class Moment(click.ParamType[int]):
    """A time as people and `--format json` write it, in nanoseconds since the Unix epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it; every digit counts, since records are told apart by nanoseconds."""
        if isinstance(value, int):
            return value
        fraction = re.search(r"(?<=:\d\d)[.,](\d{1,9})", value)
        whole = value.replace(fraction.group(), "", 1) if fraction else value
        try:
            seconds = int(datetime.fromisoformat(whole.strip()).timestamp())
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time like 2026-07-21T10:00:00Z (without a zone: local time)",
                param,
                ctx,
            )
        return seconds * 10**9 + (int(fraction.group(1).ljust(9, "0")) if fraction else 0)
