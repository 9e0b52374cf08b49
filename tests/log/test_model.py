"""The log against the simplest model there is: a list, and where it begins."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.log.helpers import abandon
from walnut.log import Log, LogOptions, LogReader

records = st.one_of(
    st.binary(max_size=40), st.binary(min_size=1, max_size=8).map(lambda b: b * 400)
)


class LogMachine(RuleBasedStateMachine):
    """Every operation, a clean or unclean stop between any two, and the same answers as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "log"
        self.model: list[bytes] = []
        self.first = 1
        self.sequence = 0

    @initialize(compression=st.sampled_from([None, "zstd"]), frame_bytes=st.integers(1, 8192))
    def open(self, compression: str | None, frame_bytes: int) -> None:
        self.options = LogOptions(
            segment_bytes=16 * 1024,
            compression=compression,  # type: ignore[arg-type]
            frame_bytes=frame_bytes,
            background=False,
        )
        self.log = Log(self.path, self.options)

    @rule(data=records)
    def append(self, data: bytes) -> None:
        assert self.log.append(data) == len(self.model) + 1
        self.model.append(data)

    @rule(group=st.lists(records, min_size=1, max_size=20))
    def append_many(self, group: list[bytes]) -> None:
        assert self.log.append_many(group) == len(self.model) + 1
        self.model += group

    @rule(group=st.lists(records, min_size=1, max_size=20))
    def submit_one_by_one(self, group: list[bytes]) -> None:
        tickets = [self.log.submit(data) for data in group]
        self.log.sync()
        assert [t.lsn for t in tickets] == list(
            range(len(self.model) + 1, len(self.model) + len(group) + 1)
        )
        assert all(ticket.done for ticket in tickets)
        self.model += group

    @rule(data=records)
    def append_twice_as_a_producer(self, data: bytes) -> None:
        self.sequence += 1
        lsn = self.log.append(data, producer=("p", self.sequence))
        assert lsn == len(self.model) + 1
        self.model.append(data)
        assert self.log.append(data, producer=("p", self.sequence)) == lsn

    @rule(portion=st.floats(0, 1))
    def truncate_before(self, portion: float) -> None:
        lsn = 1 + int(portion * len(self.model))
        self.first = max(self.first, lsn)
        assert self.log.truncate_before(lsn) == self.first

    @rule(portion=st.floats(0, 1))
    def truncate_after(self, portion: float) -> None:
        lsn = self.first - 1 + int(portion * (len(self.model) - self.first + 1))
        self.log.truncate_after(lsn)
        del self.model[lsn:]

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:  # noqa: FBT001  hypothesis passes it by name
        if clean:
            self.log.close()
        else:
            abandon(self.log)
        self.log = Log(self.path, self.options)
        assert self.log.recovery.clean is clean
        assert self.log.recovery.cut_bytes == 0

    @rule()
    def keep_house(self) -> None:
        self.log.housekeep()

    @invariant()
    def reads_equal_the_model(self) -> None:
        if not hasattr(self, "log"):
            return
        expected = list(enumerate(self.model, 1))[self.first - 1 :]
        assert [(r.lsn, bytes(r.data)) for r in self.log.read()] == expected
        frames = [data for frame in self.log.read_frames() for data in frame.records()]
        assert frames[len(frames) - len(expected) :] == [data for _, data in expected]
        with LogReader(self.path, self.options) as reader:
            assert [(r.lsn, bytes(r.data)) for r in reader.read()] == expected
        assert (self.log.first_lsn, self.log.durable_lsn) == (self.first, len(self.model))

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
        self.folder.cleanup()


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
