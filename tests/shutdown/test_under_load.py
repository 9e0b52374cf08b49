"""Under load from real clients, at any moment: no request that arrived goes without an answer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from tests.shutdown.children import Config
from tests.shutdown.client import Client, Load, server

ROUNDS = int(os.environ.get("WALNUT_ROUNDS", "3"))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_sigterm_loses_no_request(loop: str, tmp_path: Path) -> None:
    async def round_(seed: int) -> None:
        rng = random.Random(seed)
        async with server(Config(str(tmp_path), loop)) as child:
            load = Load(child.port, rng)
            running = asyncio.create_task(load.run())
            while not load.answers:
                await asyncio.sleep(0.001)
            await asyncio.sleep(rng.random() * 0.2)
            child.signal(signal.SIGTERM)
            code = await child.ended()
            await running
            assert load.lost == [], child.lines
            assert code == 0, child.lines

    for seed in range(ROUNDS):
        asyncio.run(round_(seed))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_restart_refuses_and_loses_nothing(loop: str, tmp_path: Path) -> None:
    async def rounds() -> None:
        async with server(Config(str(tmp_path), loop)) as child:
            load = Load(child.port, random.Random(1))
            running = asyncio.create_task(load.run())
            pid = child.process.pid
            for _ in range(ROUNDS):
                seen = load.answers
                while load.answers < seen + 50 and not running.done():
                    await asyncio.sleep(0.001)
                os.kill(pid, signal.SIGUSR2)
                pid = int((await child.until("listening ")).split()[2])
                await child.until("running phase")
            load.ending = True
            await running
            assert (load.lost, load.refused) == ([], 0), child.lines
            assert len(load.servers) >= ROUNDS
            assert [line for line in child.lines if line.startswith("report clean (handed over)")]
            client = Client(child.port)
            assert (await client.get()).body.endswith(b"%d" % pid)
            await client.close()
            os.kill(pid, signal.SIGTERM)
            await child.ended()
            assert "report clean (SIGTERM)" in child.lines[-1]

    asyncio.run(rounds())
