"""Programs that tests start as processes of their own, to kill, block and starve them.

    python children.py PROGRAM DIRECTORY [ARGUMENT ...]

Each speaks in lines on stdout, written at once, and listens on stdin.
"""

import asyncio
import os
import random
import resource
import signal
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

from walnut.log import Log, LogError, LogOptions, LogReader, Retention
from walnut.log.errors import LogFull

SMALL = 16 * 1024

REFUSED = b"refused" * 100
"""Larger than any `payload`, so that it does not fit where one of those did not."""


def say(*words: object) -> None:
    """One line in one write, so that a kill can't tear it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def listen() -> str:
    """The next line, or "" once nobody can send one."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line.decode().strip()


def payload(life: int, number: int, group: int = 0, place: int = 0, size: int = 1) -> bytes:
    """A record that says of itself which it is, so that any other bytes show."""
    head = b"%d %d %d %d %d " % (life, number, group, place, size)
    return head + random.Random(head).randbytes(number * 37 % 400)


def options(kind: str) -> LogOptions:
    """What the killed children run with."""
    return LogOptions(
        segment_bytes=SMALL,
        record_bytes=64 * 1024,
        buffer_bytes=256 * 1024,
        sync="interval" if kind == "interval" else "always",
        sync_seconds=0.005,
        retention=Retention(bytes=80_000) if kind == "groups" else Retention(),
        compression="zstd" if kind == "coroutines" else None,
    )


# -- killed at any moment: DIRECTORY LIFE -----------------------------------------------------------


def one_by_one(path: str, life: str) -> None:
    """`append`, and `truncate_before` now and then."""
    with Log(path, options("one_by_one")) as log:
        for number in range(100_000):
            lsn = log.append(payload(int(life), number))
            say("ack", lsn, number)
            if number % 40 == 39:
                target = max(1, lsn - 150)
                say("truncating", target)
                log.truncate_before(target)
                say("truncated", target)


def coroutines(path: str, life: str) -> None:
    """Many coroutines, each awaiting its own `submit`."""
    numbers = iter(range(100_000))

    async def work(log: Log) -> None:
        for number in numbers:
            lsn = await log.submit(payload(int(life), number))
            say("ack", lsn, number)

    async def main() -> None:
        with Log(path, options("coroutines")) as log:
            await asyncio.gather(*[work(log) for _ in range(12)])

    asyncio.run(main())


def groups(path: str, life: str) -> None:
    """`append_many`, under a retention that forgets by itself."""
    number = 0
    with Log(path, options("groups")) as log:
        for group in range(100_000):
            size = 1 + group * 7 % 12
            records = [
                payload(int(life), number + place, group, place, size) for place in range(size)
            ]
            lsn = log.append_many(records)
            for place in range(size):
                say("ack", lsn + place, number + place, group, place, size)
            number += size


def interval(path: str, life: str) -> None:
    """`append` that waits for the operating system only; the keeper syncs."""
    with Log(path, options("interval")) as log:
        for number in range(100_000):
            lsn = log.append(payload(int(life), number))
            say("ack", lsn, number)
            say("durable", log.durable_lsn)


# -- two processes ------------------------------------------------------------------------------------


def hold(path: str) -> None:
    """Have the log open until told otherwise."""
    with Log(path) as log:
        say("open", log.append(b"held"))
        listen()


def fork(path: str) -> None:
    """Die with the log open, and leave a forked child that has tried to write to it."""
    log = Log(path)
    log.append(b"the parent's")
    if os.fork():
        listen()
        os._exit(0)  # no close: as a crash
    calls: list[Callable[[], object]] = [
        lambda: log.append(b"the child's"),
        lambda: log.submit(b"the child's").wait(5),
        lambda: log.append_many([b"the child's"]),
        lambda: log.truncate_before(2),
        lambda: log.truncate_after(0),
        log.sync,
        log.housekeep,
    ]
    for call in calls:
        signal.alarm(10)  # one that hangs ends this process, which the test sees
        try:
            call()
        except BaseException as error:
            say(type(error).__name__)
        else:
            say("did it")
    signal.alarm(10)
    try:
        log.close()
    except BaseException as error:
        say(type(error).__name__)
    else:
        say("closed")
    signal.alarm(0)
    say("child", os.getpid())
    signal.alarm(120)  # whatever becomes of the test, this process ends
    signal.pause()


