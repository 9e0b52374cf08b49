"""Webhooks as jobs, to a real server: in order, until they have arrived, and no secret in the clear."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.jobs.helpers import SMALL, until
from tests.jobs.webhooks.endpoint import OK, Endpoint
from tests.store.helpers import every_byte
from walnut.jobs import Job, JobFailed, Jobs, Retry, State, Webhooks
from walnut.jobs.errors import InvalidArguments, NotPossible, UnknownJob
from walnut.jobs.webhooks import AllowedTargets, BreakerRules
from walnut.jobs.webhooks.endpoints import MessageTooLarge, Refused
from walnut.jobs.webhooks.errors import UrlRefused
from walnut.jobs.webhooks.signature import new_secret
from walnut.store import Store, Transaction

HERE = AllowedTargets(
    networks=(ipaddress.ip_network("127.0.0.0/8"),), ports=frozenset(range(1, 65536))
)
FAST = Retry(attempts=4, first=0.01, most=0.05, permanent=(Refused,))


def status(code: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {code} x\r\n{more}content-length: 0\r\n\r\n".encode()


class Shop:
    """A store with webhooks, run on the loop at hand, and an endpoint that answers."""

    def __init__(self, path: Path, *answers: bytes, **options: Any) -> None:
        self.store = Store(path, SMALL)
        self.jobs = Jobs(self.store)
        self.webhooks = Webhooks(self.jobs, allowed=HERE, **({"retry": FAST} | options))
        self.server = Endpoint(self.answer)
        self.answers = list(answers)

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        """With the answers given, in their order, then OK."""
        writer.write(self.answers.pop(0) if self.answers else OK)
        await writer.drain()

    async def add(self, secret: str | None = None) -> str:
        """The secret of the endpoint "shop"."""
        url = f"http://127.0.0.1:{self.server.port}/hooks?token=hidden-in-the-url"
        return (await self.store.run(self.webhooks.add, "shop", url, secret)).secrets[0]

    async def send(self, *numbers: int) -> list[Job]:
        """All in one transaction."""

        def send(tx: Transaction) -> list[Job]:
            return [self.webhooks.send(tx, "shop", "paid", {"n": number}) for number in numbers]

        return await self.store.run(send)

    def run(self, main: Callable[[Shop], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with self.server:
                await self.jobs.start()
                try:
                    await main(self)
                finally:
                    await self.jobs.stop(1.0)

        try:
            asyncio.run(whole())
        finally:
            self.store.close()

    def state(self, job: Job) -> State:
        row = self.jobs.get(self.store, job)
        assert row is not None
        return row.state

    @property
    def numbers(self) -> list[int]:
        """What was received."""
        return [json.loads(one.body)["data"]["n"] for one in self.server.received]


def test_messages_arrive_in_their_order_signed_and_each_with_one_id(tmp_path: Path) -> None:
    async def main(shop: Shop) -> None:
        secret = await shop.add()
        jobs = await shop.send(*range(10)) + await shop.send(10, 11)
        assert [await shop.jobs.result(job) for job in jobs] == [200] * 12
        assert shop.numbers == [0, 1, 1, 1, *range(2, 12)]
        ids = [one.headers["webhook-id"] for one in shop.server.received]
        assert ids[1] == ids[2] == ids[3]
        assert len(set(ids)) == 12
        for one in shop.server.received:
            body = Webhook(secret).verify(one.body, one.headers)
            assert body["type"] == "paid"

    Shop(tmp_path, OK, status(503), status(500)).run(main)


def test_one_that_is_refused_for_good_is_dead_and_the_next_goes_on(tmp_path: Path) -> None:
    async def main(shop: Shop) -> None:
        await shop.add()
        first, second = await shop.send(1, 2)
        with pytest.raises(JobFailed, match="answered 400"):
            await shop.jobs.result(first)
        assert await shop.jobs.result(second) == 200
        await shop.store.run(shop.jobs.retry, first)
        assert await shop.jobs.result(first) == 200
        assert shop.numbers == [1, 2, 1]

    Shop(tmp_path, status(400)).run(main)


def test_an_endpoint_that_is_gone_is_disabled_until_somebody_enables_it(tmp_path: Path) -> None:
    async def main(shop: Shop) -> None:
        await shop.add()
        first, second = await shop.send(1, 2)
        for job, told in ((first, "answered 410"), (second, "it answered 410")):
            with pytest.raises(JobFailed, match=told):
                await shop.jobs.result(job)
        assert shop.numbers == [1]
        await shop.store.run(shop.webhooks.enable, "shop")
        await shop.store.run(shop.jobs.retry, second)
        assert await shop.jobs.result(second) == 200

    Shop(tmp_path, status(410)).run(main)


def test_an_endpoint_that_keeps_failing_is_left_alone_and_loses_nothing(tmp_path: Path) -> None:
    async def main(shop: Shop) -> None:
        await shop.add()
        jobs = await shop.send(1, 2)
        assert [await shop.jobs.result(job) for job in jobs] == [200, 200]
        assert shop.numbers == [1] * 5 + [2]
        row = shop.jobs.get(shop.store, jobs[0])
        assert row is not None
        assert row.failures == 4, "being left alone is no failure"
        assert row.attempt > 5

    wait = 50_000_000
    rules = BreakerRules(threshold=2, wait_ns=wait, cap_ns=2 * wait)
    retry = Retry(attempts=8, first=0.001, most=0.001, permanent=(Refused,))
    Shop(tmp_path, *[status(503)] * 4, breaker=rules, retry=retry).run(main)


def test_who_asks_for_patience_gets_it(tmp_path: Path) -> None:
    async def main(shop: Shop) -> None:
        await shop.add()
        (job,) = await shop.send(1)
        await until(lambda: shop.state(job) is State.WAITING)
        row = shop.jobs.get(shop.store, job)
        assert row is not None
        assert row.due - row.started > 50e9
        await shop.store.run(shop.jobs.retry, job)
        assert await shop.jobs.result(job) == 200

    retry = Retry(attempts=3, first=0.01, most=3600, permanent=(Refused,))
    Shop(tmp_path, status(429, "retry-after: 60\r\n"), retry=retry).run(main)


def test_secrets_are_rotated_and_nowhere_in_the_clear(tmp_path: Path) -> None:
    given = new_secret(b"0123456789abcdef0123456789abcdef")
    secrets = [given]

    async def main(shop: Shop) -> None:
        await shop.add(given)
        secrets.append((await shop.store.run(shop.webhooks.rotate, "shop")).secrets[0])
        (job,) = await shop.send(1)
        await shop.jobs.result(job)
        (received,) = shop.server.received
        for secret in secrets:
            assert Webhook(secret).verify(received.body, received.headers)
        (job,) = await shop.send(2)
        with pytest.raises(JobFailed):
            await shop.jobs.result(job)
        assert secrets[0] not in repr(shop.webhooks.endpoints.get(shop.store, "shop"))
        assert shop.webhooks.endpoints.get(shop.store, "shop") is not None
        await asyncio.to_thread(shop.store.checkpoint)

    Shop(tmp_path, OK, status(400)).run(main)
    everything = every_byte(tmp_path)
    for secret in secrets:
        assert secret.encode() not in everything
        assert secret.removeprefix("whsec_").encode() not in everything
    assert b"hidden-in-the-url" not in everything


def test_an_endpoint_that_was_removed_gets_nothing_more(tmp_path: Path) -> None:
    async def main(shop: Shop) -> None:
        await shop.add()
        await shop.store.run(shop.jobs.pause, "webhooks")
        (job,) = await shop.send(1)
        assert await shop.store.run(shop.webhooks.remove, "shop")
        assert not await shop.store.run(shop.webhooks.remove, "shop")
        await shop.store.run(shop.jobs.resume, "webhooks")
        with pytest.raises(JobFailed, match="was removed"):
            await shop.jobs.result(job)
        with pytest.raises(UnknownJob, match="no endpoint 'shop'"):
            await shop.send(2)
        await shop.add()
        (job,) = await shop.send(3)
        assert await shop.jobs.result(job) == 200
        assert shop.numbers == [3]

    Shop(tmp_path).run(main)


def test_what_can_not_be_sent_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        webhooks = Webhooks(jobs)
        with pytest.raises(UrlRefused), store.transaction() as tx:
            webhooks.add(tx, "a", "ftp://example.com/")
        with store.transaction() as tx:
            webhooks.add(tx, "a", "https://example.com/")
        for data, error in (
            (object(), InvalidArguments),
            ({(1, 2): 3}, InvalidArguments),
            ("x" * 300_000, MessageTooLarge),
        ):
            with pytest.raises(error), store.transaction() as tx:
                webhooks.send(tx, "a", "paid", data)
        assert jobs._ledger.jobs.count(store) == 0


def test_webhooks_are_made_before_jobs_are_run(tmp_path: Path) -> None:
    with Store(tmp_path, SMALL) as store:
        jobs = Jobs(store)
        with jobs, pytest.raises(NotPossible, match="before that"):
            Webhooks(jobs)
