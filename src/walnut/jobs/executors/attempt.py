"""From a call to an outcome, whatever the task does: the one thing all executors do in the end.

What must stay true: no exception leaves `attempt`, not even those that would end the program.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from walnut.jobs.call import Call, load, perform
from walnut.jobs.context import Context, Note
from walnut.jobs.outcome import Outcome, failure
from walnut.jobs.tasks import Task

Find = Callable[[str], Task[..., Any]]
"""From a call's target to its task. Raises UnknownTask."""


def attempt(
    call: Call,
    tell: Callable[[Note], None],
    cancelled: Callable[[], bool],
    result_bytes: int,
    find: Find = load,
    within: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
) -> Outcome:
    """Find the task, and run it to its end `within` its limits."""
    try:
        context = Context(call.job, call.attempt, call.tenant, call.results, tell, cancelled)
        task = find(call.target)
        with within:
            return perform(call, task, context, result_bytes)
    except BaseException as error:  # sys.exit() in a task ends its attempt and not its process
        return failure(error)
