"""The life of a booking, as a table.

    quoted ──hold──▶ held ──confirm──▶ confirmed ──check in──▶ checked in
       │               │                   ├───────no show────▶ no show
       └───────────────┴──cancel───────────┴───────cancel─────▶ cancelled
       └───────────────┴──deadline────▶ expired

    allocations          pending      posted ─────────────────  a row while it consumes
                                 └──────────── voided ────────  once it does not

A state says whether a booking in it consumes what it is for. Nothing else does: whoever asks what is
free looks at the calendar, which holds exactly what bookings in consuming states have.

What must stay true: a booking moves only along `MOVES`; so an allocation becomes pending once, and then
posted and voided at most once each, in this order.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.IntEnum):
    """Where a booking is in its life."""

    QUOTED = 1
    HELD = 2
    CONFIRMED = 3
    CHECKED_IN = 4
    NO_SHOW = 5
    CANCELLED = 6
    EXPIRED = 7

    @property
    def consumes(self) -> bool:
        """Whether others can't have what a booking in this state is for."""
        return CONSUMES[self]

    @property
    def over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return not any(before is self for before, _ in MOVES)


class Move(enum.StrEnum):
    """What can be done to a booking that changes its state."""

    HOLD = "hold"
    CONFIRM = "confirm"
    CHECK_IN = "check in"
    NO_SHOW = "no show"
    CANCEL = "cancel"
    EXPIRE = "expire"


CONSUMES: Final = {
    State.QUOTED: False,
    State.HELD: True,
    State.CONFIRMED: True,
    State.CHECKED_IN: True,
    State.NO_SHOW: False,  # whoever comes next may have the rest of it
    State.CANCELLED: False,
    State.EXPIRED: False,
}

MOVES: Final = {
    (State.QUOTED, Move.HOLD): State.HELD,
    (State.QUOTED, Move.CANCEL): State.CANCELLED,
    (State.QUOTED, Move.EXPIRE): State.EXPIRED,
    (State.HELD, Move.CONFIRM): State.CONFIRMED,
    (State.HELD, Move.CANCEL): State.CANCELLED,
    (State.HELD, Move.EXPIRE): State.EXPIRED,
    (State.CONFIRMED, Move.CHECK_IN): State.CHECKED_IN,
    (State.CONFIRMED, Move.NO_SHOW): State.NO_SHOW,
    (State.CONFIRMED, Move.CANCEL): State.CANCELLED,
}
