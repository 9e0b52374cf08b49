"""`walnut store`, as people and scripts meet it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pty
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.store.helpers import SMALL, Guest, Room, guests_of, rooms_of
from walnut.cli import walnut
from walnut.store import Store
from walnut.store.cli import values

PROGRAM = """
import msgspec

class Room(msgspec.Struct):
    id: str
    hotel: str
    beds: int

def tables(store):
    rooms = store.table("rooms", Room, key=lambda room: room.id, before=True)
    rooms.index("by_hotel", lambda room: room.hotel)

not_a_function = 1

def failing(store):
    raise KeyError("no such hotel")

def failing_index(store):
    rooms = store.table("rooms", Room, key=lambda room: room.id, before=True)
    rooms.index("by_hotel", lambda room: room.hotel["x"])
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, with a store `shop` and the program that made it."""
    (tmp_path / "shop_app.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    with Store("shop", SMALL) as store:
        rooms, guests = rooms_of(store), guests_of(store)
        rooms.index("by_hotel", lambda room: room.hotel)
        with store.transaction() as tx:
            rooms.put(tx, Room("r1", "h1", 2))
            rooms.put(tx, Room("r2", "h1", 1))
            guests.put(tx, Guest("g1", "ann@example.org"))
    return tmp_path


def run(*args: object, stdin: str = "") -> Result:
    return CliRunner().invoke(walnut, ["store", *map(str, args)], input=stdin, prog_name="walnut")


def lines(*args: object) -> list[Any]:
    """The lines of JSON that a command printed."""
    result = run(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(*args: object, code: int = 1, stdin: str = "") -> str:
    result = run(*args, stdin=stdin)
    assert result.exit_code == code
    assert result.stderr.startswith("walnut: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


# -- documents: tables without a program ----------------------------------------------------------


def test_documents_are_put_got_scanned_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note = {"key": "n1", "value": {"text": "Grüße", "tags": ["a", 1, None]}}
    assert run("put", "--new", "data", "notes", json.dumps(note)).stdout == "1 row put\n"
    assert lines("get", "data", "notes", "n1") == [note]
    table = run("get", "data", "notes", "n1", "--format", "table").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["key", "n1"]
    many = "".join(json.dumps({"key": f"k{n:04}", "value": n}) + "\n" for n in range(2500))
    assert run("put", "data", "notes", "-", stdin=many).stdout == "2,500 rows put\n"
    found = lines("scan", "data", "notes", "--start", "k0010", "--limit", 3)
    assert [row["value"] for row in found] == [10, 11, 12]
    back = lines("scan", "data", "notes", "--reverse", "--limit", 2)
    assert [row["key"] for row in back] == ["n1", "k2499"]
    assert run("delete", "data", "notes", "n1").exit_code == 0
    assert "no row with the key n1" in refused("get", "data", "notes", "n1")
    assert "no row with the key n1" in refused("delete", "data", "notes", "n1")


def test_a_line_that_is_no_row_is_named_and_whole_transactions_before_it_stay(shop: Path) -> None:
    good = "".join(json.dumps({"key": str(n), "value": n}) + "\n" for n in range(1500))
    message = refused("put", "--new", "shop", "notes", "-", stdin=good + '{"key": 7}\n')
    assert "row 1501 " in message
    assert "1000 of them" in message
    assert len(lines("scan", "shop", "notes")) == 1000


# -- tables of a program --------------------------------------------------------------------------


def test_rows_of_a_program_are_read_without_it(shop: Path) -> None:
    assert lines("get", "shop", "rooms", "r1") == [{"id": "r1", "hotel": "h1", "beds": 2}]
    assert lines("get", "shop", "guests", "g1")[0]["email"] == "ann@example.org"
    assert [row["id"] for row in lines("scan", "shop", "rooms")] == ["r1", "r2"]
    table = run("scan", "shop", "rooms", "--format", "table").stdout.splitlines()
    assert table[0].split() == ["id", "hotel", "beds"]
    assert table[2].split() == ["r2", "h1", "1"]


def test_rows_of_a_program_are_written_through_what_it_declares(shop: Path) -> None:
    row = '{"id": "r3", "hotel": "h2", "beds": 4}'
    assert "--declare" in refused("put", "shop", "rooms", row)
    assert "--declare" in refused("delete", "shop", "rooms", "r1")
    put = run("put", "shop", "rooms", row, "--declare", "shop_app:tables", "--by", "ann")
    assert (put.exit_code, put.stderr) == (0, "")
    with Store("shop", SMALL) as store:
        rooms = rooms_of(store)
        by_hotel = rooms.index("by_hotel", lambda room: room.hotel)
        assert [room.id for room in by_hotel.scan(store, "h2")] == ["r3"]


def test_what_is_too_deep_is_refused(shop: Path) -> None:
    deep = "[" * 5000 + "]" * 5000
    assert "too deep" in refused("get", "shop", "rooms", deep, code=2)
    refused("put", "--new", "shop", "notes", f'{{"key": "a", "value": {deep}}}')


def test_a_field_that_a_table_has_not_is_refused(shop: Path) -> None:
    row = '{"id": "r3", "hotel": "h2", "beds": 4, "colour": "red"}'
    message = refused("put", "shop", "rooms", row, "--declare", "shop_app:tables")
    assert "no field colour" in message
    assert len(lines("scan", "shop", "rooms")) == 2


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("shop_app", "MODULE:FUNCTION"),
        ("nowhere:tables", "can't be imported"),
        ("shop_app:missing", "no function missing"),
        ("shop_app:not_a_function", "no function"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(shop: Path, function: str, why: str) -> None:
    assert why in refused("put", "shop", "rooms", "{}", "--declare", function, code=2)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("shop_app:failing", "failed: KeyError: 'no such hotel' ("),
        ("shop_app:failing_index", "failed: TypeError: string indices"),
        ("broken_app:tables", "failed: SyntaxError"),
    ],
)
@pytest.mark.parametrize("args", [("put", "shop", "rooms", "{}"), ("delete", "shop", "rooms", "r")])
def test_a_program_that_fails_is_one_line_that_says_where(
    shop: Path, args: tuple[str, ...], function: str, why: str
) -> None:
    (shop / "broken_app.py").write_text("def tables(store:\n")
    message = refused(*args, "--declare", function)
    assert f"{function} {why}" in message
    assert re.search(r"\.py, line \d+\)", message)
    gc.collect()  # the frames of what failed, and RocksDB's lock with the iterators in them


def test_a_table_that_is_not_there_is_named_with_those_that_are(shop: Path) -> None:
    for args in (("get", "shop", "room", "r"), ("scan", "shop", "room"), ("put", "shop", "room", "{}"),
                 ("changes", "shop", "--table", "room")):  # fmt: skip
        message = refused(*args)
        assert "'room'" in message
        assert "guests, rooms" in message


def test_a_directory_that_is_no_store_is_refused_and_not_made(shop: Path) -> None:
    for command in ("scan", "put", "delete"):
        refused(command, "shopp", "rooms", *(["x"] if command != "scan" else []))
    for command in ("stat", "tables", "checkpoint", "verify", "fingerprint", "changes", "rebuild"):
        refused(command, "shopp")
    assert not (shop / "shopp").exists()


# -- what happened --------------------------------------------------------------------------------


def test_changes_tell_what_was_and_is_by_whom_and_why(shop: Path) -> None:
    run(
        "delete",
        "shop",
        "rooms",
        "r2",
        "--declare",
        "shop_app:tables",
        "--by",
        "bo",
        "--why",
        "fire",
    )
    change = lines("changes", "shop", "--table", "rooms")[-1]
    assert change["before"] == {"id": "r2", "hotel": "h1", "beds": 1}
    assert change["after"] is None
    assert (change["principal"], change["reason"]) == ("bo", "fire")
    assert "fire" in run("changes", "shop", "--format", "table").stdout
    assert lines("changes", "shop", "--since", change["lsn"]) == []
    assert "--follow has no end" in refused("changes", "shop", "--follow", "--upto", 3, code=2)


def test_what_was_erased_says_so(shop: Path) -> None:
    with Store("shop", SMALL) as store:
        guests_of(store)
        store.erase("g1")
    assert "erased" in refused("get", "shop", "guests", "g1")
    assert lines("scan", "shop", "guests") == []
    assert lines("changes", "shop", "--table", "guests")[0]["after"] == {"erased": True}
    assert "ann@" not in run("changes", "shop").stdout


def test_changes_are_followed_while_another_process_writes(shop: Path) -> None:
    with Store("shop", SMALL) as store:
        rooms = rooms_of(store)
        rooms.index("by_hotel", lambda room: room.hotel)
        follow = [sys.executable, "-m", "walnut.cli", "store", "changes", "shop", "--follow"]
        with subprocess.Popen([*follow, "--table", "rooms"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(2):
                assert json.loads(process.stdout.readline())["table"] == "rooms"
            with store.transaction() as tx:
                rooms.put(tx, Room("r9", "h9", 9))
            assert json.loads(process.stdout.readline())["after"]["id"] == "r9"
            process.terminate()


# -- looking after it -----------------------------------------------------------------------------


def test_stat_and_tables_show_the_store_at_a_glance(shop: Path) -> None:
    shown = run("stat", "shop").stdout
    assert "rooms" in shown
    assert "by_hotel" in shown
    facts = json.loads(run("stat", "shop", "--json").stdout)
    assert facts["durable_lsn"] == facts["applied_lsn"] == facts["next_lsn"] - 1
    assert lines("tables", "shop")[0] == {
        "name": "guests", "schema": 1, "indexes": [], "subjects": True, "before": False,
    }  # fmt: skip


def test_a_backup_is_restored_whole_and_to_an_lsn(shop: Path) -> None:
    before = json.loads(run("stat", "shop", "--json").stdout)["durable_lsn"]
    assert "new" in run("backup", "shop", "saved").stdout
    run("put", "--new", "shop", "notes", '{"key": "late", "value": 1}')
    run("backup", "shop", "saved")
    assert run("restore", "saved", "all", "--keys", "shop/keys").exit_code == 0
    same = [run("fingerprint", name).stdout for name in ("shop", "all")]
    assert same[0] == same[1]
    assert run("restore", "saved", "then", "--keys", "shop/keys", "--to-lsn", before).exit_code == 0
    assert [row["name"] for row in lines("tables", "then")] == ["guests", "rooms"]
    assert lines("get", "then", "guests", "g1")
    assert "not empty" in refused("restore", "saved", "then")
    assert "both say where to end" in refused(
        "restore", "saved", "x", "--to-lsn", 1, "--to-time", "2026-01-01T00:00Z", code=2
    )


def test_a_backup_is_verified_beside_whoever_writes_the_store(shop: Path) -> None:
    with Store("shop", SMALL) as store:
        rooms = rooms_of(store)
        rooms.index("by_hotel", lambda room: room.hotel)
        end = store.backup("saved").lsn
        store.call(rooms.put, Room("r3", "h1", 1))
        good = run("verify", "shop", "--backup", "saved")
        assert (good.exit_code, good.stderr) == (0, "")
        assert f"restored up to LSN {end}: tables of LSN {end}, 0 transactions" in good.stdout
        assert f"the same as shop at LSN {end + 1}: {store.fingerprint()}" in good.stdout
        assert (
            "up to LSN 2: tables of LSN 0, "
            in run("verify", "shop", "--backup", "saved", "--to-lsn", 2).stdout
        )
        for file in (shop / "saved" / "files").iterdir():
            file.unlink()
        assert "missing" in refused("verify", "shop", "--backup", "saved", code=3)
        assert "no archive" in refused("verify", "shop", "--backup", "nowhere", code=3)
    for wrong in (("--from", "saved"), ("--to-lsn", 1, "--to-time", "2026-01-01T00:00Z")):
        assert "use" in refused("verify", "shop", "--backup", "saved", *wrong, code=2)
    assert "for a --backup" in refused("verify", "shop", "--to-lsn", 1, code=2)


def test_tables_that_are_not_what_the_log_makes_are_found_and_rebuilt(shop: Path) -> None:
    good = run("verify", "shop")
    assert good.exit_code == 0
    assert run("checkpoint", "shop").exit_code == 0
    with Store("shop", SMALL) as store:
        rooms = rooms_of(store)
        key = rooms.prefix + b"\x02r1\x00"
        from walnut.store.engine import Batch

        store._tables.public.write(Batch({key: None}, []), store.applied_lsn)
    bad = run("verify", "shop")
    assert bad.exit_code == 3
    assert "rebuild" in bad.stderr
    assert run("rebuild", "shop").exit_code == 0
    assert run("verify", "shop").exit_code == 0
    assert lines("get", "shop", "rooms", "r1")


def test_tables_that_can_not_be_read_are_found_and_rebuilt(shop: Path) -> None:
    for file in (shop / "shop" / "tables" / "public").glob("*.sst"):
        data = bytearray(file.read_bytes())
        data[10] ^= 0xFF
        file.write_bytes(data)
    assert "rebuild" in refused("scan", "shop", "rooms")
    assert "rebuild" in refused("verify", "shop", code=3)
    assert run("rebuild", "shop").exit_code == 0
    assert [row["id"] for row in lines("scan", "shop", "rooms")] == ["r1", "r2"]


def test_writers_are_told_that_another_process_has_it(shop: Path) -> None:
    with Store("shop", SMALL):
        for command in ("checkpoint", "verify", "rebuild"):
            result = subprocess.run(
                [sys.executable, "-m", "walnut.cli", "store", command, "shop"],
                check=False, capture_output=True, text=True, timeout=60,
                env={**os.environ, "COLUMNS": "200"},
            )  # fmt: skip
            assert (result.returncode, result.stdout) == (1, "")
            assert "open" in result.stderr
        assert lines("scan", "shop", "rooms"), "reading is for everyone"


# -- progress -------------------------------------------------------------------------------------


def on_terminal(args: list[str], **streams: Any) -> tuple[bytes, bytes]:
    """What a command wrote to stdout, and to the terminal that its stderr is."""
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "walnut.cli", "store", *args]
    environment = {**os.environ, "TERM": "xterm"}
    with (
        Path("out").open("w+b") as out,
        subprocess.Popen(
            command, stdout=out, stderr=terminal, env=environment, **streams
        ) as process,
    ):
        os.close(terminal)
        shown = bytearray()
        with contextlib.suppress(OSError):  # EIO is the end of a terminal
            while data := os.read(main, 4096):
                shown += data
        os.close(main)
        assert process.wait(60) == 0
    return Path("out").read_bytes(), bytes(shown)


def test_long_work_shows_how_far_it_is_on_a_terminal_alone(shop: Path) -> None:
    many = "".join(json.dumps({"key": f"k{n:04}", "value": n}) + "\n" for n in range(2500))
    (shop / "many").write_text(many)
    with (shop / "many").open("rb") as file:
        out, shown = on_terminal(["put", "--new", "shop", "notes", "-"], stdin=file)
    assert out == b"2,500 rows put\n"
    assert b"putting rows" in shown
    assert b"2,500" in shown
    out, shown = on_terminal(["scan", "shop", "notes"], stdin=subprocess.DEVNULL)
    assert out == b"".join(values.jsonl(json.loads(line)) for line in many.splitlines())
    assert b"reading rows" in shown
    out, shown = on_terminal(["fingerprint", "shop"], stdin=subprocess.DEVNULL)
    assert out.decode() == run("fingerprint", "shop").stdout
    assert b"reading entries" in shown
    one = ["put", "shop", "notes", '{"key": "one", "value": 1}']
    assert b"putting" not in on_terminal(one, stdin=subprocess.DEVNULL)[1]


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "plain", "with space", "7", 7, -3.5, True, None, ("h1", 2), ("a", ("b", None)), b"\x00\xff",
        uuid.UUID(int=7), msgspec.convert("2026-07-21T10:00:00Z", __import__("datetime").datetime),
        msgspec.convert("2026-07-21", __import__("datetime").date),
    ],
)  # fmt: skip
def test_a_key_that_is_printed_can_be_given_back(key: Any) -> None:
    assert values.key(json.dumps(values.shown(key))) == key


@pytest.mark.parametrize("text", ['{"uuid": "x"}', '{"bytes": 3}', '{"a": 1}', '{"time": "noon"}'])
def test_a_key_that_is_none_is_a_wrong_command_line(shop: Path, text: str) -> None:
    assert "Invalid value" in refused("get", "shop", "rooms", text, code=2)
