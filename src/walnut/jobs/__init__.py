"""Durable work, timers and calls to the outside, on the store. `docs/jobs.md` teaches it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from walnut.jobs.context import Context
    from walnut.jobs.errors import Fenced, JobFailed, JobsError, Postponed
    from walnut.jobs.graph import Node
    from walnut.jobs.jobs import Jobs
    from walnut.jobs.model import Job, JobsOptions, QueueLimits, Schedule, State, Timer
    from walnut.jobs.outcome import Failure, Success
    from walnut.jobs.recurrence import Cron, Rule
    from walnut.jobs.retry import Retry
    from walnut.jobs.tasks import Happened, Task, task
    from walnut.jobs.webhooks.endpoints import Webhooks
    from walnut.jobs.workflow import Flow

_PLACES = {
    "context": ["Context"],
    "errors": ["Fenced", "JobFailed", "JobsError", "Postponed"],
    "graph": ["Node"],
    "jobs": ["Jobs"],
    "model": ["Job", "JobsOptions", "QueueLimits", "Schedule", "State", "Timer"],
    "outcome": ["Failure", "Success"],
    "recurrence": ["Cron", "Rule"],
    "retry": ["Retry"],
    "tasks": ["Happened", "Task", "task"],
    "webhooks.endpoints": ["Webhooks"],
    "workflow": ["Flow"],
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Context", "Cron", "Failure", "Fenced", "Flow", "Happened", "Job", "JobFailed", "Jobs", "JobsError",
    "JobsOptions", "Node", "Postponed", "QueueLimits", "Retry", "Rule", "Schedule", "State", "Success",
    "Task", "Timer", "Webhooks", "task",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names are loaded when they are asked for: a child process that runs one task needs no store."""
    if name in _PLACE_OF:
        return getattr(import_module(f"walnut.jobs.{_PLACE_OF[name]}"), name)
    raise AttributeError(f"module 'walnut.jobs' has no attribute {name!r}")
