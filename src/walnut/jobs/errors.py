"""Every error that jobs raise on purpose.

Each message says what happened, to what, and what to do about it. All of them are `JobsError`; what the
store and the log refuse comes through as they name it.
"""

from __future__ import annotations


class JobsError(Exception):
    """Base of every error raised by `walnut.jobs`."""


class UnknownTask(JobsError, LookupError):
    """A task, or the function of a timer, is not declared in this process."""


class UnknownJob(JobsError, LookupError):
    """There is no job with this id or key."""


class AmbiguousJob(JobsError, LookupError):
    """Several jobs have an id that begins like this."""


class NoJobs(JobsError, LookupError):
    """The store has no tables of jobs: no program has made a `Jobs` on it."""


class UnknownQueue(JobsError, LookupError):
    """A queue, executor or resource is named that nobody configured."""


class InvalidArguments(JobsError, TypeError):
    """The arguments are not what the function takes, or can't be stored."""


class InvalidTask(JobsError, ValueError):
    """A task's options are out of range, or its function can't be one."""


class ResultTooLarge(JobsError, ValueError):
    """What a task returned is over the configured maximum, or can't be stored."""


class CycleInGraph(JobsError, ValueError):
    """Jobs of a graph wait for one another in a circle."""


class InvalidRecurrence(JobsError, ValueError):
    """A cron expression, a recurrence rule or its zone can't be understood."""


class NeverFires(JobsError, ValueError):
    """A recurrence has no occurrence after the moment it is to begin."""


class ExtraMissing(JobsError, ImportError):
    """A library that comes with the extra `jobs` is not installed."""


class NotPossible(JobsError):
    """A job is not in a state where this can be done to it."""


class Postponed(JobsError):
    """A task raises it to be tried again later, without counting as a failure.

    Attributes:
        retry_after: seconds.
    """

    def __init__(self, retry_after: float, why: str = "") -> None:
        super().__init__(why or f"not before {retry_after:g} s from now")
        self.retry_after = retry_after


class Fenced(JobsError):
    """The attempt is over: its lease was lost, or the job was cancelled. What it brings is refused."""


class JobFailed(JobsError):
    """A job, or a step of a workflow, failed for good or was cancelled.

    Attributes:
        job: its id. task: its task, or the step.
        error: the class of what it raised. message: what that said.
    """

    def __init__(self, job: str, task: str, error: str, message: str) -> None:
        super().__init__(f"job {job} ({task}) failed: {error}: {message}")
        self.job = job
        self.task = task
        self.error = error
        self.message = message


class NonDeterminism(JobsError):
    """A workflow's code asked for another step than the one that is recorded at this place."""


class ExecutorFailed(JobsError):
    """An executor can't run anything: its processes do not start, or it was closed."""


class WorkerDied(JobsError):
    """The process that ran an attempt ended: it was killed, or crashed."""


class LimitExceeded(JobsError):
    """An attempt used more memory or processor time than its task allows."""
