"""What happened to a booking is in the log: when, what, by whom and why."""

from pathlib import Path

from tests.booking.office import at, office
from walnut.booking import Exclusive, Resource, Time
from walnut.booking.history import history
from walnut.store import Meta


def test_a_history_has_every_change_with_who_and_why(tmp_path: Path) -> None:
    want = Time("room", at("10:00"), at("11:00"))
    with office(tmp_path) as desk:
        desk.add(Resource(id="room", kind=Exclusive()))
        bookings = desk.bookings
        quoted = desk.store.by(Meta("ann", "on the phone")).call(bookings.quote, want)
        desk.clock.forward(hours=1)
        held = desk.call(bookings.hold_quoted, quoted.id, want)
        desk.call(bookings.extend, held.id, 900)
        desk.call(bookings.book, Time("room", at("14:00"), at("15:00")))  # another's
        moved = Time("room", at("10:30"), at("11:00"))
        desk.store.by(Meta("bob", request_id="r7")).call(bookings.change, held.id, moved)
        desk.call(bookings.confirm, held.id)
        last = desk.store.by(Meta("ann", "is ill")).call(bookings.cancel, held.id)
        found = history(bookings.table, desk.store.log, desk.store.keyring, last)
        assert [(one.what, one.by, one.why, one.request) for one in found.events] == [
            ("quoted", "ann", "on the phone", ""),
            ("held", "", "", ""),
            ("extended", "", "", ""),
            ("changed", "bob", "", "r7"),
            ("confirmed", "", "", ""),
            ("cancelled", "ann", "is ill", ""),
        ]
        assert found.whole
        assert found.events[-1].after == last
        assert found.events[0].time == at("08:00")
        lone = desk.call(bookings.book, Time("room", at("16:00"), at("17:00")))
        only = history(bookings.table, desk.store.log, desk.store.keyring, lone)
        assert [one.what for one in only.events] == ["confirmed"]
