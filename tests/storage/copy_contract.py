"""The tests that copies between any two kinds of stores must pass, as a class."""

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.core.build import envelope, new_ledger
from tests.storage.copying_program import stopping_copy
from tests.storage.moved_rows import Everything, fill, rows_of

from distq.core.head import pack, pack_envelope
from distq.core.ports import StoreError
from distq.core.states import EXPIRED, LEASED, READY
from distq.storage import copying, open_store
from distq.storage.copying import Copied, StorePlace, copy

EPOCHS = 3


def task_head(state: int = READY, queue: str = "q") -> bytes:
    """Return the head of a task in a state."""
    made = envelope(new_ledger(), queue)
    made.packed = pack_envelope(made)
    return pack(made, state, 1, 0, 0, 1.5, 2.5, 0.0)


def tasks(count: int) -> Everything:
    """Return the rows of ready tasks."""
    return {EPOCHS << 40 | number: (task_head(), b"payload %d" % number) for number in range(1, count + 1)}


HEADS = some.builds(task_head, some.integers(READY, EXPIRED), some.sampled_from(["mail", "reports"]))
TASKS = some.dictionaries(
    some.builds(lambda epoch, number: epoch << 40 | number, some.integers(1, EPOCHS), some.integers(1, 1 << 20)),
    some.tuples(HEADS, some.binary(max_size=300)),
    max_size=30,
)
OTHERS = some.dictionaries(
    some.integers(-(1 << 63), -1), some.tuples(some.binary(max_size=60), some.binary(max_size=300)), max_size=10
)


def copied(source: str, to: str) -> Copied:
    """Copy one store to another."""
    return copy(StorePlace(source, {}, None), StorePlace(to, {}, None))


class CopyContract(ABC):
    """The tests of a copy from one kind of store to another one; `new` gives the URLs of empty ones."""

    @pytest.fixture(autouse=True)
    def _places(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.count = 0

    @abstractmethod
    def new_source(self) -> str:
        """Return the URL of a new store."""

    @abstractmethod
    def new_destination(self) -> str:
        """Return the URL of a new store."""

    def new_file(self) -> str:
        """Return the URL of a file that does not exist."""
        return f"sqlite:///{tempfile.mkdtemp(dir=self.folder)}/queue.db"

    def test_all_rows_of_every_kind_come_back_from_a_round_trip(self) -> None:
        """Tasks in all states, and the rows of schedules, limits, sessions, cursors and streams."""

        @settings(max_examples=6, deadline=None)
        @given(tasks=TASKS, others=OTHERS)
        def come_back(tasks: Everything, others: Everything) -> None:
            rows = {**tasks, **others}
            source, to, back = self.new_source(), self.new_destination(), self.new_source()
            fill(source, rows, EPOCHS)
            done = copied(source, to)
            assert (done.rows, done.written) == (len(rows), len(rows))
            assert done.written_bytes == sum(len(body or b"") for _, body in rows.values())
            assert sum(sum(states.values()) for states in done.tasks.values()) == len(tasks)
            copied(to, back)
            assert rows_of(to)[0] == rows_of(back)[0] == rows_of(source)[0] == rows

        come_back()

    def test_the_next_epoch_is_larger_than_those_of_the_source(self) -> None:
        """The id of a task begins with its epoch: a master on the copy gives no id again."""
        source, to = self.new_source(), self.new_destination()
        fill(source, tasks(3), EPOCHS)
        copied(source, to)
        assert rows_of(to)[1] > EPOCHS

    def test_the_counts_are_those_of_the_tasks(self) -> None:
        """By queue and state; rows that are no tasks count as rows only."""
        source, to = self.new_source(), self.new_destination()
        rows: Everything = {
            1 << 40 | 1: (task_head(), b"one"),
            1 << 40 | 2: (task_head(LEASED), b"two"),
            1 << 40 | 3: (task_head(READY, "mail"), b"three"),
            -5: (b"session", b""),
        }
        fill(source, rows)
        assert copied(source, to) == Copied({"mail": {"ready": 1}, "q": {"leased": 1, "ready": 1}}, 4, 4, 11)

    def test_p1_a_copy_that_was_killed_continues(self) -> None:
        """It writes only the rows that are missing."""
        source, to = self.new_source(), self.new_destination()
        rows = tasks(50)
        fill(source, rows, EPOCHS)
        with stopping_copy(source, to, 2, 10) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "20\n"
            program.kill()
        assert copied(source, to).written == 30
        assert rows_of(to)[0] == rows

    def test_p1_a_copy_begins_again_if_a_master_has_led_the_source_since(self) -> None:
        """Rows that changed or ended meanwhile are not left as they were."""
        source, to = self.new_source(), self.new_destination()
        fill(source, tasks(50), EPOCHS)
        with stopping_copy(source, to, 2, 10) as program:
            assert program.stdout is not None
            program.stdout.readline()
            program.kill()
        rows, _ = rows_of(source)
        changed: Everything = {key: (task_head(LEASED), b"changed") for key in list(rows)[:5]}
        fill(source, changed)
        assert copied(source, to).written == 50
        assert rows_of(to)[0] == {**rows, **changed}

    def test_a_destination_with_rows_is_refused(self) -> None:
        """Nothing in it changes."""
        source, to = self.new_source(), self.new_destination()
        fill(source, tasks(3))
        fill(to, {7: (task_head(), b"other")})
        with pytest.raises(StoreError, match="has 1 row already, and is no unfinished copy"):
            copied(source, to)
        assert rows_of(to)[0] == {7: (task_head(), b"other")}

    def test_a_source_that_does_not_exist_is_an_error_and_is_not_made(self) -> None:
        """A mistyped name is no empty store."""
        source = self.new_source()
        for _ in range(2):
            with pytest.raises(StoreError, match="There is nothing to copy"):
                copied(source, self.new_destination())

    def test_a_body_over_the_limit_of_the_destination_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the task; after its end the copy can be completed."""
        source, to = self.new_source(), self.new_destination()
        fill(source, {0x30000000001: (task_head(), b"x" * 101), 0x30000000002: (task_head(), b"small")})
        make = open_store

        def limited(*args: object) -> object:
            store = make(*args)  # type: ignore[arg-type]
            store.limits = store.limits._replace(body_bytes_max=100)
            return store

        with monkeypatch.context() as patched:
            patched.setattr(copying, "open_store", limited)
            with pytest.raises(StoreError, match="Task 3-1 has 101 bytes, and the destination takes at most 100"):
                copied(source, to)
        fill(source, {0x30000000001: (task_head(), b"result")})
        copied(source, to)
        assert rows_of(to)[0] == rows_of(source)[0]
