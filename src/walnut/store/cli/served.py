"""A store behind a server, for the commands of `walnut store`: what they do to a directory that they open
themselves, asked of the server that has it open.

    open_to_write(DIR) ─┬─ nobody has it open ─▶ Store        here
                        └─ a server has it ────▶ Served       through its socket, or by its URL

What must stay true: arguments, output and exit codes are those of the same command without a server.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import click
import msgspec

from walnut.client.client import Client
from walnut.client.errors import Invalid, NotThere
from walnut.client.model import Change, TableInfo
from walnut.client.place import client_of, server_of
from walnut.client.transport import part
from walnut.log.show import Progressed
from walnut.store.backup import BackupReport
from walnut.store.cli import values
from walnut.store.errors import UnknownTable, WrongType
from walnut.store.keys import Key

BATCH: Final = 1000
"""Rows of one transaction: the most the server takes."""
BATCH_BYTES: Final = 4 << 20
"""Bytes of them, about: well below what a request, and a record of the log, may have."""

POLL_SECONDS: Final = 0.2
"""Between two looks at how far a backup is."""


class Served:
    """A server's tables, as commands use them."""

    def __init__(self, client: Client, place: str) -> None:
        self._client = client
        self._place = place

    @contextmanager
    def _knowing(self, table: str, hint: str = "") -> Iterator[None]:
        """An unknown table is told as it is without a server."""
        try:
            yield
        except NotThere as error:
            if error.slug != "unknown-table":
                raise
            there = ", ".join(info.name for info in self.tables()) or "none"
            raise UnknownTable(
                f"there is no table {table!r} in {self._place}; there are: {there}{hint}"
            ) from error

    def row(self, table: str, key: Key) -> dict[str, Any] | None:
        """The row with a key. Raises UnknownTable."""
        with self._knowing(table):
            return self._client.table(table).get(key)

    def rows(
        self, table: str, prefix: Key, start: Key, stop: Key, limit: int | None, *, reverse: bool
    ) -> Iterator[dict[str, Any]]:
        """Rows in the order of their keys. Raises UnknownTable."""
        with self._knowing(table):
            yield from self._client.table(table).scan(
                prefix=prefix, start=start, stop=stop, limit=limit, reverse=reverse
            )

    def tables(self) -> Iterator[TableInfo]:
        """The tables there are."""
        return self._client.tables()

    def changes(
        self, since: int | None, upto: int | None, tables: tuple[str, ...], *, follow: bool
    ) -> Iterator[Change]:
        """What transactions changed. Raises UnknownTable."""
        with self._knowing(", ".join(tables)):
            yield from self._client.changes(
                since or 0, upto=upto, tables=tables or None, follow=follow
            )

    def put(self, table: str, lines: Iterator[bytes], *, new: bool) -> Iterator[int]:
        """Put a row of JSON from each line, many to a transaction; how many are put, after each.

        Raises WrongType: a line is no row; those of the transactions before it were put."""
        if new:
            self._client.create_table(table)
        done = 0
        while batch := list(islice(_sized(lines), BATCH)):
            rows = [_row(table, line, number, done) for number, line in enumerate(batch, done + 1)]
            try:
                with self._knowing(table, ": --new makes one"):
                    self._client.transaction(
                        [{"op": "put", "table": table, "row": row} for row in rows]
                    )
            except Invalid as error:
                last = done + len(rows)
                which = f"row {last}" if len(rows) == 1 else f"one of the rows {done + 1} to {last}"
                raise WrongType(
                    f"{which} is none of {table} ({error}); those before this transaction were put, "
                    f"{done} of them"
                ) from error
            done += len(rows)
            yield done

    def delete(self, table: str, key: Key) -> bool:
        """Delete a row; whether there was one."""
        try:
            with self._knowing(table):
                self._client.table(table).delete(key)
        except NotThere as error:
            if error.slug == "unknown-row":
                return False
            raise
        return True

    def checkpoint(self) -> int:
        """Flush the tables; the LSN up to which."""
        answer = self._client.transport.request("POST", "/v1/checkpoint")
        return msgspec.json.decode(answer.body, type=_Flushed).lsn

    def backup(self, place: str, *, hold: bool, progress: Progressed) -> BackupReport:
        """Back up to a place that walnut.toml names, and wait for the end.

        Raises ClickException: it failed; OutcomeUnknown, for a restart meanwhile."""
        transport, path = self._client.transport, f"/v1/backups/{part(place)}"
        body = msgspec.json.encode({"hold": hold})
        answer = transport.request("POST", path, body=body)
        began = msgspec.json.decode(answer.body, type=_Run).began
        while True:
            time.sleep(POLL_SECONDS)
            run = msgspec.json.decode(transport.request("GET", path).body, type=_Looked).backup
            if run is None or run.began != began:
                raise click.ClickException(
                    f"the backup to {place} was cut short, as the server was restarted: begin it again"
                )
            progress(run.done, run.total or None)
            if run.error:
                raise click.ClickException(run.error)
            if run.ended and run.stored is not None:
                return run.stored


@contextmanager
def served(place: str, principal: str = "", reason: str = "") -> Iterator[Served | None]:
    """The server that answers for a place; None where the directory is to be opened."""
    address = server_of(place)
    if address is None:
        yield None
        return
    with client_of(address, principal=principal, reason=reason) as client:
        yield Served(client, place)


def refuse_declare(declare: str | None) -> None:
    """A server declares the tables of programs itself, or leaves them to their programs."""
    if declare is not None:
        raise click.UsageError(
            "--declare is for a store that no server has open: leave it out, or stop the server"
        )


def table_facts(info: TableInfo) -> dict[str, Any]:
    """A table as `walnut store tables` prints it."""
    return {
        "name": info.name,
        "schema": info.schema,
        "indexes": [index["name"] for index in info.indexes],
        "subjects": info.subjects,
        "before": info.before,
    }


def change_line(change: Change) -> dict[str, Any]:
    """A change as `walnut store changes` prints it."""
    line: dict[str, Any] = msgspec.to_builtins(change)
    del line["position"]
    return {
        name: value
        for name, value in line.items()
        if value or name not in {"principal", "reason", "request_id"}
    }


def change_row(change: Change) -> dict[str, Any]:
    """A change as a row for people."""
    now = "deleted" if change.after is None else change.after
    return {
        "lsn": change.lsn,
        "time": values.local_time(change.time),
        "table": change.table,
        "key": change.key,
        "now": "erased" if now == {"erased": True} else now,
        "by": ": ".join(filter(None, (change.principal, change.reason))),
    }


class _Flushed(msgspec.Struct):
    lsn: int


class _Run(msgspec.Struct):
    began: int
    ended: int = 0
    done: int = 0
    total: int = 0
    stored: BackupReport | None = None
    error: str = ""


class _Looked(msgspec.Struct):
    backup: _Run | None = None


def _row(table: str, line: bytes, number: int, done: int) -> msgspec.Raw:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WrongType(
            f"row {number} is none of {table} ({error}); those before transaction "
            f"{done // BATCH + 1} were put, {done} of them"
        ) from error
    return msgspec.Raw(line)


def _sized(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines, until they have the bytes of a transaction."""
    size = 0
    for line in lines:
        yield line
        size += len(line)
        if size >= BATCH_BYTES:
            return
