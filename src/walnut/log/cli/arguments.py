"""Arguments that several commands share, and how they are read."""

from __future__ import annotations

import re
from datetime import datetime

import click

from walnut.client.place import Directory, server_of
from walnut.log.errors import LogLocked
from walnut.log.log import Log
from walnut.log.model import MAX_LSN

directory = click.argument("directory", metavar="DIR", type=Directory("store/log"))
place = click.argument("directory", metavar="DIR", type=Directory("store/log", remote=True))
"""A DIR, or the URL of a server."""


def open_to_write(directory: str) -> Log:
    """The log in a directory, made if it is missing. Raises LogLocked and as `Log`."""
    try:
        return Log(directory)
    except LogLocked as error:
        if (server := server_of(directory)) is None:
            raise
        raise LogLocked(
            f"{directory} belongs to the server at {server}, which alone writes and truncates it: append "
            "to a topic, by `walnut topics append`, or stop the server first"
        ) from error


def examples(*lines: str) -> str:
    """The end of a help text: commands to try, each of which a test runs."""
    return "\n".join(["\b", "Try:", *(f"  $ {line}" for line in lines)])


def lsn(text: str) -> int:
    """An LSN."""
    if text.isascii() and text.isdecimal() and 1 <= int(text[:20]) <= MAX_LSN:
        return int(text)
    raise click.BadParameter(f"{text!r} is not an LSN, which is a number from 1.")


def moment(text: str) -> int:
    """A time as people and `--format json` write it, in nanoseconds since the Unix epoch.

    Every digit counts, since records are told apart by nanoseconds."""
    fraction = re.search(r"(?<=:\d\d)[.,](\d{1,9})", text)
    whole = text.replace(fraction.group(), "", 1) if fraction else text
    try:
        seconds = int(datetime.fromisoformat(whole.strip()).timestamp())
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is not a time like 2026-07-21T10:00:00Z (without a zone: local time)."
        ) from error
    return seconds * 10**9 + (int(fraction.group(1).ljust(9, "0")) if fraction else 0)
