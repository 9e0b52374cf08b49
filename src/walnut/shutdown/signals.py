"""Signals, as calls of a lifecycle.

    SIGTERM, SIGINT    first: stop   second: skip the waiting   third: end on the spot
    SIGHUP             reload; without anything to reload, as SIGTERM
    SIGUSR2            restart: start a successor and hand over to it

What must stay true: the third signal ends the process even if its event loop is stuck, so it is dealt with
in the handler itself; the others are, in the loop.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
OTHERS: Final = (signal.SIGHUP, signal.SIGUSR2)
PATIENCE: Final = 3
"""The how manieth request to stop ends the process on the spot."""


@contextmanager
def catching(deliver: Callable[[int], None], kill: Callable[[], object]) -> Iterator[None]:
    """Deliver signals into the running loop while the block runs; outside of the main thread, where
    Python has no signals, do nothing.

    `signal.signal` and not `loop.add_signal_handler`: the latter waits for the loop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    seen = 0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += number in STOPPING
        if seen >= PATIENCE:
            kill()
        loop.call_soon_threadsafe(deliver, number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (*STOPPING, *OTHERS):
            before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
