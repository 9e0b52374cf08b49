"""Notes of running attempts, few enough to send.

    told:  .5  .51 .52 .53 ......................  .54
    sent:  .5                  .53                 .54       at most one per interval, the newest last

What must stay true: what was told last is sent, soon, unless the attempt ends first; and telling costs
the task no more than a lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from walnut.jobs.context import Note

SECONDS: Final = 0.1
"""Between notes: faster than a person reads them, and slow enough that a loop may tell each turn."""
TEXT_CHARACTERS: Final = 200
"""Of what a note says: a line on a screen."""


class Throttle:
    """For one attempt after another."""

    def __init__(self, send: Callable[[Note], None]) -> None:
        """`send` neither waits nor raises."""
        self._send = send
        self._lock = threading.Lock()
        self._next = 0.0
        self._held: Note | None = None
        self._flushing = False

    def tell(self, note: Note) -> None:
        """Send it now or, if nothing newer comes, later."""
        if len(note.text) > TEXT_CHARACTERS:
            note = msgspec.structs.replace(note, text=note.text[:TEXT_CHARACTERS])
        now = time.monotonic()
        with self._lock:
            if now < self._next:
                if note.progress is not None or self._held is None:
                    self._held = note
                if not self._flushing:
                    self._flushing = True
                    threading.Thread(
                        target=self._flush, name="walnut-jobs-notes", daemon=True
                    ).start()
                return
            self._next = now + SECONDS
            self._held = None
        self._send(note)

    def end(self) -> None:
        """The attempt is over: what it told and was not sent is of no interest."""
        if self._held is not None:
            with self._lock:
                self._held = None

    def _flush(self) -> None:
        """Send what is held when it is due, until nothing is."""
        while True:
            time.sleep(max(self._next - time.monotonic(), 0.0))
            with self._lock:
                note, self._held = self._held, None
                if note is None:
                    self._flushing = False
                    return
                self._next = time.monotonic() + SECONDS
            self._send(note)
