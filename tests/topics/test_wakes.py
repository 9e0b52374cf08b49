"""Waking those who wait for a topic to grow."""

from __future__ import annotations

import asyncio

import pytest

from walnut.topics import wakes
from walnut.topics.wakes import Wakes


def test_a_loop_that_has_just_woken_many_rests_before_it_wakes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wakes, "WAKE_SECONDS", 60.0)
    monkeypatch.setattr(wakes, "REST_SECONDS", 3600.0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        waking, grown = Wakes(), [False]

        def tails() -> list[asyncio.Task[bool]]:
            wait = waking.async_wait
            return [loop.create_task(wait(1, lambda: grown[0], None)) for _ in range(3)]

        first = tails()
        await asyncio.sleep(0)
        grown[0] = True
        waking.announce(1)
        assert all(await asyncio.gather(*first)), "the first are woken at once"
        grown[0] = False
        second = tails()
        await asyncio.sleep(0)
        grown[0] = True
        waking.announce(1)
        waking.announce(1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(tail.done() for tail in second)
        waking._rests.clear()
        waking._resolve(loop)  # as it does when the rest is over
        assert all(await asyncio.gather(*second)), "and then all of them"

    asyncio.run(run())


def test_waiting_without_news_ends_when_its_time_is_over() -> None:
    async def run() -> bool:
        return await Wakes().async_wait(1, lambda: False, 0.01)

    assert asyncio.run(run()) is False
