"""Jobs as a line of JSON, and as a row of a table.

    times       2026-07-21T08:00:00.000000000Z           10:00:00 here, or how long ago
    MessagePack JSON; bytes that are text as text, others as {"bytes": "<base64>"}

What must stay true: nothing that a task said or was given can move a terminal's cursor.
"""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any, Final

import msgspec

from walnut.jobs.cli.tables import Layout
from walnut.jobs.history import Event, told
from walnut.jobs.model import Job, Schedule, State, Target, Timer
from walnut.jobs.outcome import Failure
from walnut.jobs.recurrence import Cron, Recurrence
from walnut.jobs.steps import Signal, Step
from walnut.log.show import count, duration, iso, moment, printable

LONGEST: Final = 2000
"""Characters of a value that people are shown."""
_NS: Final = 1e9


# -- JSON ---------------------------------------------------------------------------------------


def time(ns: int) -> str | None:
    """A time for programs; None for none."""
    return iso(ns) if ns else None


def plain(value: Any) -> Any:
    """What MessagePack held, as JSON can have it."""
    match value:
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return {"bytes": base64.b64encode(value).decode()}
        case dict():
            return {
                key if isinstance(key, str) else _json(plain(key)): plain(part)
                for key, part in value.items()
            }
        case list():
            return [plain(part) for part in value]
        case msgspec.msgpack.Ext():
            return {"extension": value.code, "bytes": base64.b64encode(value.data).decode()}
    return value


def unpacked(data: bytes) -> Any:
    """MessagePack, as JSON can have it; None for none."""
    return plain(msgspec.msgpack.decode(data, strict=False)) if data else None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def error_object(error: Failure | None, *, trace: bool) -> dict[str, Any] | None:
    """An error, with its traceback if wanted."""
    if error is None:
        return None
    found: dict[str, Any] = {"error": error.error, "message": error.message}
    return found | {"trace": error.trace} if trace else found


def job_object(job: Job, *, trace: bool = False) -> dict[str, Any]:
    """A job, without what it was given and what it returned."""
    return {
        "id": job.id,
        "task": job.task,
        "state": job.state.name.lower(),
        "queue": job.queue,
        "runs": job.runs,
        "tenant": job.tenant,
        "priority": job.priority,
        "key": job.key,
        "lane": job.lane,
        "by": job.by,
        "created": time(job.created),
        "due": time(job.due),
        "started": time(job.started),
        "ended": time(job.ended),
        "attempt": job.attempt,
        "failures": job.failures,
        "losses": job.losses,
        "waits": job.waits,
        "after": job.after,
        "parent": job.parent,
        "step": job.step if job.parent else None,
        "progress": job.progress,
        "text": job.text,
        "error": error_object(job.error, trace=trace),
    }


def job_of(found: dict[str, Any]) -> Job:
    """A job of what `job_object` told of it: enough to show it as a row."""
    error = found["error"]
    return Job(
        id=found["id"],
        task=found["task"],
        state=State[found["state"].upper()],
        arguments=b"",
        queue=found["queue"],
        runs=found["runs"],
        rank=0,
        created=_ns(found["created"]),
        started=_ns(found["started"]),
        ended=_ns(found["ended"]),
        attempt=found["attempt"],
        tenant=found["tenant"],
        due=_ns(found["due"]),
        waits=found["waits"],
        error=None if error is None else Failure(error["error"], error["message"]),
        progress=found["progress"],
        text=found["text"],
    )


