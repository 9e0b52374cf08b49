"""A client of a Walnut server: for the command line, and for Python programs.

    address.py     where a server is: a URL, a socket, a data directory
    transport.py   requests that survive a restart; what is known of a write without an answer
    feed.py        streams that go on where they were cut
    client.py      Client: status, transactions, changes; tables, topics and jobs are in it
    place.py       whether a command opens a directory itself or asks a server

What must stay true: a write is done once however often it had to be sent, or the error says that this
is not known; importing this loads nothing of the server, and `walnut.client.address` no HTTP.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from walnut.client.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """`Client`, once it is asked for: most commands of the command line ask no server."""
    if name == "Client":
        return import_module("walnut.client.client").Client
    raise AttributeError(f"module 'walnut.client' has no attribute {name!r}")
