"""A real server with something to show, as a process that tests of the console talk to.

    python -m tests.console.harness DIRECTORY [PORT]

Prints its address and tokens as a line of JSON once the console is there, and serves until stdin is closed.
A line on stdin is something to do, answered by a line: `revoke NAME`, `write N` transactions,
`append N` messages to the topic orders.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from tests.console.data import Demo
from walnut.jobs import Jobs
from walnut.server import logs
from walnut.server.access.gate import Gate
from walnut.server.access.tokens import Wanted
from walnut.server.config.load import load
from walnut.server.config.model import LoggingSection
from walnut.server.server import Server
from walnut.server.subsystems import find, sections
from walnut.store.store import Store
from walnut.topics import Topics
from walnut.web.caller import Caller

TOKENS = {
    "operator": ("*",),
    "reader": ("tables:read", "log:read"),
    "notes": ("tables:read", "tables:write:notes"),
    "guest": ("topics:read:orders",),
}
BOSS = Caller("test", ("*",), "r")


async def main(directory: str, port: str) -> None:
    classes = find()
    flags = {
        "server.data": ("--data", directory),
        "server.port": ("--port", port),
        "access.operator_token_file": ("--operator-token-file", f"{directory}.token"),
    }
    settings = load(sections(classes), list(classes), environ={}, flags=flags)
    backups = msgspec.structs.replace(
        settings.sections["store"], backups={"nightly": f"{directory}.backup"}
    )
    settings.sections["store"] = backups
    logs.configure(settings.of(LoggingSection))
    server = Server(settings, classes, reread=lambda: settings, command=["false"])
    serving = asyncio.create_task(server.serve())
    while not server.lifecycle.ready:
        await asyncio.sleep(0.01)
        if serving.done():
            serving.result()
    resources = server.resources
    demo = Demo(resources.find(Store), resources.find(Topics), resources.find(Jobs))
    await demo.fill()
    gate = resources.find(Gate)
    texts = {}
    for name, scopes in TOKENS.items():
        wanted = Wanted(name=f"test-{name}", scopes=scopes, description=f"A token of the {name}")
        texts[name] = (await gate.tokens.create(wanted, BOSS)).text
    assert server._site is not None
    console = server._site._console
    assert console is not None
    while not console.started:
        await asyncio.sleep(0.02)
    tell({"url": server.url, "tokens": texts})
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        if line[0] == "revoke":
            await gate.tokens.revoke(f"test-{line[1]}", BOSS)
        elif line[0] == "write":
            await demo.write(int(line[1]))
        elif line[0] == "append":
            await demo.append(int(line[1]))
        elif line[0] == "edit":
            await demo.edit(line[1])
        tell("done")
    server.lifecycle.stop("the test is over")
    server.lifecycle.hurry()
    await serving


def tell(what: object) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "0"))
