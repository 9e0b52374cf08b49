"""`/metrics`: what all subsystems and the process count, as Prometheus reads it.

What must stay true: numbers are read when they are asked for, and kept by those who count them; there
is no second count that could differ.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from walnut.subsystem.metrics import by, gauge

if TYPE_CHECKING:
    from walnut.server.server import Server

DEFAULT: Final = "text/plain"


class Exposition:
    """Everything that is counted, in a registry of its own."""

    def __init__(self, server: Server) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collected(server))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics, and their media type, as a client accepts them: text or OpenMetrics."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind


class _Collected(Collector):
    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        yield from _of_server(self._server)
        for one in self._server.subsystems:
            yield from one.metrics()


def _of_server(server: Server) -> Iterator[Metric]:
    yield InfoMetricFamily("walnut", "This Walnut.", value={"version": server.info.version})
    counts = server.lifecycle.inflight.counts
    under_way = {
        "request": counts.requests,
        "stream": counts.streams,
        "websocket": counts.websockets,
        "task": counts.tasks,
    }
    yield by("kind", "http_inflight", "What is under way.", under_way)
    yield gauge("http_connections", "Connections that are open.", server.connections)
    yield gauge("ready", "1 while new work is welcome.", float(server.lifecycle.ready))
    usage = shutil.disk_usage(server.info.data)
    yield gauge("disk_free_bytes", "Free where the data directory is.", usage.free)
    yield gauge("disk_size_bytes", "Of the file system where the data directory is.", usage.total)
