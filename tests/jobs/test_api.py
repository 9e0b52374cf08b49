"""Jobs over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from tests.jobs.helpers import AT_ONCE, SMALL, by_hand
from tests.store.test_api_tables import slug
from walnut.jobs import Context, Job, Jobs, State, api
from walnut.jobs.outcome import Failure
from walnut.jobs.problems import PROBLEMS
from walnut.store.problems import PROBLEMS as STORE_PROBLEMS
from walnut.store.store import Store
from walnut.subsystem.model import Resources
from walnut.testing.web import client


@contextlib.contextmanager
def serving(path: Path, **given: Any) -> Iterator[tuple[TestClient[Any], Jobs, Any]]:
    """A client of the routes of jobs, the jobs, and a task."""
    with Store(path, SMALL) as store:
        jobs = Jobs(store)

        @jobs.task(queue="mail", retry=AT_ONCE, runs="thread")
        def send(context: Context, to: str) -> str:
            return to

        resources = Resources()
        resources.provide(jobs)
        with client([*api.routes(resources)], PROBLEMS, STORE_PROBLEMS, **given) as http:
            yield http, jobs, send


def enqueued(jobs: Jobs, send: Any, number: int) -> list[Job]:
    """So many jobs that nobody runs."""
    return [jobs.store.call(jobs.enqueue, send, f"{n}@example.org") for n in range(number)]


def test_jobs_are_listed_newest_first_in_pages(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as (http, jobs, send):
        ids = sorted(
            job.id for job in enqueued(jobs, send, 5)
        )  # those of one millisecond in any order
        by_hand(jobs, jobs.get(jobs.store, ids[0]))  # type: ignore[arg-type]
        found: list[str] = []
        cursor = ""
        while True:
            query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = http.get("/v1/jobs", params=query).json()
            found += [job["id"] for job in page["items"]]
            if not (cursor := page.get("next", "")):
                break
        assert found == ids[::-1]
        ready = http.get("/v1/jobs?state=ready&queue=mail").json()["items"]
        assert [job["id"] for job in ready] == ids[:0:-1]
        assert [job["id"] for job in http.get("/v1/jobs?state=done").json()["items"]] == ids[:1]
        assert slug(http.get("/v1/jobs?state=asleep")) == "invalid-request"


def test_all_about_a_job_is_told_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as (http, jobs, send):
        (job,) = enqueued(jobs, send, 1)
        by_hand(jobs, job)
        found = http.get(f"/v1/jobs/{job.id[:16]}?past=true").json()
        assert (found["id"], found["state"]) == (job.id, "done")
        assert found["arguments"] == ["0@example.org"]
        assert [event["state"] for event in found["history"]] == ["ready", "running", "done"]
        for text in ("x", "%00", "1234567", "f" * 32, "g" * 32, "0" * 1000):
            assert slug(http.get(f"/v1/jobs/{text}")) == "unknown-job"


def test_a_job_is_cancelled_retried_and_forgotten_by_hand(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as (http, jobs, send):
        (job,) = enqueued(jobs, send, 1)
        why = {"Walnut-Reason": "nobody waits for it"}
        cancelled = http.post(f"/v1/jobs/{job.id}/cancel", headers=why)
        assert cancelled.json() == {"id": job.id, "task": job.task, "state": "cancelled"}
        row = jobs.get(jobs.store, job)
        assert row is not None
        assert row.error is not None
        assert "nobody waits for it" in row.error.message
        assert slug(http.post(f"/v1/jobs/{job.id}/cancel")) == "not-possible"
        assert http.post(f"/v1/jobs/{job.id}/retry").json()["state"] == "ready"
        assert slug(http.delete(f"/v1/jobs/{job.id}")) == "not-possible"
        http.post(f"/v1/jobs/{job.id}/cancel")
        assert http.delete(f"/v1/jobs/{job.id}").json()["state"] == "forgotten"
        assert jobs.get(jobs.store, job) is None


def test_a_change_under_an_idempotency_key_is_made_once_in_its_senders_name(tmp_path: Path) -> None:
    with serving(tmp_path / "s", principal="token:ann") as (http, jobs, send):
        one, other = enqueued(jobs, send, 2)
        key = {"Idempotency-Key": "k"}
        first = http.post(f"/v1/jobs/{one.id}/cancel", headers=key)
        again = http.post(f"/v1/jobs/{one.id}/cancel", headers=key)
        assert again.json() == first.json()
        assert again.headers["idempotency-replayed"] == "true"
        assert slug(http.post(f"/v1/jobs/{other.id}/cancel", headers=key)) == "key-reused"
        changes = [*jobs.store.changes(tables=["jobs"])]
        assert changes[-1].meta.principal == "token:ann"


def test_dead_letters_are_listed_with_their_error(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as (http, jobs, send):
        (job,) = enqueued(jobs, send, 1)
        assert http.get("/v1/jobs/dead").json()["items"] == []
        states = [by_hand(jobs, job, Failure("app.Broken", "it broke")) for _ in range(3)]
        assert states[-1] is State.DEAD
        (dead,) = http.get("/v1/jobs/dead?queue=mail").json()["items"]
        assert (dead["id"], dead["error"]["message"]) == (job.id, "it broke")
        assert http.post(f"/v1/jobs/{job.id}/retry").json()["state"] == "ready"
        assert http.get("/v1/jobs/dead").json()["items"] == []


def test_queues_are_counted_paused_and_resumed(tmp_path: Path) -> None:
    with serving(tmp_path / "s", principal="token:ann") as (http, jobs, send):
        enqueued(jobs, send, 3)
        assert http.post("/v1/jobs/queues/mail/pause").json() == {"queue": "mail", "paused": True}
        (queue,) = http.get("/v1/jobs/queues").json()["items"]
        assert (queue["queue"], queue["jobs"], queue["live"]) == ("mail", {"ready": 3}, 3)
        assert queue["paused"]["by"] == "token:ann"
        assert http.post("/v1/jobs/queues/mail/resume").json()["paused"] is False
        assert slug(http.post("/v1/jobs/queues/mail/resume")) == "not-possible"


def test_who_may_only_look_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "s", scopes=("jobs:read",)) as (http, jobs, send):
        (job,) = enqueued(jobs, send, 1)
        assert http.get(f"/v1/jobs/{job.id}").status_code == 200
        for path in (f"{job.id}/cancel", f"{job.id}/retry", "queues/mail/pause"):
            assert slug(http.post(f"/v1/jobs/{path}")) == "forbidden"
        assert slug(http.delete(f"/v1/jobs/{job.id}")) == "forbidden"
