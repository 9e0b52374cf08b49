"""What the errors of jobs mean to a caller over HTTP.

What must stay true: every error of `walnut.jobs.errors` and of webhooks is here, by itself or by its
base, or in `INTERNAL` (`tests/jobs/test_problems.py`); a slug that was published keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from walnut.jobs import errors
from walnut.jobs.webhooks import errors as webhooks
from walnut.web.problems import Kind

PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    errors.UnknownJob: Kind("unknown-job", 404, "There is no such job"),
    errors.UnknownTask: Kind("unknown-task", 404, "No such task is declared here"),
    errors.UnknownQueue: Kind("unknown-queue", 404, "There is no such queue"),
    errors.AmbiguousJob: Kind("ambiguous-job", 409, "Several jobs have an id like this"),
    errors.NoJobs: Kind("no-jobs", 404, "The store has no jobs"),
    errors.NotPossible: Kind("not-possible", 409, "The job's state does not allow it"),
    errors.Fenced: Kind("fenced", 409, "The attempt is over"),
    errors.InvalidArguments: Kind("invalid-arguments", 422, "Not what the task takes"),
    errors.InvalidTask: Kind("invalid-argument", 422, "An argument is out of its range"),
    errors.InvalidRecurrence: Kind("invalid-recurrence", 422, "The recurrence is none"),
    errors.NeverFires: Kind("never-fires", 422, "The recurrence has no occurrence"),
    errors.ResultTooLarge: Kind("result-too-large", 413, "More than a job may return"),
    errors.CycleInGraph: Kind("cycle", 422, "Jobs wait for one another in a circle"),
    errors.JobFailed: Kind("job-failed", 409, "The job failed for good, or was cancelled"),
    errors.ExecutorFailed: Kind("executor-failed", 503, "Nothing can be run at present", 5),
    webhooks.TargetRefused: Kind("target-refused", 422, "Webhooks may not go there"),
    webhooks.HostUnknown: Kind("host-unknown", 502, "The host has no address"),
    webhooks.InvalidSecret: Kind("invalid-secret", 422, "This is no secret of a webhook"),
    webhooks.InvalidMessage: Kind("invalid-message", 422, "This can't be sent"),
    webhooks.InvalidSetting: Kind("invalid-argument", 422, "An argument is out of its range"),
    webhooks.VerificationFailed: Kind("not-verified", 422, "The webhook is not to be trusted"),
}

INTERNAL: Final[frozenset[type[Exception]]] = frozenset(
    {
        errors.ExtraMissing,
        errors.LimitExceeded,
        errors.NonDeterminism,
        errors.Postponed,
        errors.WorkerDied,
    }
)
"""What ends attempts and never reaches a request: answered as `internal`, and logged."""
