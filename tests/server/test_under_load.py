"""Stops, kills and hot restarts while clients write: nothing that was acknowledged is lost, nothing that
was accepted goes without an answer."""

import os
import random
import signal
from pathlib import Path

import pytest

from tests.server.load import Api, Load, make_table, rows_missing
from tests.server.process import PATIENCE, Process, token_of, walnut
from walnut.server.directory import running_in
from walnut.server.errors import NotRunning

ROUNDS = int(os.environ.get("WALNUT_ROUNDS", "3"))
"""Of each; hundreds were run outside CI."""


def prepared(server: Process) -> str:
    token = token_of(server.ready())
    api = Api(server.port, token)
    make_table(api)
    api.close()
    return token


def check(data: Path, token: str, keys: list[str]) -> None:
    """A new start has every row that was acknowledged."""
    with Process(data) as server:
        server.ready()
        api = Api(server.port, token)
        assert rows_missing(api, keys) == []
        api.close()
        assert server.stop() == 0


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_stop_at_any_moment_answers_all_it_accepted_and_loses_nothing(
    seed: int, tmp_path: Path
) -> None:
    with Process(tmp_path / "data") as server:
        token = prepared(server)
        with Load(server.port, token) as load:
            load.wait_for(random.Random(seed).randint(1, 60))
            assert server.stop() == 0
        assert load.unanswered == []
        assert load.refused == []
    check(tmp_path / "data", token, load.acknowledged)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(
    seed: int, tmp_path: Path
) -> None:
    with Process(tmp_path / "data") as server:
        token = prepared(server)
        with Load(server.port, token) as load:
            load.wait_for(random.Random(seed).randint(1, 60))
            server.signal(signal.SIGKILL)
            assert server.end() == -signal.SIGKILL
        assert load.refused == []
    check(tmp_path / "data", token, load.acknowledged)


def test_a_hot_restart_refuses_no_connection_and_loses_no_request(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Process(data) as server:
        token, port = prepared(server), server.port
        with Load(port, token) as load:
            load.wait_for(20)
            for _ in range(ROUNDS):
                before = running_in(data).pid
                done = walnut("restart", str(data))
                assert done.returncode == 0, (done.stderr, server.said)
                assert running_in(data).pid != before
                load.wait_for(20)
        assert (load.not_connected, load.unanswered, load.refused) == (0, [], [])
        assert server.popen.wait(PATIENCE) == 0
        last = running_in(data).pid
        os.kill(last, signal.SIGTERM)
        # The last of them writes to the same place: its end is the end of what there is to read.
        server.end()
    with pytest.raises(NotRunning):
        running_in(data)
    check(data, token, load.acknowledged)


def test_a_restart_that_fails_leaves_the_server_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "walnut.toml"
    file.write_text("")
    with Process(tmp_path / "data", "--config", str(file)) as server:
        token = prepared(server)
        file.write_text("[server]\nprot = 1\n")
        done = walnut("restart", str(tmp_path / "data"), "--timeout", str(10 * PATIENCE))
        assert done.returncode == 1
        assert f"process {server.popen.pid} did not hand over" in done.stderr
        assert "server.prot = 1" in done.stderr
        server.wait_for("restart failed")
        with Load(server.port, token) as load:
            load.wait_for(5)
        assert (load.not_connected, load.unanswered, load.refused) == (0, [], [])
        assert server.stop() == 0
