"""`walnut demo`: a hotel's worth of traffic for a running server."""

from __future__ import annotations

import click

from walnut.client.place import Directory, client_of, server_of
from walnut.log.cli.arguments import examples
from walnut.log.show import console
from walnut.server.config.model import DATA
from walnut.server.errors import NotRunning


@click.command(epilog=examples("walnut demo walnut-data --seconds 3 --rate 50"))
@click.argument("directory", metavar="[DIR]", default=DATA, type=Directory("", remote=True))
@click.option("--seconds", type=click.FloatRange(min=0.1), metavar="SECONDS",
              help="End after so long; else at Ctrl-C.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=1, max=100_000), default=200.0, show_default=True,
              metavar="NUMBER", help="Bookings tried per second.")  # fmt: skip
def demo(directory: str, seconds: float | None, rate: float) -> None:
    """Have guests book rooms, sensors report and clerks look, at the server of DIR, and tell what to
    look at meanwhile.

    It makes the tables "rooms" and "bookings" and the topics "booked" and "sensors", and leaves them.

    Without DIR: ./walnut-data. With --url: the server there.
    """
    from walnut.server.demo.hotel import fill  # noqa: PLC0415 -- what only this command needs
    from walnut.server.demo.telling import summary, tell  # noqa: PLC0415
    from walnut.server.demo.traffic import Traffic  # noqa: PLC0415

    address = server_of(directory)
    if address is None:
        raise NotRunning(f"no server has {directory} open: start one with `walnut serve`")
    out = console()
    with client_of(address, reason="walnut demo") as client:
        fill(client)
    tips = (
        f"walnut top {directory}: the same from the server's side",
        "the console's overview, at /console: commits, latency, groups",
        "refused: two guests wanted one room for one night; the faster one has it, always",
        "kill -9 the server and start it again: the guests wait, and nothing they were told is gone",
        f"walnut restart {directory}: a new process takes over, and nobody is refused",
        f"walnut store changes {directory} --follow: what transactions change, as they do",
    )
    traffic = Traffic(lambda: client_of(address, reason="walnut demo"), rate=rate)
    try:
        with traffic:
            tell(out, traffic, tips, seconds=seconds)
    except KeyboardInterrupt:
        out.print()
    out.print(summary(traffic))
