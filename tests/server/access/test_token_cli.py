"""`walnut token`, on a directory and with a running server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect, unix_connect

from tests.server.process import TOKEN, Process, token_of
from walnut.cli import walnut
from walnut.client.place import client_of, server_of
from walnut.server.access.credentials import read_credential
from walnut.server.access.tokens import Tokens
from walnut.store.store import Store


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(walnut, ["token", *args], env=env)


def test_tokens_are_made_listed_and_revoked_on_a_directory(tmp_path: Path) -> None:
    data = tmp_path / "walnut-data"
    Store(data / "store").close()
    assert run("list", str(data), "--format", "json").stdout == ""
    made = run(
        "create", str(data), "ci", "--scope", "topics:read", "--scope", "tables:write:a*",
        "--expires", "1d12h", "--description", "for builds",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert TOKEN.fullmatch(text)
    assert text not in made.stderr
    with Store(data / "store") as store:
        token = Tokens(store).check(read_credential(text))
        assert token is not None
        assert token.created_by.startswith("local:")
        assert 0 < token.expires - token.created <= 36 * 3600 * 10**9
    listed = json.loads(run("list", str(data), "--format", "json").stdout)
    assert listed["scopes"] == ["topics:read", "tables:write:a*"]
    shown = run("list", str(data)).stdout
    assert re.search(r"^ci +topics:read", shown, re.MULTILINE), shown
    assert "in 1 d 1" in shown
    assert text.rpartition("_")[2] not in shown + str(listed)
    assert run("revoke", str(data), "ci").exit_code == 0
    assert run("list", str(data), "--format", "json").stdout == ""


def test_refusals_are_one_line(tmp_path: Path) -> None:
    data = tmp_path / "walnut-data"
    Store(data / "store").close()
    for args, words in (
        (("create", str(data), "ci", "--scope", "nonsense"), "is no scope"),
        (("create", str(data), "a b", "--scope", "*"), "can't be called"),
        (("create", str(data), "ci", "--scope", "*", "--expires", "soon"), "is no time"),
        (("revoke", str(data), "ci"), "there is no token 'ci'"),
        (("list", str(tmp_path / "nowhere")), "nowhere"),
    ):
        result = run(*args)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_running_server_is_asked_through_its_socket_or_by_url(tmp_path: Path) -> None:
    data = tmp_path / "walnut-data"
    with Process(data) as server:
        operator = token_of(server.ready())
        made = run("create", str(data), "ci", "--scope", "tokens:read")
        assert made.exit_code == 0, made.output
        env = {"WALNUT_TOKEN": made.stdout.strip()}
        by_url = CliRunner().invoke(
            walnut, ["token", "list", server.url, "--format", "json"], env=env
        )
        assert by_url.exit_code == 0, by_url.output
        names = [json.loads(line)["name"] for line in by_url.stdout.splitlines()]
        assert names == ["ci", "operator"]
        refused = CliRunner().invoke(walnut, ["token", "revoke", server.url, "operator"], env=env)
        assert refused.exit_code == 1
        assert "tokens:write" in refused.stderr
        assert run("revoke", str(data), "ci").exit_code == 0
        gone = CliRunner().invoke(walnut, ["token", "list", server.url], env=env)
        assert gone.exit_code == 1
        assert "not good" in gone.stderr
        still = {"WALNUT_TOKEN": operator}
        assert CliRunner().invoke(walnut, ["token", "list", server.url], env=still).exit_code == 0
        assert server.stop() == 0


def test_websockets_over_the_local_socket_are_their_users(tmp_path: Path) -> None:
    data = tmp_path / "walnut-data"
    path, uri = "/v1/topics/orders/socket", "ws://localhost/v1/topics/orders/socket"
    with Process(data) as server:
        server.ready()
        address = server_of(str(data))
        assert address is not None
        with client_of(address) as client:
            client.create_topic("orders")
        with unix_connect(str(data / "walnut.sock"), uri) as socket:
            assert socket.response is not None
            assert socket.response.status_code == 101
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{server.port}{path}")
        assert refused.value.response.status_code == 401
        assert b"urn:walnut:problem:unauthenticated" in (refused.value.response.body or b"")
        assert server.stop() == 0
