"""Waking those who wait for a topic to grow."""

from __future__ import annotations

import asyncio

from walnut.topics.wakes import Wakes


def test_waiting_without_news_ends_when_its_time_is_over() -> None:
    async def run() -> bool:
        return await Wakes().async_wait(1, lambda: False, 0.01)

    assert asyncio.run(run()) is False
