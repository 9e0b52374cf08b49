"""A server as a process: how it starts, whom it answers, what it refuses, how it stops."""

import http.client
import os
import pty
import resource
import shutil
import signal
import socket
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.server.load import Api, ask
from tests.server.process import PATIENCE, TOKEN, WALNUT, Process, token_of, walnut
from walnut.server.cli import serving
from walnut.server.directory import Running
from walnut.server.errors import RestartFailed
from walnut.shutdown.model import ExitCode


def test_it_starts_answers_by_a_token_only_and_stops_cleanly(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        server.ready()
        operator, nobody = Api(server.port, token_of(server)), Api(server.port, "x")
        assert operator.ask("GET", "/v1/status")[0] == 200
        for probe in ("/livez", "/readyz", "/startupz"):
            assert nobody.ask("GET", probe)[0] == 200
        for path in ("/", "/v1/status", "/metrics", "/schema", "/v1/tables", "/console"):
            assert nobody.ask("GET", path)[0] == 401, path
        operator.close()
        nobody.close()
        assert server.stop() == 0
        assert server.lines[-1]["report"].startswith("clean (SIGTERM)")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert not (tmp_path / "data" / "walnut.sock").exists()


def test_without_a_terminal_the_operators_token_goes_to_a_file_and_never_to_the_log(
    tmp_path: Path,
) -> None:
    file = tmp_path / "data" / "operator-token"
    with Process(tmp_path / "data") as first:
        token = token_of(first.ready())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert first.wait_for("the operator's token was written")["file"] == str(file)
        assert first.stop() == 0
        assert not TOKEN.search(first.said)
    file.unlink()
    with Process(tmp_path / "data") as second:
        second.ready()
        assert ask(second.port, token, "GET", "/v1/whoami")[1]["principal"] == "token:operator"
        assert not file.exists()


def test_on_a_terminal_the_operators_token_is_shown_and_not_written(tmp_path: Path) -> None:
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        [*WALNUT, "serve", "--data", "data", "--port", "0", "--log-format", "json"],
        cwd=tmp_path, stderr=terminal, env={**os.environ, "WALNUT_CONSOLE__ENABLED": "false"},
    ) as server:  # fmt: skip
        os.close(terminal)
        said = ""
        try:
            while '"message":"ready"' not in said:
                said += os.read(ours, 4096).decode()
        finally:
            server.kill()
    os.close(ours)
    assert len(TOKEN.findall(said)) == 1
    assert not (tmp_path / "data" / "operator-token").exists()


def test_the_operators_token_goes_to_a_file_for_its_owner_if_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "operator"
    env = {"WALNUT_ACCESS__OPERATOR_TOKEN_FILE": str(file)}
    with Process(tmp_path / "data", env=env) as server:
        server.ready()
        assert ask(server.port, file.read_text().strip(), "GET", "/v1/whoami")[0] == 200
        assert not TOKEN.search(server.said)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_file_that_is_there_is_not_written_over_and_no_token_is_lost(
    tmp_path: Path,
) -> None:
    file = tmp_path / "operator"
    file.write_text("mine")
    env = {"WALNUT_ACCESS__OPERATOR_TOKEN_FILE": str(file)}
    with Process(tmp_path / "data", env=env) as refused:
        assert refused.end() == 1
        assert "can't be written" in refused.said
    assert file.read_text() == "mine"
    assert not (tmp_path / "data").exists()
    with Process(tmp_path / "data") as server:
        assert token_of(server.ready())


def test_a_token_file_where_nothing_can_be_written_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    for path in ("nowhere/token", str(tmp_path)):
        env = {**os.environ, "WALNUT_ACCESS__OPERATOR_TOKEN_FILE": path}
        told = refusal("--data", "data", "--port", "0", cwd=tmp_path, env=env)
        assert "access.operator_token_file" in told
        assert list(tmp_path.iterdir()) == []
        check = subprocess.run([*WALNUT, "config", "check"], cwd=tmp_path, env=env, check=False)
        assert check.returncode == 1


def test_a_token_file_that_an_interrupted_start_has_left_is_written_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Process(data) as server:
        token = token_of(server.ready())
        assert server.stop() == 0
    file = data / "operator-token"
    shutil.rmtree(data / "store")
    file.write_text("")
    with Process(data) as again:
        assert token_of(again.ready()) not in {"", token}


