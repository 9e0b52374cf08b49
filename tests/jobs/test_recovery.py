"""What was running when the process went away is found and begun again, wherever it stands."""

from __future__ import annotations

from pathlib import Path

from tests.store.helpers import SMALL
from walnut.jobs import Context, Jobs, JobsOptions, State
from walnut.store import Store

OPTIONS = JobsOptions(window=4)


def test_attempts_of_a_server_that_is_gone_are_found_behind_all_that_is_ready(
    tmp_path: Path,
) -> None:
    """More than memory holds is ready before them."""
    ran: list[int] = []

    def declared(store: Store) -> Jobs:
        jobs = Jobs(store, OPTIONS)

        @jobs.task(name="work")
        async def work(context: Context, number: int) -> int:
            ran.append(number)
            return context.attempt

        return jobs

    with Store(tmp_path, SMALL) as store:
        jobs = declared(store)
        work = jobs._registry.need("work")
        with store.transaction() as tx:
            made = [jobs.enqueue(tx, work, number, priority=-number) for number in range(50)]
        store.call(jobs._ledger.claim, [made[-1].id, made[-2].id])  # as if it had begun them
    with Store(tmp_path, SMALL) as store:
        jobs = declared(store)
        with jobs:
            assert [jobs.wait(job, 30) for job in made] == [1] * 48 + [2, 2]
        assert jobs.metrics.recovered == 2
    assert sorted(ran) == list(range(50))
    with Store(tmp_path, SMALL) as store:
        jobs = declared(store)
        rows = [jobs.get(store, job) for job in made]
        assert [row.losses for row in rows if row is not None and row.losses] == [1, 1]
        assert all(row is not None and row.state is State.DONE for row in rows)
