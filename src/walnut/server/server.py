"""`Server`: sockets, subsystems, HTTP and the console, put together; from its start to its stop.

    first start                                  taking over from a predecessor (hot restart)
      sockets bound, directory locked              sockets handed over, everything imported, "ready"
      http       503 while starting                directory  once the predecessor has let go of it
      subsystems each after what it needs          subsystems
      api        routes, access: open              api
                                                   http       who waited in the kernel is served
      console    loaded while all else works       console
    and stopped the other way round: console, api, subsystems, directory.

What must stay true: nothing in the data directory is touched by a process that does not hold its lock;
no subsystem is called before it has started or after it has stopped.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, Final

import msgspec
import structlog

from walnut.server import collecting, logs, tls
from walnut.server.checks import beside, check_settings, numeric
from walnut.server.config.load import Settings, taken_up
from walnut.server.config.model import (
    LimitsSection,
    LoggingSection,
    ServerSection,
    ShutdownSection,
    TlsSection,
)
from walnut.server.directory import DataDirectory
from walnut.server.front import Front
from walnut.server.site import Site
from walnut.server.status import Status, disk_of, python_version, uptime
from walnut.server.subsystems import AnySubsystem, make, owned
from walnut.shutdown.component import Part
from walnut.shutdown.handover import Predecessor, Successor
from walnut.shutdown.inflight import InFlight
from walnut.shutdown.lifecycle import Lifecycle
from walnut.shutdown.limits import HttpLimits
from walnut.shutdown.model import Budgets, Event, ExitCode, Phase, Report
from walnut.shutdown.notify import Notifier
from walnut.shutdown.sockets import Listening, activated, listen, listen_unix
from walnut.shutdown.uvicorn import Server as HttpServer
from walnut.subsystem.model import Resources, ServerInfo
from walnut.subsystem.owners import Owners
from walnut.web.problems import unparsed

HANDOVER_SECONDS: Final = 5.0
"""What a successor waits beyond the deadline of the one before it."""

RELOADABLE: Final = frozenset({
    ("logging", "level"), ("logging", "format"), ("logging", "requests"),
    ("tls", "certificate"), ("tls", "key"),
    ("limits", "requests"), ("limits", "streams"), ("limits", "body"), ("limits", "request_time"),
})  # fmt: skip
"""Settings that a running server takes up at a reload. Others wait for a restart, which is hot."""

log = structlog.get_logger("walnut.server")


class Server:
    """One server. Making it binds its sockets and locks its directory; `serve` does the rest, once.

    Args:
        settings: in force.
        classes: the subsystems there are.
        reread: reads the settings again, for a reload.
        command: starts a successor, for a hot restart.

    Attributes:
        info, lifecycle, resources, subsystems: for routes, metrics and the console's pages.
        beside: the directory that relative paths of the settings start from.

    Raises:
        InvalidConfig, OpenToOthers, TlsUnusable, TokenFileUnusable: settings that can't work.
        DirectoryInUse, DirectoryUnusable: see `directory`.
        CannotListen: the address is taken.
    """

    def __init__(
        self,
        settings: Settings,
        classes: Mapping[str, type[AnySubsystem]],
        *,
        reread: Callable[[], Settings],
        command: Sequence[str],
        started: int | None = None,
    ) -> None:
        self.settings = settings
        self._reread = reread
        self._command = command
        self.info = ServerInfo(
            data=settings.data,
            version=metadata.version("walnutdb"),
            started=started or time.time_ns(),
        )
        self.resources = Resources()
        self.resources.provide(self.info)
        self.resources.provide(self)
        self.resources.provide(Owners(owned(classes)))
        self.subsystems = make(classes, settings, self.resources)
        self.beside = beside(settings)
        self._tls = check_settings(settings, classes)
        section = settings.of(ServerSection)
        self._directory = DataDirectory(settings.data, self.info.version)
        self._predecessor = Predecessor.from_environment()
        handed = list(activated().values())
        if self._predecessor is None:
            self._directory.lock()
        try:
            self.listening = _sockets(handed, section, self._directory)
        except BaseException:
            self._directory.close()
            raise
        self._addresses = [str(one) for one in self.listening]
        self._url = f"{'http' if self._tls is None else 'https'}://{_tcp(self.listening)}"
        self._notify = Notifier.from_environment()
        self._front = Front()
        self._site: Site | None = None
        self._successor: Successor | None = None
        inflight = InFlight()
        self._http = HttpServer(
            self._front,
            self.listening,
            inflight=inflight,
            name="http",
            needs=() if self._predecessor is None else ("api",),
            limits=_http_limits(settings.of(LimitsSection)),
            tls=self._tls,
            lifespan="off",
            refusal=unparsed,
        )
        api = Part(
            "api",
            needs=[one.name for one in self.subsystems],
            start=self._open,
            run=self._console,
            stop=self._close,
        )
        directory = Part("directory", start=self._have_directory, stop=self._leave_directory)
        self.lifecycle = Lifecycle(
            [self._http, directory, *map(_part, self.subsystems), api],
            budgets=Budgets(**msgspec.structs.asdict(settings.of(ShutdownSection))),
            inflight=inflight,
            notify=self._notify,
            reload=self._reload,
            restart=self._restart,
            log=log_event,
        )
        self.lifecycle.observe(self._note_failed_restart)
        self._front.probed(self.lifecycle)
        self.resources.provide(self.lifecycle)

    async def serve(self) -> Report:
        """Start, serve until asked to stop, stop. Raises StartFailed."""
        report = await self.lifecycle.serve()
        if self._successor is not None and report.exit_code is ExitCode.CLEAN:
            # Sooner than by the end of this process, which takes itself apart first. If something was
            # cut short, only that end tells that nothing here holds the log any more.
            self._successor.release()
        return report

    # -- what it tells of itself ----------------------------------------------------------------

    @property
    def connections(self) -> int:
        """Open now."""
        return self._http.connections

    @property
    def url(self) -> str:
        """The address it listens on, as a URL."""
        return self._url

    def status(self) -> Status:
        """The server at a glance. Walks the data directory: call it in a thread."""
        statuses = {one.name: one.status() for one in self.subsystems}
        return Status(
            state=self.lifecycle.state.value,
            version=self.info.version,
            python=python_version(),
            pid=os.getpid(),
            data=str(self.info.data),
            addresses=self._addresses,
            started=self.info.started,
            uptime_seconds=uptime(self.info),
            inflight=self.lifecycle.inflight.counts,
            connections=self.connections,
            disk=disk_of(self.info.data),
            subsystems={name: each for name, each in statuses.items() if each is not None},
        )

    # -- parts of its life ----------------------------------------------------------------------

    async def _have_directory(self) -> None:
        if self._predecessor is not None:
            await self._predecessor.ready()
            budgets = Budgets(**msgspec.structs.asdict(self.settings.of(ShutdownSection)))
            await self._predecessor.gone(budgets.deadline + HANDOVER_SECONDS)
            await asyncio.to_thread(self._directory.lock)

    async def _leave_directory(self) -> None:
        self._directory.close()

    async def _open(self) -> None:
        self._site = Site(self)
        await self._site.start()
        self._front.open(self._site.app)
        collecting.settle()
        log.info("serving", url=self.url, socket=str(self._directory.socket))

    async def _console(self) -> None:
        assert self._site is not None, "it was opened"
        await self._site.load_console()

    async def _close(self) -> None:
        self._front.close()
        if self._site is not None:
            await self._site.stop()

    async def _restart(self) -> None:
        self._successor = await Successor.start(self._command, self.listening, notify=self._notify)

    def _note_failed_restart(self, event: Event) -> None:
        if event.kind == "failed" and event.component == "restart":
            self._directory.restart_failed(event.detail)

    async def _reload(self) -> None:
        """Take up what can be taken up. Raises ConfigError, TlsUnusable; all stays as it was then."""
        new = await asyncio.to_thread(self._reread)
        if self._tls is not None and new.of(TlsSection).certificate:
            tls.load_certificate(self._tls, new.of(TlsSection), self.beside)
        logs.configure(new.of(LoggingSection))
        self.settings, before = taken_up(self.settings, new, RELOADABLE), self.settings
        if self._site is not None:
            self._site.limit(self.settings)
            self._front.open(self._site.app)
        waiting = [
            f"{entry.section}.{entry.setting.name}"
            for entry, now in zip(new.entries, before.entries, strict=True)
            if entry.value != now.value and (entry.section, entry.setting.name) not in RELOADABLE
        ]
        if waiting:
            log.warning("these settings take a restart: `walnut restart`", settings=waiting)


def _part(one: AnySubsystem) -> Part:
    """A subsystem in the lifecycle. Whatever it needs itself, the directory has to be ours."""
    return Part(
        one.name,
        needs=["directory", *one.needs],
        start=one.start,
        run=one.run,
        drain=one.drain,
        stop=one.stop,
    )


def log_event(event: Event) -> None:
    """What the lifecycle does, as lines of the log."""
    facts: dict[str, Any] = {"phase": event.phase.value} if event.kind == "phase" else {}
    if event.seconds:
        facts["seconds"] = round(event.seconds, 3)
    if event.kind not in {"phase", "progress"} and event.counts.total:
        facts["in_flight"] = str(event.counts)
    level = "info"
    match event.kind:
        case "phase":
            words = _PHASES[event.phase]
        case "started" | "stopped":
            words = f"{event.component} {event.kind}"
        case "drained":
            words, level = f"{event.component} drained", "debug"
        case "overran":
            words, level = f"{event.component} was cut short: its time was over", "warning"
        case "failed":
            words, level = f"{event.component} failed: {event.detail}", "error"
        case "progress":
            words = f"waiting for what is under way: {event.counts}"
            level = "info" if event.counts.total else "debug"
        case "signal":
            words = f"signal {event.detail}"
        case _:
            words = f"{event.kind}: {event.detail}"
    log.log(logs.LEVELS[level], words, **facts)


_PHASES: Final = {
    Phase.STARTING: "starting",
    Phase.RUNNING: "ready",
    Phase.NOT_READY: "stopping: not ready any more",
    Phase.GRACE: "waiting for load balancers to notice",
    Phase.CLOSE: "accepting no more connections",
    Phase.DRAIN: "letting end what is under way",
    Phase.STOP: "stopping the subsystems",
    Phase.FLUSH: "flushing",
    Phase.CLOSED: "closed",
}


def _sockets(
    handed: list[Listening], section: ServerSection, directory: DataDirectory
) -> list[Listening]:
    """The sockets handed over, and of our own what is missing among them."""
    listening = list(handed)
    try:
        if not any(not one.is_unix for one in handed):
            listening.append(listen(numeric(section.host), section.port))
        if not any(one.is_unix for one in handed):
            listening.append(listen_unix(directory.socket))
    except BaseException:
        for one in listening:
            one.close()
        raise
    return listening


def _tcp(listening: Sequence[Listening]) -> Listening:
    return next(one for one in listening if not one.is_unix)


def _http_limits(section: LimitsSection) -> HttpLimits:
    return HttpLimits(
        connections=section.connections,
        header_bytes=section.header,
        idle_seconds=section.idle,
    )