def _ns(time: str | None) -> int:
    if time is None:
        return 0
    whole, _, fraction = time.rstrip("Z").partition(".")
    seconds = int(dt.datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0") or 0)


def step_object(step: Step) -> dict[str, Any]:
    """A step of a workflow."""
    return {
        "number": step.number,
        "what": step.what,
        "done": step.done,
        "result": unpacked(step.result),
        "error": error_object(step.error, trace=True),
        "job": step.child,
        "due": time(step.due),
        "signal": step.signal,
    }


def signal_object(signal: Signal) -> dict[str, Any]:
    """A signal that no step has taken."""
    return {"name": signal.name, "payload": unpacked(signal.payload)}


def event_object(event: Event) -> dict[str, Any]:
    """A change of a job."""
    return {
        "lsn": event.lsn,
        "time": time(event.time),
        "state": event.state.name.lower(),
        "attempt": event.attempt,
        "due": time(event.due),
        "error": event.error,
        "by": event.by,
        "why": event.why,
    }


def timer_object(timer: Timer) -> dict[str, Any]:
    """A timer."""
    return {
        "kind": "timer",
        "id": timer.id,
        "due": time(timer.due),
        "target": timer.target.name.lower(),
        "name": timer.name,
        "arguments": unpacked(timer.arguments),
        "late": timer.late,
        "grace_seconds": timer.grace / _NS,
        "key": timer.key,
        "failures": timer.failures,
        "first_due": time(timer.first_due or timer.due),
    }


def schedule_object(row: Schedule) -> dict[str, Any]:
    """A schedule."""
    return {
        "kind": "schedule",
        "name": row.name,
        "recurrence": recurrence_text(row.recurrence),
        "what": row.what,
        "arguments": unpacked(row.arguments),
        "missed": row.missed,
        "next": time(row.due),
        "last": time(row.last),
        "fired": row.fired,
        "skipped": row.skipped,
        "paused": row.paused,
    }


# -- for people ---------------------------------------------------------------------------------


def ago(now: int, then: int) -> str:
    """How long ago, in its largest unit; a clock that was set back makes it now."""
    return " ".join(duration(max(now - then, 0) / _NS).split()[:2])


def ahead(now: int, due: int) -> str:
    """`in 3 min 20 s`, or how late it is."""
    return f"in {duration((due - now) / _NS)}" if due > now else f"{ago(now, due)} late"


def shortened(value: Any) -> str:
    """A value in so many characters as a person reads."""
    text = printable(_json(value).encode())
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… {len(text) - LONGEST:,} characters more: --format json has them"


def recurrence_text(recurrence: Recurrence) -> str:
    """A recurrence in a line."""
    if isinstance(recurrence, Cron):
        return f"{recurrence.expression} {recurrence.zone}"
    return f"{' '.join(recurrence.text.split())} {recurrence.zone}"


def note(job: Job, now: int) -> str:
    """What there is to say of a job, as it stands."""
    error = "" if job.error is None else told(job.error.error, job.error.message)
    match job.state:
        case State.WAITING:
            said = [ahead(now, job.due), error]
        case State.BLOCKED:
            said = [f"waits for {count(job.waits, 'job')}"]
        case State.RUNNING:
            said = [f"for {ago(now, job.started)}", progress(job), job.text]
        case State.DONE:
            said = [f"took {duration((job.ended - job.started) / _NS)}"]
        case _:
            said = [error]
    return ", ".join(filter(None, said))


def progress(job: Job) -> str:
    """How far it said it is; empty if it did not."""
    return f"{job.progress:.0%}" if job.progress else ""


JOB_ROWS: Final = Layout(
    cut=frozenset({"task", ""}),
    leave=("queue", "tries", "tenant", "age", ""),
    hide=frozenset({"tenant", ""}),
    right=frozenset({"tries"}),
)
DEAD_ROWS: Final = Layout(
    cut=frozenset({"task", "error"}),
    leave=("queue", "tries", "tenant", "died"),
    hide=frozenset({"tenant"}),
    right=frozenset({"tries"}),
)
TIMER_ROWS: Final = Layout(
    cut=frozenset({"what"}),
    leave=("tries", "job", "if late"),
    hide=frozenset({"key", "tries", "job"}),
    right=frozenset({"tries"}),
)
SCHEDULE_ROWS: Final = Layout(
    cut=frozenset({"recurrence"}),
    leave=("skipped", "fired", "if missed", "last", "what"),
    hide=frozenset({"skipped"}),
    right=frozenset({"fired", "skipped"}),
)
STEP_ROWS: Final = Layout(
    cut=frozenset({"what", "gave"}),
    leave=("job",),
    hide=frozenset({"job"}),
    right=frozenset({"step"}),
)
EVENT_ROWS: Final = Layout(
    cut=frozenset({"error", "why"}),
    leave=("try", "by", "why"),
    hide=frozenset({"try", "error", "by", "why"}),
    right=frozenset({"try"}),
)


def job_row(job: Job, shown: str, now: int) -> dict[str, str]:
    """A job as a row."""
    return {
        "job": shown,
        "state": job.state.name.lower(),
        "queue": job.queue,
        "task": job.task,
        "tenant": job.tenant,
        "tries": str(job.attempt),
        "age": ago(now, job.created),
        "": note(job, now),
    }


def dead_row(job: Job, shown: str, now: int) -> dict[str, str]:
    """A dead letter as a row."""
    return {
        "job": shown,
        "queue": job.queue,
        "task": job.task,
        "tenant": job.tenant,
        "tries": str(job.attempt),
        "died": f"{ago(now, job.ended)} ago",
        "error": "" if job.error is None else told(job.error.error, job.error.message),
    }


def timer_row(timer: Timer, job: Job | None, shown: str, now: int) -> dict[str, str]:
    """A timer as a row, with the job that waits for it."""
    of = "" if job is None else f" {job.task}"
    what = {
        Target.ACTION: f"call {timer.name}",
        Target.JOB: f"job{of}",
        Target.SCHEDULE: f"schedule {timer.name}",
        Target.STEP: f"step {timer.id.partition('/')[2]} of{of}",
        Target.FOLLOWERS: f"what comes after{of}",
    }
    return {
        "due": ahead(now, timer.due),
        "what": what.get(timer.target, f"{timer.target.name.lower()}{of}"),
        "key": timer.key,
        "if late": lateness(timer),
        "tries": str(timer.failures) if timer.failures else "",
        "job": shown,
    }


def schedule_row(row: Schedule, now: int) -> dict[str, str]:
    """A schedule as a row."""
    due = ahead(now, row.due) if row.due else "never again"
    return {
        "schedule": row.name,
        "next": "paused" if row.paused else due,
        "last": f"{ago(now, row.last)} ago" if row.last else "never",
        "if missed": row.missed,
        "fired": f"{row.fired:,}",
        "skipped": f"{row.skipped:,}" if row.skipped else "",
        "what": row.what,
        "recurrence": recurrence_text(row.recurrence),
    }


def step_row(step: Step, now: int) -> dict[str, str]:
    """A step of a workflow as a row."""
    if step.error is not None:
        state = told(step.error.error, step.error.message)
    elif step.done:
        state = shortened(unpacked(step.result))
    elif step.due:
        state = ahead(now, step.due)
    else:
        state = "waits for its signal" if step.signal else "under way"
    return {
        "step": str(step.number),
        "": "failed" if step.error else "done" if step.done else "",
        "what": step.what,
        "gave": state,
        "job": step.child,
    }


def event_row(event: Event) -> dict[str, str]:
    """A change of a job as a row."""
    words = event.error
    if event.state is State.WAITING:
        words = ", ".join(
            filter(None, (words, f"again in {duration((event.due - event.time) / _NS)}"))
        )
    return {
        "when": moment(event.time),
        "state": event.state.name.lower(),
        "try": str(event.attempt) if event.attempt else "",
        "error": words,
        "by": event.by,
        "why": event.why,
    }


def lateness(timer: Timer) -> str:
    """What becomes of it if it can't fire in time."""
    if timer.target is not Target.ACTION or timer.late == "fire":
        return "fires"
    return f"skipped after {duration(timer.grace / _NS)}"
