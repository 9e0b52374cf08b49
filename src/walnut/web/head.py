"""HEAD: what GET would answer, without the body (RFC 9110, section 9.3.2).

What must stay true: whatever answers GET answers HEAD, with the same status and headers; of a stream
nothing is read but its beginning.
"""

from __future__ import annotations

import asyncio

from walnut.web.asgi import App, Message, Receive, Scope, Send


async def answer_head(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a HEAD request by an app that knows GET."""
    ended = False
    limit = asyncio.timeout(None)

    async def sending(message: Message) -> None:
        nonlocal ended
        if ended:
            return
        if message["type"] == "http.response.start":
            await send(message)
            if any(name == b"content-length" for name, _ in message["headers"]):
                return
            # A stream, which would go on for nobody.
            ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            limit.reschedule(asyncio.get_running_loop().time())
        elif not message.get("more_body"):
            ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    try:
        async with limit:
            await app({**scope, "method": "GET"}, receive, sending)
    except TimeoutError:
        if not limit.expired():
            raise
