"""Tests of settlements: how many go into one exchange, and what happens to settlements that the master refuses."""

import os
import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.worker.at_work import executor_config

from distq.core.outcome import Outcome
from distq.protocol.exchange import Settlement
from distq.protocol.hello import Greeting
from distq.tasks.failure import ResultNotSent, exception_of
from distq.wire.messages import encode_call
from distq.worker.executor.recycling import RecyclePolicy
from distq.worker.executor.settlements import FLUSH_BYTES, MasterTooOld, Settlements
from distq.worker.shared.batch_page import BatchPage
from distq.worker.shared.lease_id import LeaseId
from distq.worker.shared.reports import Reporter, ReportReader, Trouble

KIB = 1024
FRAME_BYTES = 64 * KIB


class Executor:
    """An executor's settlements and reports."""

    def __init__(self) -> None:
        self.page = BatchPage.create()
        self._read, self._write = os.pipe()
        self._reporter = Reporter(self._write)

    def settlements(self, *rows: Settlement, frame_bytes_max: int | None = FRAME_BYTES) -> Settlements:
        """Return settlements for a master that has named this limit, or none."""
        config = executor_config(frame_bytes_max=1 << 30 if frame_bytes_max is None else FRAME_BYTES)
        made = Settlements(config, self.page, self._reporter, RecyclePolicy(config))
        made.greeted(Greeting(frame_bytes_max=frame_bytes_max))
        made.rows.extend(rows)
        return made

    def troubles(self) -> list[Trouble]:
        """Return the troubles reported so far; there must be a report."""
        return [report for report in ReportReader().feed(os.read(self._read, 65_536)) if isinstance(report, Trouble)]

    def close(self) -> None:
        """Close page and pipe."""
        self.page.close()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Yield an executor, and close it afterwards."""
    made = Executor()
    yield made
    made.close()


def row(number: int, body_bytes: int, outcome: int = Outcome.SUCCESS, text: str = "") -> Settlement:
    """Return a settlement with a body of this size."""
    return number, 1, outcome, b"x" * body_bytes, 1.0, text


@given(
    st.lists(st.tuples(st.integers(0, FRAME_BYTES - 4 * KIB), st.text(max_size=200)), max_size=60), st.integers(0, 10)
)
def test_an_exchange_fits_a_frame_and_every_settlement_goes_into_one(sizes: list[tuple[int, str]], begin: int) -> None:
    """The size is that of the bytes on the wire."""
    executor = Executor()
    rows = [row(1 << 60 | index, size, text=text) for index, (size, text) in enumerate(sizes)]
    settlements = executor.settlements(*rows)
    while begin < len(rows):
        count = settlements.fit(begin)
        assert count >= 1
        assert len(encode_call("broker", "exchange", (rows[begin : begin + count], 1000, 10.0))) <= FRAME_BYTES
        begin += count
    assert settlements.fit(len(rows)) == 0
    assert settlements.rows == rows
    executor.close()


def outcomes(settlements: Settlements) -> list[int]:
    """Return the outcomes of all settlements."""
    return [one[2] for one in settlements.rows]


def test_a_settlement_that_no_frame_holds_becomes_a_final_failure_alone(executor: Executor) -> None:
    """Its task had run; the settlements beside it arrive. A failure stays retryable."""
    settlements = executor.settlements(
        row(1, 10), row(2, FRAME_BYTES), row(3, FRAME_BYTES, Outcome.FAILURE), row(4, 10)
    )
    assert settlements.fit() == 4
    assert outcomes(settlements) == [Outcome.SUCCESS, Outcome.FATAL, Outcome.FAILURE, Outcome.SUCCESS]
    error = exception_of(settlements.rows[1][3], None)
    assert isinstance(error, ResultNotSent)
    assert "DISTQ_FRAME_BYTES_MAX" in str(error)
    assert len(executor.troubles()) == 2


def test_a_master_without_a_limit_gets_a_large_settlement_alone(executor: Executor) -> None:
    """A master of the release before does not name its limit, and may accept the settlement."""
    settlements = executor.settlements(row(1, FLUSH_BYTES + 1), row(2, 10), frame_bytes_max=None)
    assert settlements.fit() == 1
    assert outcomes(settlements)[0] == Outcome.SUCCESS


def test_settlements_refused_together_are_sent_in_halves_until_one_is_refused_alone(executor: Executor) -> None:
    """Only that settlement fails; after its failure has arrived, all others go together again."""
    settlements = executor.settlements(*(row(number, 1) for number in range(8)))
    for expected in (8, 4, 2, 1):
        assert settlements.fit() == expected
        settlements.refused(expected, ValueError("no."))
    assert outcomes(settlements) == [Outcome.FATAL, *[Outcome.SUCCESS] * 7]
    assert settlements.fit() == 1
    settlements.confirmed(1)
    assert settlements.fit() == 7


@pytest.mark.parametrize("outcome", [Outcome.RELEASED, Outcome.PROGRESS, Outcome.SUCCESS])
def test_a_settlement_that_is_refused_twice_is_dropped(outcome: int, executor: Executor) -> None:
    """Otherwise no settlement behind it would arrive; one without a body is sent a second time unchanged."""
    settlements = executor.settlements(row(1, 1, outcome), row(2, 1))
    settlements.refused(1, ValueError("no."))
    assert outcomes(settlements)[0] == (Outcome.FATAL if outcome == Outcome.SUCCESS else outcome)
    settlements.refused(1, ValueError("no."))
    assert settlements.held == [LeaseId(2, 1)]
    assert executor.troubles()


def test_settlements_are_sent_before_half_a_frame_is_full(executor: Executor) -> None:
    """The master's limit counts, not the worker's."""
    assert executor.settlements().flush_bytes == FRAME_BYTES // 2
    assert executor.settlements(frame_bytes_max=1 << 30).flush_bytes == FLUSH_BYTES


def test_a_master_without_notes_gets_no_progress_and_streams_fail_in_the_task(executor: Executor) -> None:
    """A master of the release before would refuse the settlements beside them."""
    settlements = executor.settlements()
    notes: dict[int, Settlement] = {}
    assert not settlements.add_note(LeaseId(1, 1), notes, Outcome.PROGRESS, b"half")
    with pytest.raises(MasterTooOld):
        settlements.add_note(LeaseId(1, 1), notes, Outcome.PART, b"part")
    assert not settlements.rows
    assert not notes


def test_the_newest_progress_and_every_part_of_a_stream_are_sent(executor: Executor) -> None:
    """Both are sent before the outcome of their task."""
    settlements = executor.settlements()
    settlements.greeted(Greeting(notes=True))
    notes: dict[int, Settlement] = {}
    for body in (b"one", b"two"):
        assert settlements.add_note(LeaseId(1, 1), notes, Outcome.PROGRESS, body)
        assert settlements.add_note(LeaseId(1, 1), notes, Outcome.PART, body)
    settlements.take_notes(notes)
    assert [(one[2], one[3]) for one in settlements.rows] == [
        (Outcome.PART, b"one"),
        (Outcome.PART, b"two"),
        (Outcome.PROGRESS, b"two"),
    ]
    assert settlements.size_bytes == 6


def test_a_released_task_is_counted_and_settled_as_such(executor: Executor) -> None:
    """It costs the task neither an attempt nor a delivery."""
    settlements = executor.settlements()
    settlements.release([LeaseId(7, 2)])
    assert settlements.rows == [(7, 2, Outcome.RELEASED, None, 0.0, "")]
    assert executor.page.counts.released == 1


def test_large_results_travel_beside_the_pickle_of_an_exchange(executor: Executor) -> None:
    """A master of the release before does not name split frames in its greeting, and gets one pickle."""
    row: Settlement = (1, 1, Outcome.SUCCESS, b"x" * FRAME_BYTES, 0.0, "")
    settlements = executor.settlements(row, frame_bytes_max=None)
    settlements.size_bytes = FRAME_BYTES
    assert settlements.packed(0, 1) == [row]
    settlements.greeted(Greeting(split=True))
    ((*_, body, _, _),) = settlements.packed(0, 1)
    assert isinstance(body, pickle.PickleBuffer)
    assert settlements.rows == [row]
