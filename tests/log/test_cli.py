"""`walnut log`, as people and scripts meet it: in processes of its own wherever that matters."""

import base64
import contextlib
import json
import os
import pty
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.log.helpers import SMALL, abandon, damage, segment_files
from walnut.cli import walnut
from walnut.log import Log, LogReader
from walnut.log.cli.arguments import moment
from walnut.log.show import duration, iso, printable, size

WALNUT = [sys.executable, "-m", "walnut.cli"]

BINARY = b"plain\n\n\x00\xff\xfe\r\nwith\ttab\x1b[31m\n" + "Grüße\n".encode()


def run(*args: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(walnut, ["log", *map(str, args)], input=stdin, prog_name="walnut")


def start(*args: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*WALNUT, "log", *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def make_log(path: Path, records: int) -> Path:
    with Log(path, SMALL) as log:
        for n in range(1, records + 1, 100):
            log.append_many([b"record %d" % m for m in range(n, min(n + 100, records + 1))])
    return path


def refused(result: Result, code: int) -> str:
    """The one line on stderr of a command that ended with `code`."""
    assert result.exit_code == code
    assert result.stderr.startswith("walnut: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr


# -- append and cat -----------------------------------------------------------------------------


def test_cat_gives_back_exactly_the_lines_that_append_read(tmp_path: Path) -> None:
    assert (
        run("append", tmp_path / "log", stdin=BINARY).stdout == "5 records appended: LSN 1 to 5\n"
    )
    assert run("cat", tmp_path / "log").stdout_bytes == BINARY


def test_a_file_of_any_bytes_comes_back_across_chunks(tmp_path: Path) -> None:
    chance = random.Random(7)
    data = chance.randbytes(3_000_000) + b"\n"
    (tmp_path / "file").write_bytes(data)
    assert run("append", tmp_path / "log", tmp_path / "file").exit_code == 0
    assert run("cat", tmp_path / "log").stdout_bytes == data
    first = run("cat", tmp_path / "log", "--stop", 5).stdout_bytes
    rest = run("cat", tmp_path / "log", "--start", 5).stdout_bytes
    assert first.count(b"\n") == 4
    assert first + rest == data


def test_a_last_line_without_a_newline_is_a_record_and_gets_one(tmp_path: Path) -> None:
    run("append", tmp_path / "log", stdin=b"one\ntwo")
    assert run("cat", tmp_path / "log").stdout == "one\ntwo\n"


def test_nothing_to_append_appends_nothing(tmp_path: Path) -> None:
    assert run("append", tmp_path / "log").stdout == "0 records appended\n"
    assert run("cat", tmp_path / "log").stdout == ""
    assert run("tail", tmp_path / "log").stdout == ""


def test_ack_prints_every_lsn_in_order_and_nothing_else(tmp_path: Path) -> None:
    assert run("append", "--ack", tmp_path / "log", stdin=b"a\nb\n").stdout == "1\n2\n"
    assert run("append", "--ack", tmp_path / "log", stdin=b"c\n").stdout == "3\n"


def test_a_line_over_the_limit_is_refused_by_its_number_after_those_before_it(
    tmp_path: Path,
) -> None:
    data = b"one\ntwo\n" + b"x" * ((16 << 20) + 1) + b"\nfour\n"
    result = run("append", tmp_path / "log", stdin=data)
    assert "line 3 " in refused(result, 1)
    assert run("cat", tmp_path / "log").stdout == "one\ntwo\n"


def test_a_pipe_that_stays_open_is_appended_as_it_comes(tmp_path: Path) -> None:
    with start("append", "--ack", tmp_path / "log") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for lsn in (1, 2, 3):
            process.stdin.write(b"line\nbegun ")
            process.stdin.flush()
            assert process.stdout.readline() == b"%d\n" % lsn
        with LogReader(tmp_path / "log") as reader:
            assert reader.durable_lsn == 3
        process.stdin.close()
        assert process.stdout.readline() == b"4\n"
        assert process.wait(30) == 0
    assert run("cat", tmp_path / "log").stdout == "line\nbegun line\nbegun line\nbegun \n"


def test_ctrl_c_keeps_what_was_appended_and_exits_with_130(tmp_path: Path) -> None:
    with start("append", tmp_path / "log") as process:
        assert process.stdin is not None
        process.stdin.write(b"one\ntwo\nunfinished")
        process.stdin.flush()
        while not (tmp_path / "log" / "DURABLE").exists():
            assert process.poll() is None
        with LogReader(tmp_path / "log") as reader:
            assert reader.wait_for(2, timeout=30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")
    assert out == b"2 records appended: LSN 1 to 2\n"
    with Log(tmp_path / "log") as log:
        assert log.recovery.clean


def test_kill_9_takes_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(9)
    promised: dict[int, bytes] = {}
    for turn in range(20):
        with start("append", "--ack", tmp_path / "log") as process:
            feeder = threading.Thread(target=feed, args=(process, turn))
            feeder.start()
            assert process.stdout is not None
            for n in range(chance.randrange(1, 400)):
                promised[int(process.stdout.readline())] = line(turn, n)
            process.kill()
            rest = process.stdout.read().split(b"\n")[:-1]  # a number cut short promises nothing
            for more, lsn in enumerate(rest, n + 1):
                promised[int(lsn)] = line(turn, more)
            process.wait()
            feeder.join()
            with contextlib.suppress(BrokenPipeError):
                process.communicate()
        result = run("cat", tmp_path / "log", "--format", "json")
        assert result.exit_code == 0
        held = {row["lsn"]: row["data"] for row in map(json.loads, result.stdout.splitlines())}
        assert {lsn: held.get(lsn) for lsn in promised} == {
            lsn: data.decode() for lsn, data in promised.items()
        }
    assert run("verify", tmp_path / "log").exit_code == 0
    assert len(promised) > 1000


def line(turn: int, n: int) -> bytes:
    return b"turn %d line %d" % (turn, n)


def feed(process: subprocess.Popen[bytes], turn: int) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        for n in range(20_000):
            process.stdin.write(line(turn, n) + b"\n")
            if n % 7 == 0:
                process.stdin.flush()


def test_a_log_is_read_while_another_process_writes_it(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        log.append_many([b"one", b"two"])
        assert run("cat", tmp_path / "log").stdout == "one\ntwo\n"
        assert run("stat", tmp_path / "log").exit_code == 0
        assert "sound" in run("verify", tmp_path / "log").stdout
        assert "open for writing" in refused(run("append", tmp_path / "log", stdin=b"x\n"), 1)


def test_json_holds_the_exact_time_and_what_is_no_text_in_base64(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        log.append_many(["Grüße".encode(), b"\xff\x00"])
        times = [record.time for record in log.read()]
    rows = [json.loads(row) for row in run("cat", tmp_path, "--format", "json").stdout.splitlines()]
    assert rows[0] == {"lsn": 1, "time": iso(times[0]), "data": "Grüße"}
    assert base64.b64decode(rows[1].pop("data_base64")) == b"\xff\x00"
    assert rows[1] == {"lsn": 2, "time": iso(times[1])}
    assert moment(rows[1]["time"]) == times[1]


def test_hex_shows_bytes_and_what_they_say(tmp_path: Path) -> None:
    run("append", tmp_path / "log", stdin=b"0123456789abcdef\x1b[31m\n")
    heading, *rows = run("cat", tmp_path / "log", "--format", "hex").stdout.splitlines()
    assert re.fullmatch(r"LSN 1  \d{4}-\d\d-\d\dT.+Z  21 bytes", heading)
    assert rows == [
        "  00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|",
        "  00000010  1b 5b 33 31 6d                                    |.[31m|",
        "",
    ]


def test_a_reader_of_the_output_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log:
        log.append_many([b"x" * 100] * 20_000)
    for form in ("raw", "json", "hex"):
        with start("cat", tmp_path / "log", "--format", form) as process:
            assert process.stdout is not None
            assert len(process.stdout.read(10)) == 10
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(30) == 141


def test_a_slow_pipe_gets_every_byte_though_python_does_not_buffer(tmp_path: Path) -> None:
    """With PYTHONUNBUFFERED a write to a pipe may be short, and a caller has to go on."""
    with Log(tmp_path / "log") as log:
        log.append_many([b"x" * 100] * 20_000)
    for unbuffered in ("", "1"):
        done = subprocess.run(
            [*WALNUT, "log", "cat", tmp_path / "log"], check=True, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
        assert len(done.stdout) == 20_000 * 101


# -- tail ---------------------------------------------------------------------------------------


def test_tail_prints_the_last_records_or_those_from_a_start(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", 30)
    assert run("tail", path).stdout.splitlines() == [f"record {n}" for n in range(21, 31)]
    assert run("tail", path, "-n", 2).stdout == "record 29\nrecord 30\n"
    assert run("tail", path, "-n", 0).stdout == ""
    assert run("tail", path, "-n", 99).stdout.startswith("record 1\n")
    assert run("tail", path, "--start", 30).stdout == "record 30\n"
    assert run("tail", path, "--start", 31).stdout == ""
    assert "next LSN is 31" in refused(run("tail", path, "--start", 32), 1)
    refused(run("tail", path, "--start", 30, "-n", 1), 2)


def test_follow_goes_on_with_what_another_process_appends(tmp_path: Path) -> None:
    with Log(tmp_path / "log", SMALL) as log:
        log.append(b"before")
        with start("tail", tmp_path / "log", "--follow") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"before\n"
            for n in range(500):  # through several segments
                log.append(b"%d" % n * 50)
                assert process.stdout.readline() == b"%d" % n * 50 + b"\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
            assert process.stderr is not None
            assert process.stderr.read() == b""


# -- stat, verify, repair -----------------------------------------------------------------------


def test_stat_says_on_one_screen_what_there_is(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", 3000)
    run("slots", path, "create", "billing", 1000)
    screen = run("stat", path).stdout
    for fact in ("3,000, LSN 1 to 3000", "closed cleanly", "billing", "2,001 records"):
        assert fact in screen
    assert "\x1b" not in screen
    assert max(map(len, screen.splitlines()[1:])) <= 80
    facts = json.loads(run("stat", path, "--json").stdout)
    assert (facts["first_lsn"], facts["next_lsn"], facts["durable_lsn"]) == (1, 3001, 3000)
    assert facts["slots"] == [{"name": "billing", "lsn": 1000, "lag": 2001}]
    assert len(facts["segments"]) == len(segment_files(path))


def test_stat_of_very_many_segments_shows_the_first_and_the_last(tmp_path: Path) -> None:
    with Log(tmp_path, SMALL) as log:
        for _ in range(40):
            log.append(b"x" * 10_000)
    names = [file.name for file in segment_files(tmp_path)]
    screen = run("stat", tmp_path).stdout
    assert names[0] in screen
    assert names[-1] in screen
    assert names[len(names) // 2] not in screen
    assert f"... {len(names) - 12} more" in screen


def test_stat_says_that_a_log_was_not_closed(tmp_path: Path) -> None:
    log = Log(tmp_path, SMALL)
    log.append(b"x")
    abandon(log)
    assert "not closed by its last writer" in run("stat", tmp_path).stdout


def test_verify_names_each_damaged_place_and_exits_with_3(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", 5000)
    files = segment_files(path)
    damage(files[0], 5000)
    damage(files[2], 6000)
    result = run("verify", path)
    assert "2 damaged places" in refused(result, 3)
    places = [row for row in result.stdout.splitlines() if row.startswith("damaged: ")]
    assert [files[0].name in places[0], files[2].name in places[1]] == [True, True]
    assert all(re.search(r"LSN \d+", place) for place in places)
    with pytest.raises(AssertionError):
        refused(run("cat", path), 0)
    assert files[0].name in refused(run("cat", path), 1)


def test_repair_shows_first_acts_on_yes_and_deletes_nothing(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", 5000)
    damaged = segment_files(path)[2]
    damage(damaged, 6000)
    before = damaged.read_bytes()
    assert "--dry-run" in refused(run("repair", path), 2)
    plan = run("repair", path, "--dry-run")
    assert plan.exit_code == 0
    assert f"to set aside: {damaged.name}" in plan.stdout
    assert damaged.read_bytes() == before
    done = run("repair", path, "--yes")
    assert done.exit_code == 0
    lost = re.search(r"^lost: LSN (\d+) to 5000", done.stdout, re.MULTILINE)
    assert lost is not None
    aside = re.search(r"^set aside: \S+ in (.+)$", done.stdout, re.MULTILINE)
    assert aside is not None
    assert (Path(aside.group(1)) / damaged.name).read_bytes() == before
    assert run("verify", path).exit_code == 0
    assert len(run("cat", path).stdout.splitlines()) == int(lost.group(1)) - 1
    assert "nothing to repair" in run("repair", path, "--dry-run").stdout


def test_a_torn_tail_is_no_damage_and_append_says_that_it_cut_it(tmp_path: Path) -> None:
    log = Log(tmp_path, SMALL)
    log.append(b"kept")
    end = log._writer.end.offset
    abandon(log)
    file = segment_files(tmp_path)[-1]
    with file.open("r+b") as raw:
        raw.seek(end)
        raw.write(b"WLNF torn")
    result = run("verify", tmp_path)
    assert (result.exit_code, "torn tail of 9 bytes" in result.stdout) == (0, True)
    result = run("append", tmp_path, stdin=b"next\n")
    assert "recovered: cut a torn tail of 9 bytes" in result.stderr
    assert run("cat", tmp_path).stdout == "kept\nnext\n"


# -- truncate and slots -------------------------------------------------------------------------


def test_truncate_shortens_at_either_end_and_asks_before_the_back_goes(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", 20)
    refused(run("truncate", path), 2)
    refused(run("truncate", path, "--before", 5, "--after", 10), 2)
    assert "10 records, LSN 11 to 20" in refused(run("truncate", path, "--after", 10), 2)
    assert "ends after LSN 10" in run("truncate", path, "--after", 10, "--yes").stdout
    assert run("truncate", path, "--before", 5).stdout == f"{path}: begins at LSN 5\n"
    assert run("cat", path).stdout.splitlines() == [f"record {n}" for n in range(5, 11)]
    assert "was truncated" in refused(run("cat", path, "--start", 4), 1)
    assert "past the next durable" in refused(run("truncate", path, "--before", 99), 1)


def test_a_slot_holds_back_truncation_until_it_moves(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", 20)
    assert run("slots", path).stdout == ""
    assert run("slots", path, "create", "billing", 7).stdout == "billing\t7\n"
    assert run("slots", path, "create", "billing").stdout == "billing\t7\n"
    held = run("truncate", path, "--before", 10)
    assert "begins at LSN 7" in held.stdout
    assert "still needed by slot 'billing'" in held.stderr
    assert run("slots", path, "advance", "billing", 12).exit_code == 0
    assert run("slots", path, "list").stdout == "billing\t12\t9 records behind\n"
    assert "can't go back" in refused(run("slots", path, "advance", "billing", 11), 1)
    assert "past the end" in refused(run("slots", path, "advance", "billing", 22), 1)
    assert "does not exist" in refused(run("slots", path, "advance", "other", 12), 1)
    assert run("slots", path, "drop", "billing").exit_code == 0
    assert "does not exist" in refused(run("slots", path, "drop", "billing"), 1)
    for wrong in (["create"], ["advance", "billing"], ["drop", "billing", "3"], ["list", "x"]):
        refused(run("slots", path, *wrong), 2)
    assert "can't name a slot" in refused(run("slots", path, "create", "../x"), 1)


# -- archive and restore ------------------------------------------------------------------------


def test_an_archive_restores_the_log_to_its_end_to_an_lsn_or_to_a_moment(tmp_path: Path) -> None:
    path, backup = make_log(tmp_path / "log", 3000), tmp_path / "backup"
    assert "holds LSN 1 to 3000" in run("archive", path, backup).stdout
    assert "sound" in run("archive", path, backup, "--check").stdout
    assert run("restore", backup, tmp_path / "all").stdout.endswith(
        ": 3,000 records restored, LSN 1 to 3000\n"
    )
    assert run("cat", tmp_path / "all").stdout_bytes == run("cat", path).stdout_bytes
    run("restore", backup, tmp_path / "some", "--to-lsn", 1234)
    assert run("cat", tmp_path / "some").stdout.splitlines()[-1] == "record 1234"
    row = json.loads(run("cat", path, "--start", 1500, "--stop", 1501, "--format", "json").stdout)
    run("restore", backup, tmp_path / "then", "--to-time", row["time"])
    assert run("cat", tmp_path / "then").stdout.splitlines()[-1] == "record 1500"


def test_a_damaged_archive_is_named_and_exits_with_3(tmp_path: Path) -> None:
    path, backup = make_log(tmp_path / "log", 3000), tmp_path / "backup"
    run("archive", path, backup)
    damage(min((backup / "segments").iterdir()), 100)
    result = run("archive", path, backup, "--check")
    assert "checksum does not match" in refused(result, 3)
    assert "can't be restored" in refused(run("restore", backup, tmp_path / "all"), 1)


def test_restore_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    path, backup = make_log(tmp_path / "log", 30), tmp_path / "backup"
    assert "holds no archive" in refused(run("restore", backup, tmp_path / "new"), 1)
    run("archive", path, backup)
    assert "is not empty" in refused(run("restore", backup, path), 1)
    assert "is not in" in refused(run("restore", backup, tmp_path / "x", "--to-lsn", 31), 1)
    both = ["--to-lsn", 3, "--to-time", "2050-01-01"]
    refused(run("restore", backup, tmp_path / "x", *both), 2)
    assert "not a time" in refused(run("restore", backup, tmp_path / "x", "--to-time", "noon"), 2)
    assert "does not exist" in refused(run("archive", tmp_path / "none", tmp_path / "other"), 1)
    assert not (tmp_path / "other").exists()


# -- wrong use ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ["cat"], ["tail"], ["stat"], ["verify"], ["repair", "--yes"], ["slots"],
        ["truncate", "--before", "1"], ["truncate", "--after", "1", "--yes"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_log_is_refused_and_not_made(args: list[str], tmp_path: Path) -> None:
    command, *rest = args
    assert "does not exist" in refused(run(command, tmp_path / "none", *rest), 1)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    assert "not a directory" in refused(run(command, tmp_path / "file", *rest), 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    refused(run(command, tmp_path / "other", *rest), 1)


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refused(run("append", tmp_path / "log", tmp_path / "none"), 1) == (
        f"walnut: {tmp_path}/none: No such file or directory\n"
    )
    assert "Is a directory" in refused(run("append", tmp_path / "log", tmp_path), 1)
    assert not (tmp_path / "log").exists()


def test_a_wrong_command_line_is_one_line_that_says_where_to_look(tmp_path: Path) -> None:
    assert "(see `walnut log cat --help`)" in refused(run("cat", tmp_path, "--start", 0), 2)
    assert "(see `walnut log --help`)" in refused(run("dog"), 2)
    assert "raw" in refused(run("cat", tmp_path, "--format", "xml"), 2)


def test_without_arguments_walnut_shows_its_help() -> None:
    result = run()
    assert result.exit_code == 2
    assert "append" in result.stderr


def test_a_closed_stdin_is_not_a_traceback(tmp_path: Path) -> None:
    command = f"{shlex.join(WALNUT)} log append {tmp_path}/log <&-"
    done = subprocess.run(command, check=False, shell=True, capture_output=True, text=True)
    assert (done.returncode, "stdin is closed" in done.stderr) == (2, True)


# -- terminals ----------------------------------------------------------------------------------


def on_terminal(*args: str | Path, **env: str) -> str:
    """What a command shows on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **env}
    with subprocess.Popen(
        [*WALNUT, "log", *map(str, args)], stdout=theirs, stderr=theirs, env=settings
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side is gone
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
        assert process.wait(30) == 0
    return shown.decode()


def test_long_work_has_a_progress_bar_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"line\n" * 400_000)
    assert "appending" in on_terminal("append", tmp_path / "log", tmp_path / "file")
    assert "verifying" in on_terminal("verify", tmp_path / "log")
    done = subprocess.run(
        [*WALNUT, "log", "verify", tmp_path / "log"], check=False, capture_output=True
    )
    assert done.stderr == b""


def test_colours_are_for_terminals_and_no_color_turns_them_off(tmp_path: Path) -> None:
    path = make_log(tmp_path / "log", 3)
    assert "\x1b[36m" in on_terminal("stat", path)
    assert "\x1b[36m" not in on_terminal("stat", path, NO_COLOR="1")


# -- words --------------------------------------------------------------------------------------


def test_numbers_are_said_as_people_say_them() -> None:
    assert [size(n) for n in (0, 1023, 1536, 64 << 20, 5 << 40)] == [
        "0 B", "1,023 B", "1.5 KiB", "64 MiB", "5 TiB",
    ]  # fmt: skip
    assert [duration(s) for s in (0.00035, 0.0042, 0.042, 4.2, 200, 7500, 273600)] == [
        "350 µs", "4.2 ms", "42 ms", "4.2 s", "3 min 20 s", "2 h 5 min", "3 d 4 h",
    ]  # fmt: skip


def test_what_could_move_a_cursor_is_escaped() -> None:
    assert printable(b"a\x1b[2Jb\xff\r" + "é".encode()) == "a\\x1b[2Jb\\xff\\ré"


def test_times_are_read_to_the_nanosecond() -> None:
    assert moment("1970-01-01T00:00:01.000000001Z") == 1_000_000_001
    assert moment("1970-01-01T01:00:01.5+01:00") == 1_500_000_000
    assert moment("1970-01-02T00:00Z") == 86_400 * 10**9
    for wrong in ("yesterday", "", "12"):
        with pytest.raises(click.BadParameter):
            moment(wrong)
