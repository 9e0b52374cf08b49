"""What several tests of the log need."""

from pathlib import Path

from walnut.log import Log, LogOptions, LogReader
from walnut.log.errors import LogClosed

SMALL = LogOptions(segment_bytes=16 * 1024, record_bytes=64 * 1024, buffer_bytes=256 * 1024)
"""Segments so small that a few hundred records roll through many of them."""


def contents(log: Log | LogReader, start: int | None = None) -> dict[int, bytes]:
    """LSN to data of everything that can be read."""
    return {record.lsn: bytes(record.data) for record in log.read(start)}


def segment_files(path: Path) -> list[Path]:
    """The segment files in a log's directory, oldest first."""
    return sorted(path.glob("*.wal"))


def damage(file: Path, offset: int, size: int = 1) -> None:
    """Flip bits in place."""
    data = bytearray(file.read_bytes())
    for at in range(offset, offset + size):
        data[at] ^= 0x55
    file.write_bytes(data)


def abandon(log: Log) -> None:
    """What a kill leaves behind: the files as they are, nothing flushed, the lock free."""
    log._commit.stop(LogClosed("abandoned"))
    log._closed = True
    log._writer.end.file.close()
    log._lock_file.close()
