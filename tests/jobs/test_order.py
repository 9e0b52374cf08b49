"""Which job goes next: the board against a model that knows nothing of heaps, windows and refills."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walnut.jobs import QueueLimits
from walnut.jobs.board import Board, Entry

NOTHING: dict[str, Mapping[str, float]] = {"task": {}}
MANY = {"loop": 1_000_000}
_numbers = itertools.count()


def entry(rank: int, *, task: str = "task", queue: str = "q", tenant: str = "") -> Entry:
    return Entry(rank, f"j{next(_numbers):09}", task, queue, "loop", tenant)


def picked(board: Board, slots: int = 1_000_000, now: float = 0.0) -> list[Entry]:
    return board.pick({"loop": slots}, NOTHING, now)


def test_the_lowest_rank_goes_first() -> None:
    board = Board({}, {}, 100)
    entries = [entry(rank) for rank in (5, 1, 3, 2, 4)]
    for one in entries:
        board.offer(one)
    assert [one.rank for one in picked(board)] == [1, 2, 3, 4, 5]
    assert board.running == 5
    assert picked(board) == []


def test_slots_concurrency_and_pauses_hold_back() -> None:
    board = Board({"q": QueueLimits(concurrency=3)}, {}, 100)
    for rank in range(9):
        board.offer(entry(rank))
    first = picked(board, slots=2)
    assert len(first) == 2
    assert len(picked(board)) == 1
    board.ended(first[0].job)
    board.pause({"q"})
    assert picked(board) == []
    board.pause(set())
    assert [one.rank for one in picked(board)] == [3]


def test_a_tenant_has_its_own_limit_and_hinders_no_other() -> None:
    board = Board({"q": QueueLimits(tenant_concurrency=2)}, {}, 100)
    for rank in range(10):
        board.offer(entry(rank, tenant="a"))
    board.offer(entry(99, tenant="b"))
    assert Counter(one.tenant for one in picked(board)) == {"a": 2, "b": 1}


def test_shares_are_kept_however_many_jobs_a_tenant_has() -> None:
    board = Board({"q": QueueLimits(shares={"b": 3.0})}, {}, 1000)
    for rank in range(900):
        board.offer(entry(rank, tenant="a"))
    for rank in range(300):
        board.offer(entry(10**6 + rank, tenant="b"))
        board.offer(entry(10**6 + rank, tenant="c"))
    counts = Counter(one.tenant for one in picked(board, slots=250))
    assert counts["b"] == pytest.approx(3 * counts["a"], abs=3)
    assert counts["a"] == pytest.approx(counts["c"], abs=1)


def test_who_comes_back_after_each_job_gets_no_more_than_its_share() -> None:
    board = Board({}, {}, 100)
    for rank in range(50):
        board.offer(entry(rank, tenant="many"))
    counts: Counter[str] = Counter()
    board.offer(entry(1000, tenant="one"))
    for _ in range(40):
        for one in picked(board, slots=1):
            counts[one.tenant] += 1
            board.ended(one.job)
            if one.tenant == "one":
                board.offer(entry(1000, tenant="one"))
    assert abs(counts["one"] - counts["many"]) <= 1


def test_who_was_away_saves_nothing_up() -> None:
    board = Board({}, {}, 1000)
    for rank in range(500):
        board.offer(entry(rank, tenant="a"))
    assert len(picked(board, slots=400)) == 400
    for rank in range(50):
        board.offer(entry(rank, tenant="b"))
    counts = Counter(one.tenant for one in picked(board, slots=20))
    assert abs(counts["a"] - counts["b"]) <= 1


def test_tenants_that_have_nothing_are_forgotten() -> None:
    board = Board({}, {}, 100)
    for number in range(500):
        board.offer(entry(number, tenant=f"t{number}"))
        for one in picked(board):
            board.ended(one.job)
    picked(board)
    assert all(len(line.tenants) <= 1 for line in board._lines.values())


def test_a_rate_is_kept_with_its_burst() -> None:
    board = Board({"q": QueueLimits(rate=10.0, burst=3)}, {}, 1000)
    for rank in range(100):
        board.offer(entry(rank))
    started, now = 0, 1000.0
    for step in range(101):
        started += len(picked(board, now=now + step / 100))
    assert started == pytest.approx(3 + 10, abs=1)
    assert board.next_token() == pytest.approx(0.1, abs=0.02)


def test_a_rate_is_no_reason_to_wake_up_when_something_else_holds_back() -> None:
    board = Board({"q": QueueLimits(rate=1000.0, burst=5, concurrency=1)}, {}, 100)
    for rank in range(9):
        board.offer(entry(rank))
    assert len(picked(board)) == 1
    assert board.next_token() is None
    picked(board)
    assert board.next_token() is None, "the queue is full, and has tokens"
    assert picked(board, slots=0) == []
    assert board.next_token() is None


def test_resources_are_shared_out_and_given_back() -> None:
    board = Board({}, {"cpu": 4.0, "gpu": 1.0}, 100)
    needs = {"small": {"cpu": 1.0}, "large": {"cpu": 4.0}, "gpu": {"gpu": 1.0}, "free": {}}

    def pick() -> list[str]:
        chosen = board.pick(MANY, needs, 0.0)
        running.update({one.job: one for one in chosen})
        return [one.task for one in chosen]

    running: dict[str, Entry] = {}
    for rank, task in enumerate(["gpu", "gpu", "small", "large", "small", "free"]):
        board.offer(entry(rank, task=task))
    # Behind the second of gpu and large, only what needs nothing of theirs goes on.
    assert pick() == ["gpu", "small", "free"]
    for one in list(running.values()):
        board.ended(running.pop(one.job).job)
    assert pick() == ["gpu", "large"]
    for one in list(running.values()):
        board.ended(running.pop(one.job).job)
    assert pick() == ["small"]


def test_a_large_job_gets_its_turn_however_many_small_ones_there_are() -> None:
    board = Board({}, {"cpu": 4.0}, 1000)
    needs = {"small": {"cpu": 1.0}, "large": {"cpu": 4.0}}
    for rank in range(200):
        board.offer(entry(rank, task="small", tenant="a"))
    large = entry(3, task="large", tenant="b")
    board.offer(large)
    running: list[Entry] = []
    for turn in range(60):
        running += board.pick(MANY, needs, 0.0)
        if large in running:
            assert turn < 30
            return
        board.ended(running.pop(0).job)
    raise AssertionError("it never came")


def test_jobs_of_unknown_tasks_hold_nobody_up_and_are_counted() -> None:
    board = Board({}, {}, 100)
    for rank in range(5):
        board.offer(entry(rank, task="unknown"))
    board.offer(entry(9))
    assert [one.task for one in picked(board)] == ["task"]
    assert board.unknown == {"unknown": 5}


def test_a_job_that_is_ready_again_before_its_end_is_known_is_picked_again() -> None:
    board = Board({}, {}, 100)
    one = entry(1)
    board.offer(one)
    board.offer(one)
    assert picked(board) == [one]
    board.offer(one)
    assert picked(board) == []
    board.ended(one.job)
    assert picked(board) == [one]


class Table:
    """What the table of jobs has ready: the board's model, and its source for refills."""

    def __init__(self) -> None:
        self.ready: set[Entry] = set()

    def refill(self, board: Board, window: int) -> None:
        for queue, runs, tenant in board.short():
            entries = sorted(
                one
                for one in self.ready
                if (one.queue, one.runs, one.tenant) == (queue, runs, tenant)
            )
            first = entries[: 2 * window]
            board.refill(queue, runs, tenant, first, more=len(first) == 2 * window)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 4))