def blocked_sync(path: str, count: str) -> None:
    """Append, and before each fdatasync ask for leave."""
    real = os.fdatasync
    log = Log(path, LogOptions(segment_bytes=SMALL, background=False))

    def ask(fd: int) -> None:
        say("syncing", log.next_lsn - 1)
        listen()
        real(fd)

    vars(os)["fdatasync"] = ask
    for number in range(int(count)):
        lsn = log.append(payload(0, number * 11))
        say("ack", lsn)
    vars(os)["fdatasync"] = real
    say("rolls", log.metrics.rolls)
    log.close()


def follow(path: str, count: str) -> None:
    """Tail a log from its first record; say each record's LSN and checksum."""
    with LogReader(path) as reader:
        say("following")
        seen = 0
        while seen < int(count):
            for record in reader.tail(seen + 1, timeout=60):
                seen += 1
                say(record.lsn, zlib.crc32(record.data))
                if seen == int(count):
                    break


def read_at_random(path: str) -> None:
    """Read from random LSNs, while someone truncates, until stdin ends; say what was met."""
    ended = threading.Event()

    def watch() -> None:
        listen()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    rng = random.Random(path)
    read = gone = 0
    kept: list[tuple[int, memoryview]] = []
    with LogReader(path) as reader:
        say("reading")
        while not ended.is_set():
            first, last = reader.first_lsn, reader.durable_lsn
            start = rng.randint(max(1, first - 20), max(1, last))
            try:
                for record in reader.read(start, start + 40):
                    if record.data != payload(0, record.lsn):
                        say("wrong", record.lsn, bytes(record.data[:60]))
                    read += 1
                    if rng.random() < 0.02:
                        kept.append((record.lsn, record.data))
            except LogError as error:
                if type(error).__name__ != "LsnTruncated":
                    say("error", type(error).__name__, error)
                gone += 1
            if len(kept) > 50:
                kept = [k for k in kept if rng.random() < 0.5]
            for lsn, data in kept:
                if data != payload(0, lsn):
                    say("changed", lsn)
    say("met", read, gone)


# -- a full disk --------------------------------------------------------------------------------------


def limited(path: str) -> None:
    """Fill a log under RLIMIT_FSIZE, the full disk that every machine has, and go on after."""
    Log(path, LogOptions(segment_bytes=SMALL)).close()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * SMALL, hard))
    log = Log(path, LogOptions(segment_bytes=4 * SMALL, record_bytes=65536, buffer_bytes=65536))
    fill(log, "before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for number in range(200):
        say("ack", log.append(payload(2, number)), 2, number)
    say("rolls", log.metrics.rolls)
    log.housekeep()
    say("housekeeping", log.housekeeping_error is None)
    os._exit(0)  # no close


def fill(log: Log, word: str) -> None:
    """Append until the disk is full, and try some more; say what became of all of it."""
    number = 0
    while True:
        try:
            say("ack", log.append(payload(1, number)), 1, number)
        except LogFull:
            break
        number += 1
    for more in range(5):
        try:
            log.append(REFUSED)
            say("taken", more)
        except LogFull as error:
            say("refused", more, type(error.__cause__).__name__)
    tickets = []
    for _ in range(5):
        try:
            tickets.append(log.submit(REFUSED))
        except LogFull:
            say("refused at once")
    for ticket in tickets:
        try:
            ticket.wait(60)
            say("taken", ticket.lsn)
        except LogFull:
            say("refused", "ticket")
    while log.housekeeping_error is None:  # the pytest timeout ends this, if need be
        log._keep()
    say("housekeeping", type(log.housekeeping_error).__name__)
    say("readable", sum(1 for _ in log.read()), log.durable_lsn, log.next_lsn)
    with LogReader(Path(log.path)) as reader:
        say("readable", sum(1 for _ in reader.read()), reader.durable_lsn, reader.next_lsn)
    say("full", word)


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {
        program.__name__: program
        for program in (
            one_by_one, coroutines, groups, interval, hold, fork, blocked_sync, follow,
            read_at_random, limited,
        )
    }  # fmt: skip
    programs[sys.argv[1]](*sys.argv[2:])
