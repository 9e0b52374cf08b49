"""A log that has failed for good: who asks is told, and the server stops by itself, for another start."""

import signal
import subprocess
from pathlib import Path

from tests.server.load import Api, make_table, rows_missing
from tests.server.process import Process, token_of, walnut
from walnut.shutdown.model import ExitCode

PROGRAM = "tests.server.failing"


def test_a_log_that_has_failed_is_told_and_stops_the_server_and_a_new_start_recovers(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    env = {"WALNUT_SHUTDOWN__GRACE": "10m"}  # ended by a signal, when all was seen
    with Process(data, env=env, program=PROGRAM, stdin=subprocess.PIPE) as server:
        token = token_of(server.ready())
        api = Api(server.port, token)
        make_table(api)
        row = {"key": "k", "value": 1}
        assert api.ask("PUT", "/v1/tables/notes/rows/k", row)[0] < 300
        assert api.ask("GET", "/readyz")[0] == 200
        assert server.popen.stdin is not None
        server.popen.stdin.write("fail\n")
        server.popen.stdin.close()
        server.wait_for("waiting for load balancers")

        status, answer = Api(server.port, "nobody").ask("GET", "/readyz")
        assert (status, answer["reason"]) == (503, "store failed: LogFailed")
        assert Api(server.port, "nobody").ask("GET", "/livez")[0] == 200
        status, problem = api.ask("PUT", "/v1/tables/notes/rows/k", row)
        assert (status, problem["type"]) == (503, "urn:walnut:problem:log-failed")
        shown = walnut("status", str(data))
        assert "the disk is gone" in shown.stdout + shown.stderr
        api.close()
        server.signal(signal.SIGTERM)
        server.wait_for("signal SIGTERM")
        server.signal(signal.SIGTERM)  # skips what is left of the grace
        assert server.end() == ExitCode.BROKEN
        assert "store failed: LogFailed" in server.lines[-1]["report"]
        assert server.lines[-1]["level"] == "error"
    with Process(data) as again:
        api = Api(again.ready().port, token)
        assert rows_missing(api, ["k"]) == []
        api.close()


def test_a_server_whose_log_has_failed_ends_without_being_asked_to(tmp_path: Path) -> None:
    with Process(tmp_path / "data", program=PROGRAM, stdin=subprocess.PIPE) as server:
        server.ready()
        assert server.popen.stdin is not None
        server.popen.stdin.close()
        assert server.end() == ExitCode.BROKEN
