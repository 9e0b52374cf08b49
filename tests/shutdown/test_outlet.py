"""What a cycle writes to: the head of an answer goes out with the beginning of its body."""

from __future__ import annotations

from typing import Any, cast

from walnut.shutdown.uvicorn.connection import Outlet


class Transport:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def is_closing(self) -> bool:
        return False


def outlet() -> tuple[Outlet, list[Any]]:
    transport = Transport()
    return Outlet(cast("Any", transport), lambda: transport.told.append("closed")), transport.told


def test_head_and_first_piece_are_one_write_and_what_follows_is_written_at_once() -> None:
    out, told = outlet()
    for _ in range(2):
        out.hold()
        out.write(b"head ")
        out.write(b"body")
        out.write(b"more")
    assert told == [b"head body", b"more"] * 2


def test_a_head_without_a_body_goes_out_when_the_answer_is_complete() -> None:
    out, told = outlet()
    out.hold()
    out.write(b"head")
    assert told == []
    out.flush()
    out.flush()
    assert told == [b"head"]


def test_a_head_goes_out_before_the_connection_is_closed() -> None:
    out, told = outlet()
    out.hold()
    out.write(b"head")
    out.close()
    assert told == [b"head", "closed"]
