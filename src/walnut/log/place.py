"""A place for copies: a local directory, or any object store that obstore knows.

What must stay true: when `put` returns, the object is there whole and will be after a power cut (in a
local directory it is synced, an object store promises it).
"""

from __future__ import annotations

from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from walnut.log.disk import StrPath, sync_path
from walnut.log.errors import ArchiveError, disk_errors


class Place:
    """Objects by key, at a directory's path or at a URL: s3://, gs://, az://, ...

    Raises ArchiveError for a URL that is none."""

    def __init__(self, url: StrPath) -> None:
        self.url = str(url)
        self._path = local_path(self.url)
        if not self.url:
            raise ArchiveError("the place of a copy is a directory or a URL, and this is empty")
        try:
            if self._path is None:
                self._store = from_url(self.url)
            else:
                self._store = LocalStore(self._path.absolute(), mkdir=True)
        except (BaseError, ValueError) as error:
            raise ArchiveError(f"{self.url} can't hold an archive: {_said(error)}") from error

    def inside(self, name: str) -> str:
        """The URL of what begins with `name` here."""
        return f"{self.url.rstrip('/')}/{name}"

    def put(self, key: str, data: bytes) -> None:
        """Store an object, durably. Raises ArchiveError, LogFull, DiskError."""
        try:
            obstore.put(self._store, key, data)
        except BaseError as error:
            raise ArchiveError(f"storing {key} in {self.url} failed: {_said(error)}") from error
        if self._path is not None:
            with disk_errors(f"storing {key} in {self.url}"):
                sync_path(str(self._path / key))

    def get(self, key: str) -> bytes | None:
        """An object, or None if there is none. Raises ArchiveError."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise ArchiveError(f"reading {key} from {self.url} failed: {_said(error)}") from error

    def keys(self, prefix: str) -> list[str]:
        """The keys under a prefix, sorted. Raises ArchiveError."""
        try:
            found = [item["path"] for page in obstore.list(self._store, prefix) for item in page]
        except BaseError as error:
            raise ArchiveError(f"listing {prefix} in {self.url} failed: {_said(error)}") from error
        return sorted(found)

    def delete(self, key: str) -> None:
        """Drop an object. Raises ArchiveError."""
        try:
            obstore.delete(self._store, key)
        except BaseError as error:
            raise ArchiveError(f"deleting {key} in {self.url} failed: {_said(error)}") from error


def local_path(url: StrPath) -> Path | None:
    """The directory that a URL means; None if it is one of an object store."""
    text = str(url)
    if "://" in text and not text.startswith("file://"):
        return None
    return Path(text.removeprefix("file://"))


def _said(error: Exception) -> str:
    """What an object store's error says to people, without the dump of its insides behind it."""
    return str(error).partition("\n\nDebug source")[0]
