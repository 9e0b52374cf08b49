"""kill -9 of a program that publishes, again and again in one directory: what was acknowledged is there
exactly once, where it was said to be."""

import random
import time
from pathlib import Path

from tests.log.processes import child
from tests.store.children import OPTIONS
from walnut.store import Store
from walnut.topics import Topics

CHILDREN = Path(__file__).with_name("children.py")
LIVES = 8


def check(directory: Path, said: dict[tuple[str, int], bytes]) -> int:
    """Everything that was said is so; returns how many messages there are."""
    with Store(directory, OPTIONS) as store:
        topics, total = Topics(store), store.counter("total")
        held: list[bytes] = []
        for info in topics.page(store).topics:
            if info.name == "counted":
                assert info.next == total.value(store)
                continue
            offset, found = 0, list[bytes]()
            while part := topics.read(store, info.name, offset).messages:
                assert [m.offset for m in part] == list(range(offset, offset + len(part)))
                found += [message.value for message in part]
                offset += len(part)
            assert offset == info.next
            for (name, place), value in said.items():
                if name == info.name:
                    assert found[place] == value
            held += found
            said |= {(info.name, place): value for place, value in enumerate(found)}
        assert len(held) == len(set(held)), "a message is there twice"
        for producer in (b"p.", b"q."):
            numbers = [int(value[2:]) for value in held if value.startswith(producer)]
            assert numbers == list(range(len(numbers))), "a producer's messages are not in order"
        return len(held)


def test_what_was_acknowledged_is_there_once_after_kills_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(7)
    said: dict[tuple[str, int], bytes] = {}
    for life in range(LIVES):
        with child("publisher", tmp_path / "data", life, file=CHILDREN) as publisher:
            lines = [publisher.hear() for _ in range(rng.randrange(20, 600))]
            time.sleep(rng.uniform(0, 0.003))
            publisher.kill()
            lines += publisher.hear_all()
        for line in lines:
            if len(line) == 4:  # the last one may be cut
                said["t" + line[1], int(line[2])] = line[3].encode()
        assert check(tmp_path / "data", said) >= len(said)
    assert len(said) > 100 * LIVES
