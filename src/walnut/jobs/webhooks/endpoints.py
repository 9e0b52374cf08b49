"""Webhooks as jobs: endpoints on record, deliveries in their order, each until it has arrived.

    with store.transaction() as tx:
        orders.put(tx, order)
        webhooks.send(tx, "shop", "order.paid", {"id": order.id})      # there if and only if the order is

What must stay true: an endpoint gets its messages in the order in which they were sent, each with one id
at every attempt; its secret is encrypted before it enters the log, and is gone when it is removed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from walnut.jobs.context import Context
from walnut.jobs.errors import InvalidArguments, JobsError, Postponed, UnknownJob
from walnut.jobs.jobs import Jobs
from walnut.jobs.model import Job
from walnut.jobs.outcome import Failure
from walnut.jobs.retry import Retry
from walnut.jobs.webhooks.breaker import Breaker, BreakerRules, after_failure, after_success, allow
from walnut.jobs.webhooks.guard import PUBLIC, AllowedTargets, Resolver, parse, resolve
from walnut.jobs.webhooks.sending import Outcome, Sender, SendLimits, Verdict
from walnut.jobs.webhooks.signature import new_secret, sign
from walnut.store.transaction import Transaction

BODY_BYTES: Final = 256 * 1024
"""The largest message."""


class Undelivered(JobsError):
    """The endpoint could not be reached, or answered that it can't now.

    Attributes:
        retry_after: seconds that it asked for; None if it did not.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Refused(JobsError):
    """The endpoint does not take the message, and would not later either; or it may not be called."""


class Gone(Refused):
    """The endpoint answered 410: it is disabled."""


class MessageTooLarge(JobsError, ValueError):
    """A message is over `BODY_BYTES`."""


DELIVERY: Final = Retry(attempts=18, first=5.0, most=12 * 3600.0, permanent=(Refused,))
"""Some two days: receivers that are down come back in that time, or not at all."""


class Endpoint(msgspec.Struct):
    """Where webhooks go.

    Attributes:
        id: of our choosing. url: its address.
        secrets: each message is signed with all of them, so that one can be replaced in time.
        disabled: why nothing is sent any more; empty if it is.
    """

    id: str
    url: str
    secrets: list[str]
    disabled: str = ""

    def __repr__(self) -> str:
        """Without what nobody is to read in a program's logs."""
        return f"<Endpoint {self.id}{' (disabled)' if self.disabled else ''}>"


class Message(msgspec.Struct):
    """The body of a webhook, as Standard Webhooks has it."""

    type: str
    timestamp: str
    data: Any