def test_with_a_small_window_nothing_is_lost_and_ranks_are_kept(
    data: st.DataObject, window: int
) -> None:
    board, table, running = Board({}, {}, window), Table(), list[Entry]()
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["offer", "offer", "many", "pick", "end", "cancel"]))
        if action in {"offer", "many"}:
            for _ in range(1 if action == "offer" else 3 * window):
                one = entry(
                    data.draw(st.integers(0, 50)), tenant=data.draw(st.sampled_from(["", "b"]))
                )
                table.ready.add(one)
                board.offer(one)
        elif action == "cancel" and table.ready:
            table.ready.discard(data.draw(st.sampled_from(sorted(table.ready))))
        elif action == "end" and running:
            board.ended(running.pop().job)
        elif action == "pick":
            table.refill(board, window)
            slots = data.draw(st.integers(1, 5))
            for one in picked(board, slots=slots):
                if one not in table.ready:  # cancelled: the claim is refused
                    board.ended(one.job)
                    continue
                same = [other for other in table.ready if other.tenant == one.tenant]
                assert one == min(same), "a job of lower rank was passed over"
                table.ready.discard(one)
                running.append(one)
    for _ in range(200):
        table.refill(board, window)
        for one in picked(board):
            table.ready.discard(one)
            board.ended(one.job)
    assert not table.ready, "a job was forgotten"
    for one in running:
        board.ended(one.job)
    assert board.running == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y"])), max_size=60),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 8),
)
def test_no_limit_is_ever_passed(
    jobs: list[tuple[str, str]], concurrency: int, each: int, cpus: int
) -> None:
    limits = QueueLimits(concurrency=concurrency, tenant_concurrency=each)
    board = Board({"q": limits}, {"cpu": float(cpus)}, 10)
    needs = {"x": {"cpu": 1.0}, "y": {"cpu": 2.0}} if cpus > 1 else {"x": {"cpu": 1.0}, "y": {}}
    for rank, (tenant, task) in enumerate(jobs):
        board.offer(entry(rank, tenant=tenant, task=task))
    running: list[Entry] = []
    for _ in range(len(jobs) + 1):
        running += board.pick(MANY, needs, 0.0)
        assert len(running) <= concurrency
        assert max(Counter(one.tenant for one in running).values(), default=0) <= each
        assert sum(needs[one.task].get("cpu", 0.0) for one in running) <= cpus
        if running:
            board.ended(running.pop(0).job)
    assert board.running == len(running) == 0
    assert sum(board.depths().values()) == 0
