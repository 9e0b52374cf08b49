"""The routes of jobs: what there is, and what is put right by hand.

    looking     queues, jobs, dead letters, timers, schedules
    by_hand     retry, cancel, drop; pause, resume

What must stay true: no logic of jobs is here; what a route does could be done by `Jobs`' own methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from walnut.jobs.api import by_hand, looking
from walnut.jobs.jobs import Jobs
from walnut.subsystem.model import Resources

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


def routes(resources: Resources) -> Sequence[ControllerRouterHandler]:
    """All of them, of the `Jobs` that were provided. Raises NotProvided."""
    jobs = resources.find(Jobs)
    return [*looking.routes(jobs), *by_hand.routes(jobs)]