def test_the_local_socket_is_for_its_owner_and_takes_no_token(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        server.ready()
        path = tmp_path / "data" / "walnut.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as local:
            local.connect(str(path))
            local.sendall(b"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: local.recv(65536), b""))
        assert b'"principal":"local:' in answer


def test_its_log_of_a_whole_run_holds_no_secret(tmp_path: Path) -> None:
    env = {"WALNUT_LOGGING__LEVEL": "debug", "WALNUT_LOGGING__REQUESTS": "true"}
    with Process(tmp_path / "data", env=env) as server:
        token = token_of(server.ready())
        operator = Api(server.port, token)
        made = operator.ask("POST", "/v1/tokens", {"name": "ci", "scopes": ["tables:read"]})[1]
        wrong = f"{token[:-4]}abcd"
        for sent in (made["token"], wrong, "Basic dXNlcjpwYXNzd29yZA=="):
            ask(server.port, sent, "GET", f"/v1/status?token={sent.replace(' ', '%20')}")
        operator.close()
        for sent in ("x", token):
            status = upgrade(server.port, sent, "websocket", "/v1/topics/none/socket?q=whispered")
            assert status in {401, 403}  # the topic is not there
        assert upgrade(server.port, token, "odd", "/v1/whoami?q=whispered") == 200
        assert server.stop() == 0
        said = "\n".join(map(str, server.lines))
    assert "whispered" not in said, "the query of a request"
    assert "nsupported upgrade" not in said
    assert "wrong credential" in said
    assert "/v1/status" in said
    for secret in (token, made["token"], wrong):
        assert secret.rpartition("_")[2] not in said
    assert "dXNlcjpwYXNzd29yZA" not in said


def upgrade(port: int, token: str, protocol: str, path: str) -> int:
    """The status of the answer to a request for another protocol."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as asking:
        headers = {
            "Authorization": f"Bearer {token}", "Connection": "Upgrade", "Upgrade": protocol,
            "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }  # fmt: skip
        asking.request("GET", path, headers=headers)
        return asking.getresponse().status


# -- refusals ---------------------------------------------------------------------------------------


def refusal(*args: str, cwd: Path, **popen: Any) -> str:
    done = subprocess.run(
        [*WALNUT, "serve", "--log-level", "error", *args],
        check=False, cwd=cwd, capture_output=True, text=True, timeout=60, **popen,
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return str(done.stderr)


def test_a_second_server_on_the_directory_is_told_who_has_it(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        server.ready()
        told = refusal("--data", "data", "--port", "0", cwd=tmp_path)
        assert f"process {server.popen.pid} (Walnut " in told
        assert "has the data directory" in told
        assert server.stop() == 0


def test_a_port_that_is_taken_is_named_and_leaves_the_directory_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refusal("--data", "data", "--port", str(port), cwd=tmp_path)
        assert f"127.0.0.1:{port} is in use" in told
    with Process(tmp_path / "data") as server:
        server.ready()


def test_settings_that_do_not_hold_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "walnut.toml").write_text("[server]\nprot = 1\nhost = 5\n")
    told = refusal(cwd=tmp_path)
    assert [line[:26] for line in told.splitlines()] == [
        "walnut: walnut.toml:2: ser", "walnut: walnut.toml:3: ser",
    ]  # fmt: skip
    assert [one.name for one in tmp_path.iterdir()] == ["walnut.toml"]


def test_it_does_not_listen_to_others_in_clear_text_unless_told_so(tmp_path: Path) -> None:
    told = refusal("--host", "0.0.0.0", "--port", "0", cwd=tmp_path)
    assert "tokens would travel in clear text" in told
    assert "numeric address" in refusal("--host", "example.com", cwd=tmp_path)
    env = {"WALNUT_SERVER__PLAINTEXT": "true"}
    with Process(tmp_path / "data", "--host", "0.0.0.0", env=env) as server:
        server.ready()


def test_a_disk_that_is_full_at_the_start_is_one_line_and_another_start_works(
    tmp_path: Path,
) -> None:
    limit = 1 << 20  # of a file: the log's first segment is larger

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    told = refusal("--data", "data", "--port", "0", cwd=tmp_path, preexec_fn=full)
    assert "free space" in told
    with Process(tmp_path / "data") as server:
        assert token_of(server.ready())


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photo.jpg").touch()
    assert "is not a Walnut data directory" in refusal("--data", "data", cwd=tmp_path)


# -- signals ----------------------------------------------------------------------------------------


def test_a_second_signal_skips_the_waiting(tmp_path: Path) -> None:
    with Process(tmp_path / "data", env={"WALNUT_SHUTDOWN__GRACE": "10m"}) as server:
        server.ready()
        server.signal(signal.SIGTERM)
        server.wait_for("waiting for load balancers")
        server.signal(signal.SIGTERM)
        assert server.end() == ExitCode.FORCED
        assert "SIGTERM" in server.lines[-1]["report"]


def test_a_third_signal_ends_it_on_the_spot_and_the_next_start_recovers(tmp_path: Path) -> None:
    env = {"WALNUT_SHUTDOWN__GRACE": "10m"}
    with Process(tmp_path / "data", env=env) as server:
        token = token_of(server.ready())
        server.signal(signal.SIGINT)
        server.wait_for("waiting for load balancers")
        for _ in range(2):
            server.signal(signal.SIGINT)
        # It may be over before the third comes.
        assert server.end() in {ExitCode.FORCED, ExitCode.KILLED}
    with Process(tmp_path / "data") as again:
        again.ready()
        assert ask(again.port, token, "GET", "/v1/whoami")[0] == 200


def test_a_reload_takes_up_level_and_limits_and_says_what_takes_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "walnut.toml"
    file.write_text("")
    with Process(tmp_path / "data", "--config", str(file)) as server:
        server.ready()
        file.write_text('[logging]\nlevel = "debug"\n[limits]\nbody = "10B"\nconnections = 5\n')
        server.signal(signal.SIGHUP)
        waiting = server.wait_for("these settings take a restart")
        assert waiting["settings"] == ["limits.connections"]
        server.wait_for("reload: done")
        token = token_of(server)
        assert ask(server.port, token, "POST", "/v1/tables", {"name": "larger"})[0] == 413
        assert ask(server.port, token, "GET", "/v1/tables")[0] == 200
        file.write_text("[logging]\nlevel = 5\n")
        server.signal(signal.SIGHUP)
        assert "logging.level = 5" in server.wait_for("reload failed")["message"]
        assert server.stop() == 0
        assert any(line["level"] == "debug" for line in server.lines)


def test_restart_without_a_server_says_so(tmp_path: Path) -> None:
    done = walnut("restart", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "no server has" in done.stderr


def test_a_successor_that_ends_after_the_handover_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "GAP_SECONDS", 0.0)
    with pytest.raises(RestartFailed, match="process 7 has handed over and ended, and no other"):
        serving._wait_for_successor(tmp_path, Running(pid=7, version="x"), 600.0)
