"""Listening sockets, what a service manager passes on, and what is said to it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from walnut.shutdown import Listening, Notifier, activated, listen, listen_unix
from walnut.shutdown.errors import CannotListen, InvalidActivation
from walnut.shutdown.handover import Predecessor


def test_an_address_in_use_is_named() -> None:
    first = listen("127.0.0.1", 0)
    with pytest.raises(CannotListen, match=rf"127.0.0.1:{first.port} is in use"):
        listen("127.0.0.1", first.port)
    first.close()
    with pytest.raises(CannotListen, match=r"192.0.2.1:80 can't be used"):
        listen("192.0.2.1", 80)


def test_a_unix_socket_is_its_owners_alone_and_goes_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    one = listen_unix(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(one) == f"unix:{path}"
    with pytest.raises(CannotListen, match="another process listens"):
        listen_unix(path)
    one.close()
    assert not path.exists()


def test_a_unix_socket_left_behind_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen_unix(path).leave()
    assert path.exists()
    listen_unix(path).close()
    path.write_text("precious")
    with pytest.raises(CannotListen, match="not a socket"):
        listen_unix(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="can't listen on"):
        listen_unix(tmp_path / ("x" * 200))


def test_a_name_with_a_colon_is_refused() -> None:
    with pytest.raises(InvalidActivation, match="'a:b'"):
        Listening("a:b", socket.socket())


def test_no_sockets_were_passed_on() -> None:
    assert activated({}) == {}
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDNAMES": "x"}
    assert activated(environ) == {}
    assert environ == {}, "a child must not believe them to be its own"


@pytest.mark.parametrize(
    ("count", "names", "says"),
    [
        ("x", "", "LISTEN_FDS is 'x'"),
        ("1000", "", "LISTEN_FDS is '1000'"),
        ("2", "a", "has to be 2 different names"),
        ("2", "a:a", "has to be 2 different names"),
    ],
)
def test_variables_that_do_not_hold_are_refused(count: str, names: str, says: str) -> None:
    environ = {"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": names}
    with pytest.raises(InvalidActivation, match=says):
        activated(environ)


def test_a_first_start_has_no_predecessor() -> None:
    assert Predecessor.from_environment({}) is None
    with pytest.raises(InvalidActivation, match="WALNUT_PREDECESSOR_FD is 'x'"):
        Predecessor.from_environment({"WALNUT_PREDECESSOR_FD": "x"})


# -- sd_notify --------------------------------------------------------------------------------------


def test_messages_are_lines_in_a_datagram(tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    notify = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notify.ready()
    notify.reloading()
    notify.stopping()
    notify.status("two\nlines")
    notify.watchdog()
    notify.main_pid(4711)
    heard = [manager.recv(1000).decode() for _ in range(6)]
    reloading, microseconds = heard.pop(1).split("\n")
    assert reloading == "RELOADING=1"
    assert microseconds.removeprefix("MONOTONIC_USEC=").isdecimal()
    assert heard == ["READY=1", "STOPPING=1", "STATUS=two lines", "WATCHDOG=1", "MAINPID=4711"]
    notify.close()
    notify.ready()
    manager.close()


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    notify = Notifier(str(tmp_path / "nobody"))
    notify.ready()
    assert notify.dropped == 1
    notify.close()


def test_the_watchdog_is_for_the_process_it_names() -> None:
    mine = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier.from_environment(mine).watchdog_seconds == 3
    other = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environment(other).watchdog_seconds is None
    with pytest.raises(InvalidActivation, match="WATCHDOG_USEC is 'soon'"):
        Notifier.from_environment({"WATCHDOG_USEC": "soon"})
