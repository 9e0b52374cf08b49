"""Frames come out as they went in, however the stream is cut."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walnut.jobs.executors.wire import Cancel, Frames, frame


@given(st.lists(st.integers(0, 400), max_size=30), st.integers(0, 2**32))
def test_messages_survive_any_cutting(sizes: list[int], seed: int) -> None:
    chance = random.Random(seed)
    messages = [Cancel("x" * size, number) for number, size in enumerate(sizes)]
    stream = b"".join(frame(message) for message in messages)
    frames = Frames(1000)
    found: list[bytes] = []
    at = 0
    while at < len(stream):
        end = at + chance.choice([1, 2, 3, 5, 50, 1000])
        found += [bytes(one) for one in frames.feed(stream[at:end])]
        at = end
    assert found == [bytes(frame(message)[4:]) for message in messages]


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 100])
def test_a_frame_over_the_most_is_refused_before_it_is_read(cut: int) -> None:
    data = bytes(frame(Cancel("x" * 200, 1)))
    frames = Frames(100)
    with pytest.raises(ValueError, match="100 are the most"):
        for at in range(0, len(data), cut):
            frames.feed(data[at : at + cut])


def test_large_frames_are_not_copied_with_each_piece() -> None:
    data = bytes(frame(Cancel("x" * 4_000_000, 1)))
    frames = Frames(5_000_000)
    found = []
    for at in range(0, len(data), 1000):
        found += frames.feed(data[at : at + 1000])
    assert len(found) == 1
