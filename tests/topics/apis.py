"""Topics behind their routes, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from tests.store.apis import resources_of
from tests.store.helpers import SMALL
from walnut.store import api as store_api
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.store.store import Store
from walnut.subsystem.model import Resources
from walnut.testing.web import client
from walnut.topics import api
from walnut.topics.model import TopicsOptions
from walnut.topics.problems import PROBLEMS
from walnut.topics.topics import Topics

ALL_PROBLEMS = (STORE_PROBLEMS, PROBLEMS)


def routes_of(resources: Resources) -> list[Any]:
    """The routes of the store and of topics."""
    return [*store_api.routes(resources), *api.routes(resources)]


def with_topics(store: Store, options: TopicsOptions | None = None) -> Resources:
    """What the server provides to the routes of a store and its topics."""
    resources = resources_of(store)
    resources.provide(Topics(store, options or TopicsOptions(create=True)))
    return resources


@contextlib.contextmanager
def opened(
    path: Path, options: TopicsOptions | None = None, **given: Any
) -> Iterator[TestClient[Any]]:
    """A client of the routes of a store, and of its topics, at a path."""
    with Store(path, SMALL) as store:
        routes = routes_of(with_topics(store, options))
        with client(routes, *ALL_PROBLEMS, **given) as http:
            yield http
