"""An ASGI server that stops well: uvicorn's HTTP/1.1 and WebSocket, and a life of their own around them.

    Server(app, [listen("127.0.0.1", 8080), listen_unix("walnut.sock")], inflight=lifecycle.inflight)

Needs `pip install 'walnutdb[server]'`. The only part of `walnut.shutdown` that does.
"""

from walnut.shutdown.errors import ExtraMissing

try:
    import httptools  # noqa: F401 -- here to say what is missing before anything else does
    import uvicorn  # noqa: F401
    import websockets  # noqa: F401
except ImportError as error:
    raise ExtraMissing(f"{error.name} is not installed: pip install 'walnutdb[server]'") from error

from walnut.shutdown.uvicorn.server import Server

__all__ = ["Server"]