class Webhooks:
    """Endpoints, and the effect that delivers to them.

    Args:
        allowed: where endpoints may be; by default public addresses only.
        breaker: when one that keeps failing is left alone, and for how long.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        allowed: AllowedTargets = PUBLIC,
        limits: SendLimits | None = None,
        retry: Retry = DELIVERY,
        breaker: BreakerRules | None = None,
        resolver: Resolver = resolve,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._jobs = jobs
        self._allowed = allowed
        self._rules = breaker or BreakerRules()
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._sender: Sender
        self._make: Callable[[], Sender] = lambda: Sender(
            allowed, limits, resolver=resolver, clock=clock
        )
        jobs.alongside(self._sending)
        self.endpoints = jobs.store.table(
            "jobs.endpoints",
            Endpoint,
            key=lambda endpoint: endpoint.id,
            subject=lambda endpoint: f"endpoint {endpoint.id}",
        )
        self._deliver = jobs.effect(name="walnut.webhook", queue="webhooks", retry=retry)(
            self._attempt
        )
        self._deliver.otherwise(self._given_up)

    @asynccontextmanager
    async def _sending(self) -> AsyncIterator[None]:
        async with self._make() as self._sender:
            yield

    # -- endpoints ------------------------------------------------------------------------------

    def add(self, tx: Transaction, id_: str, url: str, secret: str | None = None) -> Endpoint:
        """An endpoint; in place of the one with this id. Its secret, to be told to the receiver, is
        made if none is given. Raises UrlRefused, InvalidSecret."""
        parse(url, self._allowed)
        secret = secret or new_secret(tx.keyring.entropy(32))
        sign([secret], "check", 0, b"")
        return self.endpoints.put(tx, Endpoint(id_, url, [secret]))

    def rotate(self, tx: Transaction, id_: str, *, keep: int = 1) -> Endpoint:
        """A new secret; messages are signed with the last `keep` ones as well, until the next call.

        Raises UnknownJob if there is no such endpoint."""
        endpoint = self._need(tx, id_)
        endpoint.secrets = [new_secret(tx.keyring.entropy(32)), *endpoint.secrets[:keep]]
        return self.endpoints.put(tx, endpoint)

    def enable(self, tx: Transaction, id_: str) -> Endpoint:
        """Send to an endpoint again that was disabled. Raises UnknownJob if there is none."""
        endpoint = self._need(tx, id_)
        endpoint.disabled = ""
        return self.endpoints.put(tx, endpoint)

    def remove(self, tx: Transaction, id_: str) -> bool:
        """Remove an endpoint, and its secrets from everywhere; what is still to be sent is not."""
        self._jobs.store.erase_subject(tx, f"endpoint {id_}")
        return self.endpoints.delete(tx, id_)

    def _need(self, tx: Transaction, id_: str) -> Endpoint:
        endpoint = self.endpoints.get(tx, id_)
        if endpoint is None:
            raise UnknownJob(f"there is no endpoint {id_!r}: `add` makes one")
        return endpoint

    # -- messages -------------------------------------------------------------------------------

    def send(self, tx: Transaction, endpoint: str, kind: str, data: object) -> Job:
        """A message for an endpoint, after those sent to it before.

        Raises UnknownJob if there is no such endpoint, InvalidArguments, MessageTooLarge."""
        self._need(tx, endpoint)
        try:
            body = msgspec.json.encode(Message(kind, tx.now.isoformat(), data))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArguments(f"a webhook {kind!r} can't be JSON: {error}") from error
        if len(body) > BODY_BYTES:
            raise MessageTooLarge(
                f"a webhook of {len(body)} bytes: it may have {BODY_BYTES}; send a reference instead"
            )
        return self._jobs.call(tx, self._deliver, endpoint, body, lane=f"webhook {endpoint}")

    async def _attempt(self, context: Context, endpoint_id: str, body: bytes) -> int:
        """Deliver; the status that came back."""
        endpoint = self.endpoints.get(self._jobs.store, endpoint_id)
        if endpoint is None or endpoint.disabled:
            raise Refused(
                f"endpoint {endpoint_id} was removed" if endpoint is None else endpoint.disabled
            )
        now = self._clock()
        permit = allow(self._breakers.get(endpoint_id, Breaker()), now, self._rules)
        self._breakers[endpoint_id] = permit.state
        if not permit.allowed:
            raise Postponed(permit.wait_ns / 1e9, f"{endpoint_id} keeps failing and is left alone")
        headers = sign(endpoint.secrets, f"msg_{context.key}", now // 1_000_000_000, body)
        outcome = await self._sender.post(
            endpoint.url, headers | {"content-type": "application/json"}, body
        )
        if outcome.verdict is Verdict.TRANSIENT:
            self._breakers[endpoint_id] = after_failure(
                self._breakers[endpoint_id], self._clock(), self._rules
            )
            raise Undelivered(_told(outcome), outcome.retry_after)
        self._breakers[endpoint_id] = after_success(self._breakers[endpoint_id])
        if outcome.gone:
            raise Gone(_told(outcome))
        if outcome.verdict is Verdict.PERMANENT:
            raise Refused(_told(outcome))
        return outcome.status or 0

    def _given_up(self, tx: Transaction, job: Job, failure: Failure) -> None:
        if failure.error.endswith(".Gone"):
            (endpoint_id, _) = msgspec.msgpack.decode(job.arguments)
            endpoint = self.endpoints.get(tx, endpoint_id)
            if endpoint is not None:
                endpoint.disabled = f"it answered 410 (gone) at {tx.now:%Y-%m-%d %H:%M} UTC"
                self.endpoints.put(tx, endpoint)


def _told(outcome: Outcome) -> str:
    return f"{outcome.cause.value}: {outcome.detail}"
