"""Jobs submitted by themselves share a transaction, and nobody can tell."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.store.helpers import SMALL
from walnut.jobs import Context, Job, Jobs
from walnut.jobs.errors import InvalidArguments, UnknownTask
from walnut.store import Store


def test_those_of_one_turn_share_a_record_and_one_that_is_wrong_fails_alone(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with Store(tmp_path, SMALL) as store:
            jobs = Jobs(store)

            @jobs.task
            async def double(context: Context, number: int) -> int:
                return 2 * number

            before = store.log.next_lsn
            made = await asyncio.gather(*[jobs.submit(double, n) for n in range(50)])
            assert store.log.next_lsn == before + 1
            answers = await asyncio.gather(
                jobs.submit(double, 50, key="k"),
                jobs.submit(double, "x"),
                jobs.submit(double, 52, key="k"),
                return_exceptions=True,
            )
            first, wrong, same = answers
            assert isinstance(first, Job)
            assert isinstance(same, Job)
            assert first.id == same.id
            assert isinstance(wrong, InvalidArguments)
            async with jobs:
                results = [await jobs.result(job) for job in (*made, first)]
            assert results == [2 * n for n in range(51)]

    asyncio.run(main())


def test_who_stops_waiting_leaves_the_others_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with Store(tmp_path, SMALL) as store:
            jobs = Jobs(store)

            @jobs.task
            async def nothing(context: Context) -> None: ...

            gone = asyncio.create_task(jobs.submit(nothing))
            stays = asyncio.create_task(jobs.submit(nothing))
            await asyncio.sleep(0)
            gone.cancel()
            assert jobs.get(store, await stays) is not None

    asyncio.run(main())


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with Store(tmp_path, SMALL) as store:
            jobs = Jobs(store)

            @jobs.task
            async def nothing(context: Context) -> None: ...

            jobs._registry.tasks.clear()
            with pytest.raises(UnknownTask):
                await jobs.submit(nothing)

    asyncio.run(main())
