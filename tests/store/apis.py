"""A store behind its routes, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from tests.store.helpers import SMALL
from walnut.store.api import routes
from walnut.store.backups import Backups
from walnut.store.problems import PROBLEMS
from walnut.store.store import Store
from walnut.subsystem.model import Resources
from walnut.subsystem.owners import Owners
from walnut.testing.web import client

OWNERS = {"jobs": ("jobs", "jobs.*"), "topics": ("topics", "topics.*")}


def resources_of(store: Store, places: Mapping[str, str] | None = None) -> Resources:
    """What the server provides to the routes of a store."""
    resources = Resources()
    resources.provide(store)
    resources.provide(Owners(OWNERS))
    resources.provide(Backups(store, places or {}))
    return resources


@contextlib.contextmanager
def serving(
    store: Store,
    *,
    scopes: tuple[str, ...] = ("*",),
    principal: str = "token:test",
    places: Mapping[str, str] | None = None,
) -> Iterator[TestClient[Any]]:
    """A client of a store's routes."""
    resources = resources_of(store, places)
    with client(routes(resources), PROBLEMS, scopes=scopes, principal=principal) as http:
        yield http


@contextlib.contextmanager
def opened(path: Path, **given: Any) -> Iterator[TestClient[Any]]:
    """A client of the routes of a store at a path."""
    with Store(path, SMALL) as store, serving(store, **given) as http:
        yield http
