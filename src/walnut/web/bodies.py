"""A request's body: read at once, or taken piece by piece.

What must stay true: a body has a limit, kept by whoever gave `receive`, until a route that takes bodies
of any length says so itself and reads it piece by piece.
"""

from __future__ import annotations

from typing import Any, Final

from walnut.web.asgi import Message, Receive, Scope
from walnut.web.errors import BodyTooLarge, ClientGone

ANY_LENGTH: Final = "walnut.any_length"
"""Set in an ASGI scope once its body may be of any length, and take any time."""


def take_any_length(scope: Scope) -> None:
    """Lift the limits on the length of this request's body, and on its time: for routes that read it
    piece by piece, hold a bounded part of it, and answer in the end. Before the first `receive`."""
    scope[ANY_LENGTH] = True


async def read_body(receive: Receive, most: int | None = None) -> bytes:
    """All of a request's body; at most so many bytes, if the limit of `receive` is too high.

    Raises ClientGone, BodyTooLarge."""
    message = await receive()
    if most is None and message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        return body
    parts, size = [], 0
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if most is not None and size > most:
            raise BodyTooLarge(f"the body may have {most} bytes here, and has more")
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise ClientGone("the client hung up before its request was there")


def again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that begins with a body that was read."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return pending.pop() if pending else await receive()

    return replay


def whole_body(receive: Receive) -> Receive:
    """A `receive` that raises ClientGone if the client hangs up in the middle of its body, which the
    framework takes for an error of ours. Who hangs up later is told of as always."""
    complete = False

    async def receiving() -> Any:
        nonlocal complete
        message = await receive()
        if message["type"] == "http.disconnect" and not complete:
            raise ClientGone("the client hung up before its request was there")
        complete = complete or not message.get("more_body")
        return message

    return receiving
