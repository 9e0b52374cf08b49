"""A backup in an object store: S3's protocol, spoken over HTTP with a server on this machine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.helpers import SMALL, Room, rooms_of
from tests.store.objects import Handler, Objects, object_store
from tests.store.test_backup import live, rooms_in
from walnut.log.errors import ArchiveError
from walnut.log.place import Place
from walnut.store import Store
from walnut.store.errors import BackupError

URL = "s3://bucket/of/ours"


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    with object_store() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AWS_REGION", "here")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def test_backups_in_an_object_store_are_incremental_checked_and_restored(
    tmp_path: Path, objects: Objects
) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        rooms_of(store).index("by_hotel", lambda room: room.hotel)
        states: dict[int, dict[str, Room]] = {}
        for seed in range(5):  # more bases than a page of a listing has
            states |= live(store, random.Random(seed), 20)
            store.backup(URL)
        report = store.backup(URL)
        assert report.new_files < report.files
        assert store.check_backup(URL).compared_lsn == store.applied_lsn
    assert sum(key.startswith("bucket/of/ours/bases/") for key in objects.objects) == 5, (
        "one for each LSN"
    )
    assert sum(key.startswith("bucket/of/ours/log/tail/") for key in objects.objects) == 1
    for number, lsn in enumerate(random.Random(7).sample(list(states), 5)):
        Store.restore(URL, tmp_path / f"new{number}", to=lsn, options=SMALL)
        assert rooms_in(tmp_path / f"new{number}") == states[lsn], f"restored to LSN {lsn}"


def test_what_is_missing_or_damaged_in_an_object_store_is_named(
    tmp_path: Path, objects: Objects
) -> None:
    with Store(tmp_path / "data", SMALL) as store:
        live(store, random.Random(1), 20)
        store.backup(URL)
        files = [key for key in objects.objects if "/files/" in key]
        victim = max(files, key=lambda key: len(objects.objects[key]))
        objects.objects[victim] = objects.objects[victim][:-1] + b"x"
        with pytest.raises(BackupError, match=f"{victim.rpartition('/')[2]}.*damaged"):
            store.check_backup(URL)
        del objects.objects[victim]
        with pytest.raises(BackupError, match="missing"):
            Store.restore(URL, tmp_path / "new", options=SMALL)
    with pytest.raises(ArchiveError, match="holds no archive"):
        Store.restore("s3://bucket/elsewhere", tmp_path / "new", options=SMALL)


def test_objects_are_put_got_listed_and_deleted(objects: Objects) -> None:
    place = Place(URL)
    for number in range(10):
        place.put(f"x/{number}", b"%d" % number)
    assert place.keys("x/") == [f"x/{number}" for number in range(10)]
    assert (place.get("x/7"), place.get("x/70")) == (b"7", None)
    place.delete("x/7")
    place.delete("x/7")
    assert place.keys("x/") == [f"x/{number}" for number in range(10) if number != 7]


def test_an_object_store_that_refuses_is_named(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("do_GET", "do_PUT", "do_POST"):
        monkeypatch.setattr(Handler, method, lambda self: self._answer(403, b"<Error/>"))
    place = Place(URL)
    for use in (
        lambda: place.get("x"),
        lambda: place.keys("x"),
        lambda: place.put("x", b""),
        lambda: place.delete("x"),
    ):
        with pytest.raises(ArchiveError, match="failed"):
            use()
