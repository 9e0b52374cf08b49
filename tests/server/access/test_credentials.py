"""Who is let in: tokens, sockets, sessions; and how many wrong tries are put up with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.server.access.asking import DAY, ROOT, World, ask, scope_of
from walnut.server.access import credentials, tokens
from walnut.server.access.attempts import ADDRESSES, KNOWN, AttemptLimits, Attempts
from walnut.server.access.credentials import Credential, new_credential, read_credential
from walnut.server.access.errors import (
    InvalidToken,
    MoreThanOwn,
    NameTaken,
    TooManyTokens,
    UnknownToken,
)
from walnut.server.access.tokens import Tokens, Wanted, first_token
from walnut.shutdown.asgi import PEER
from walnut.store.store import Store
from walnut.web.caller import Caller
from walnut.web.errors import InvalidScope, Unauthenticated

pytestmark = pytest.mark.anyio
WHOAMI = "/v1/whoami"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


async def test_a_token_is_let_in_and_told_who_it_is(world: World) -> None:
    _, text = world.token("ci", "topics:read")
    answer = await ask(world.app, "GET", WHOAMI, token=text)
    assert (answer.status, answer.document) == (
        200,
        {"principal": "token:ci", "scopes": ["topics:read"]},
    )


async def test_without_a_credential_the_answer_says_which_kind_to_send(world: World) -> None:
    answer = await ask(world.app, "GET", WHOAMI)
    assert (answer.status, answer.slug) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="walnut"'


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Bearer ", "Basic b3A6b3A=", "Bearer walnut_", "walnut_{id}_{secret}",
        "Bearer walnut_{id}_{wrong}", "Bearer walnut_{other}_{secret}", "Bearer {secret}",
        "Bearer walnut_{id}_{secret}x", "Bearer wälnut_{id}_{secret}", "Bearer walnut_{id}_{secret}\n",
        "Bearer walnut_{id}_" + "9" * 100_000, "Bearer walnut_{id}_\u00b2" + "9" * 42,
    ],
)  # fmt: skip
async def test_what_is_not_a_good_token_is_refused(world: World, header: str) -> None:
    token, text = world.token("ci", "*")
    secret = text.rpartition("_")[2]
    sent = header.format(id=token.id, secret=secret, wrong="0" * 43, other="0" * 12)
    if sent.endswith("\n"):
        sent += "x"  # what is trimmed at the end is no part of it
    answer = await ask(world.app, "GET", WHOAMI, ("authorization", sent))
    assert (answer.status, answer.slug) == (401, "unauthenticated")
    assert secret not in answer.body.decode()


async def test_two_authorization_headers_are_refused_even_if_both_are_good(world: World) -> None:
    bearer = ("authorization", f"Bearer {world.operator}")
    answer = await ask(world.app, "GET", WHOAMI, bearer, bearer)
    assert answer.status == 401
    assert "two Authorization headers" in answer.document["detail"]


async def test_a_token_is_good_until_it_expires(world: World) -> None:
    _, text = world.token("brief", "*", expires=world.clock.ns() + DAY)
    assert (await ask(world.app, "GET", WHOAMI, token=text)).status == 200
    world.clock.now += 86_400
    assert (await ask(world.app, "GET", WHOAMI, token=text)).status == 401


def test_a_revoked_token_is_refused_at_once_and_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, text = world.token("ci", "*")
    world.tokens.revoke_now("ci", ROOT)
    assert world.tokens.check(read_credential(text)) is None
    world.store.close()
    with Store(tmp_path / "store") as store:
        assert Tokens(store).check(read_credential(text)) is None


def test_tokens_are_known_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, text = world.token("ci", "topics:read:o*")
    world.store.close()
    with Store(tmp_path / "store") as store:
        again = Tokens(store)
        found = again.check(read_credential(text))
        assert found is not None
        assert (found.name, found.scopes, found.created_by) == ("ci", ("topics:read:o*",), "test")
        assert first_token(again) is None  # only a first start makes the operator's


def test_nothing_that_opens_a_door_is_in_the_store(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, text = world.token("ci", "*")
    world.store.close()
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    data = b"".join(path.read_bytes() for path in files)
    assert b"ci" in data
    for secret in (text, world.operator):
        assert secret.rpartition("_")[2].encode() not in data


def test_a_credential_does_not_show_its_secret() -> None:
    made = new_credential()
    assert made.secret not in repr(made)
    assert read_credential(made.text) == made


def test_secrets_are_compared_in_constant_time_and_always(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", digest)
    token, text = world.token("ci", "*")
    good = read_credential(text)
    assert good is not None
    assert world.tokens.check(good) is not None
    assert world.tokens.check(Credential(token.id, "0" * 43)) is None
    assert world.tokens.check(Credential("0" * 12, "0" * 43)) is None
    assert world.tokens.check(None) is None
    assert len(compared) == 4
    assert compared[0] == (token.digest, token.digest)
    assert all(len(one) == len(other) == 32 for one, other in compared)


def test_a_wrong_secret_that_hashes_to_nothing_known_never_meets_a_missing_token() -> None:
    assert not credentials.same(Credential("0" * 12, "0" * 43).digest, credentials.NO_DIGEST)


# -- what a token may give -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "own", "fits"),
    [
        ("topics:read", ("*",), True),
        ("*", ("*",), True),
        ("*", ("topics:admin", "tables:admin"), False),
        ("topics:read", ("topics:write",), True),
        ("topics:write", ("topics:read",), False),
        ("topics:read:a*", ("topics:read",), True),
        ("topics:read", ("topics:read:a*",), False),
        ("topics:read:abc", ("topics:read:a*",), True),
        ("topics:read:ab*", ("topics:read:a*",), True),
        ("topics:read:*a", ("topics:read:a*",), False),
        ("topics:read:[ab]", ("topics:read:a*",), False),
        ("topics:read:a?", ("topics:read:a?",), True),
        ("*:read", ("topics:read",), False),
        ("tables:read", ("*:read",), True),
    ],
)
async def test_a_token_grants_no_more_than_its_creator_has(
    world: World, scope: str, own: tuple[str, ...], *, fits: bool
) -> None:
    creator = Caller("token:creator", own, "")
    making = world.tokens.create(Wanted(name="made", scopes=(scope,)), creator)
    if fits:
        assert (await making).token.scopes == (scope,)
    else:
        with pytest.raises(MoreThanOwn, match="himself"):
            await making


async def test_a_token_does_not_outlive_its_creator(world: World) -> None:
    until = world.clock.ns() + DAY
    with pytest.raises(MoreThanOwn, match="expires before"):
        await world.tokens.create(
            Wanted(name="long", scopes=("*",), expires=until + 1), ROOT, until
        )
    made = await world.tokens.create(Wanted(name="same", scopes=("*",)), ROOT, until)
    assert made.token.expires == until


async def test_who_has_less_than_a_token_does_not_revoke_it(world: World) -> None:
    with pytest.raises(MoreThanOwn, match="operator has the scope"):
        await world.tokens.revoke("operator", Caller("token:small", ("tokens:admin",), ""))
    assert (await ask(world.app, "GET", WHOAMI, token=world.operator)).status == 200


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (Wanted(name="", scopes=("*",)), InvalidToken),
        (Wanted(name="a b", scopes=("*",)), InvalidToken),
        (Wanted(name="ä", scopes=("*",)), InvalidToken),
        (Wanted(name="a" * 65, scopes=("*",)), InvalidToken),
        (Wanted(name="a", scopes=()), InvalidToken),
        (Wanted(name="a", scopes=("*",) * 65), InvalidToken),
        (Wanted(name="a", scopes=("topics",)), InvalidScope),
        (Wanted(name="a", scopes=("topics:fly",)), InvalidScope),
        (Wanted(name="a", scopes=("topics:read:",)), InvalidScope),
        (Wanted(name="a", scopes=("topics:read:\x00",)), InvalidScope),
        (Wanted(name="a", scopes=("topics:read:" + "x" * 300,)), InvalidScope),
        (Wanted(name="a", scopes=("*",), description="x" * 501), InvalidToken),
        (Wanted(name="a", scopes=("*",), description="a\nb"), InvalidToken),
        (Wanted(name="a", scopes=("*",), expires=1), InvalidToken),
        (Wanted(name="operator", scopes=("*",)), NameTaken),
    ],
)
async def test_what_can_not_be_a_token_is_refused(
    world: World, wanted: Wanted, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await world.tokens.create(wanted, ROOT)
    assert [token.name for token in world.tokens] == ["operator"]


async def test_there_are_no_more_tokens_than_fit_in_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST_TOKENS", 2)
    world.token("second", "*")
    with pytest.raises(TooManyTokens):
        world.token("third", "*")


async def test_revoking_what_is_not_there_says_so(world: World) -> None:
    with pytest.raises(UnknownToken):
        await world.tokens.revoke("nobody", ROOT)


# -- the local socket ----------------------------------------------------------------------------


@pytest.mark.parametrize(("uid", "status"), [(0, 200), (os.geteuid(), 200), (54_321, 401)])
async def test_the_local_socket_is_for_its_owner_and_root(
    world: World, uid: int, status: int
) -> None:
    state = {PEER: (1, uid, 1)}
    answer = await ask(world.app, "GET", WHOAMI, client=None, state=state)
    assert answer.status == status
    if status == 200:
        assert answer.document["principal"].startswith("local:")
        assert answer.document["scopes"] == ["*"]


async def test_a_token_on_the_local_socket_counts_and_not_its_user(world: World) -> None:
    _, text = world.token("ci", "topics:read")
    state = {PEER: (1, 0, 0)}
    answer = await ask(world.app, "GET", WHOAMI, client=None, state=state, token=text)
    assert answer.document["principal"] == "token:ci"
    wrong = await ask(world.app, "GET", WHOAMI, client=None, state=state, token="walnut_x_y")
    assert wrong.status == 401


# -- wrong credentials ---------------------------------------------------------------------------

FEW = AttemptLimits(burst=3, per_minute=6, burst_of_all=5, per_minute_of_all=6)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, attempts=FEW)
    yield made
    made.store.close()


def wrong() -> str:
    return new_credential().text


async def test_an_address_that_tries_too_often_is_refused_until_time_has_passed(
    strict: World,
) -> None:
    app = strict.app
    for _ in range(3):
        assert (await ask(app, "GET", WHOAMI, token=wrong())).status == 401
    answer = await ask(app, "GET", WHOAMI, token=wrong())
    assert (answer.status, answer.slug) == (429, "too-many-attempts")
    assert int(answer.headers["retry-after"]) > 0
    # Not even a good one is looked at, or guessing would go on at full speed.
    assert (await ask(app, "GET", WHOAMI, token=strict.operator)).status == 429
    assert (await ask(app, "GET", WHOAMI, token=strict.operator, client="192.0.2.2")).status == 200
    strict.clock.now += 10
    assert (await ask(app, "GET", WHOAMI, token=strict.operator)).status == 200


async def test_who_was_good_before_goes_on_beside_one_that_is_refused(strict: World) -> None:
    app = strict.app
    assert (await ask(app, "GET", WHOAMI, token=strict.operator)).status == 200
    for _ in range(4):
        await ask(app, "GET", WHOAMI, token=wrong())
    assert (await ask(app, "GET", WHOAMI, token=wrong())).status == 429
    assert (await ask(app, "GET", WHOAMI, token=strict.operator)).status == 200


async def test_many_addresses_together_are_slowed_and_nobody_good_is_locked_out(
    strict: World,
) -> None:
    app = strict.app
    statuses = [
        (await ask(app, "GET", WHOAMI, token=wrong(), client=f"198.51.100.{n}")).status
        for n in range(8)
    ]
    assert statuses == [401] * 5 + [429] * 3
    assert (await ask(app, "GET", WHOAMI, token=strict.operator)).status == 200


async def test_an_ipv6_network_is_one_address(strict: World) -> None:
    statuses = [
        (await ask(strict.app, "GET", WHOAMI, token=wrong(), client=f"2001:db8::{n}")).status
        for n in range(1, 6)
    ]
    assert statuses == [401, 401, 401, 429, 429]


async def test_a_missing_credential_is_no_attempt(strict: World) -> None:
    for _ in range(10):
        assert (await ask(strict.app, "GET", WHOAMI)).status == 401
    assert (await ask(strict.app, "GET", WHOAMI, token=strict.operator)).status == 200


def test_memory_of_attempts_is_bounded() -> None:
    attempts = Attempts(AttemptLimits(), lambda: 0.0)
    for number in range(KNOWN + 10):
        attempts.wrong(f"10.0.{number // 256}.{number % 256}")
        attempts.good(f"10.0.{number // 256}.{number % 256}", "id")
    assert len(attempts._buckets) == ADDRESSES
    assert len(attempts._known) == KNOWN
    assert attempts.failed == KNOWN + 10


def test_a_wrong_credential_is_logged_without_its_secret(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    text = wrong()
    scope = scope_of("GET", WHOAMI, [("authorization", f"Bearer {text}")])
    with pytest.raises(Unauthenticated):
        world.gate.authenticate(scope)
    logged = capsys.readouterr().out
    assert "wrong credential" in logged
    assert "192.0.2.1" in logged
    assert text.rpartition("_")[2] not in logged


# -- over HTTP -----------------------------------------------------------------------------------


async def call(world: World, method: str, path: str, body: Any = None, **more: Any) -> Any:
    data = b"" if body is None else msgspec.json.encode(body)
    return await ask(world.app, method, path, body=data, **{"token": world.operator, **more})


async def test_tokens_are_made_listed_used_and_revoked_over_http(world: World) -> None:
    made = await call(world, "POST", "/v1/tokens", {"name": "ci", "scopes": ["topics:read"]})
    assert made.status == 201
    assert made.headers["cache-control"] == "no-store"
    text = made.document["token"]
    assert (await ask(world.app, "GET", WHOAMI, token=text)).status == 200
    listed = await call(world, "GET", "/v1/tokens")
    assert [item["name"] for item in listed.document["items"]] == ["ci", "operator"]
    assert text.rpartition("_")[2] not in listed.body.decode()
    assert all("digest" not in item and "token" not in item for item in listed.document["items"])
    assert listed.document["items"][0]["last_used"]
    assert (await call(world, "DELETE", "/v1/tokens/ci")).status == 204
    assert (await ask(world.app, "GET", WHOAMI, token=text)).status == 401
    gone = await call(world, "GET", "/v1/tokens/ci")
    assert (gone.status, gone.slug) == (404, "unknown-token")


async def test_the_same_key_makes_one_token_whose_text_is_told_once(world: World) -> None:
    body = {"name": "ci", "scopes": ["topics:read"]}
    key = ("idempotency-key", "once")
    send = msgspec.json.encode(body)
    first = await ask(world.app, "POST", "/v1/tokens", key, body=send, token=world.operator)
    again = await ask(world.app, "POST", "/v1/tokens", key, body=send, token=world.operator)
    assert first.document["id"] == again.document["id"]
    assert first.document["token"]
    assert "token" not in again.document
    assert again.headers["idempotency-replayed"] == "true"
    assert len(world.tokens) == 2


async def test_a_route_names_the_scope_that_is_missing(world: World) -> None:
    _, text = world.token("small", "topics:read")
    answer = await call(world, "GET", "/v1/tokens", token=text)
    assert (answer.status, answer.slug) == (403, "forbidden")
    assert answer.document["scope"] == "tokens:read"
    assert 'scope="tokens:read"' in answer.headers["www-authenticate"]


async def test_creating_at_the_same_time_under_one_name_makes_one(world: World) -> None:
    wanted = Wanted(name="ci", scopes=("*",))
    results = await asyncio.gather(
        *(world.tokens.create(wanted, ROOT) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, NameTaken) for result in results) == 7
    assert len(world.tokens) == 2
