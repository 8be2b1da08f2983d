"""How many answers go into one frame, and what becomes of those that are refused."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distq.core.task import Outcome
from distq.tasks.failure import ResultNotSent, exception_of
from distq.wire.messages import encode_call
from distq.worker.executor.answers import FLUSH_BYTES, Answers
from distq.worker.executor.rows import Settled
from distq.worker.shared.reports import Listener, Reporter, Trouble

KIB = 1024
FRAME_BYTES = 64 * KIB


class Told:
    """What an executor reports."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.reporter = Reporter(self._write)

    def troubles(self) -> list[Trouble]:
        """All so far; there must be something."""
        return [report for report in Listener().feed(os.read(self._read, 65_536)) if isinstance(report, Trouble)]

    def close(self) -> None:
        """Give both ends back."""
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def told() -> Iterator[Told]:
    """The same, for a test."""
    told = Told()
    yield told
    told.close()


def answers(told: Told, frame_bytes_max: int | None = FRAME_BYTES) -> Answers:
    """Those of an executor whose master has told that limit, or none."""
    made = Answers(told.reporter, 1 << 30 if frame_bytes_max is None else FRAME_BYTES)
    made.greeted({} if frame_bytes_max is None else {"frame_bytes_max": frame_bytes_max})
    return made


def row(number: int, body_bytes: int, outcome: int = Outcome.SUCCESS, text: str = "") -> Settled:
    """An answer of that size."""
    return number, 1, outcome, b"x" * body_bytes, 1.0, text


@given(
    st.lists(st.tuples(st.integers(0, FRAME_BYTES - 4 * KIB), st.text(max_size=200)), max_size=60), st.integers(0, 10)
)
def test_what_goes_into_an_exchange_fits_a_frame_and_nothing_is_left_behind(
    sizes: list[tuple[int, str]], begin: int
) -> None:
    """Measured on the very bytes that travel."""
    told = Told()
    ours = answers(told)
    rows = [row(1 << 60 | at, size, text=text) for at, (size, text) in enumerate(sizes)]
    while begin < len(rows):
        count = ours.fit(rows, begin)
        assert count >= 1
        assert len(encode_call("broker", "exchange", (rows[begin : begin + count], 1000, 10.0))) <= FRAME_BYTES
        begin += count
    assert ours.fit(rows, len(rows)) == 0
    assert all(one[2] == Outcome.SUCCESS for one in rows)
    told.close()


def test_an_answer_that_no_frame_holds_fails_alone_and_for_good(told: Told) -> None:
    """Its task had run; what stands beside it arrives. A failure stays one that is tried again."""
    rows = [row(1, 10), row(2, FRAME_BYTES), row(3, FRAME_BYTES, Outcome.FAILURE), row(4, 10)]
    assert answers(told).fit(rows) == 4
    assert [one[2] for one in rows] == [Outcome.SUCCESS, Outcome.FATAL, Outcome.FAILURE, Outcome.SUCCESS]
    error = exception_of(rows[1][3], None)
    assert isinstance(error, ResultNotSent)
    assert "DISTQ_FRAME_BYTES_MAX" in str(error)
    assert len(told.troubles()) == 2


def test_a_master_of_a_version_before_is_sent_a_large_answer_alone(told: Told) -> None:
    """It has not told its limit: it may well take it."""
    ours = answers(told, None)
    rows = [row(1, FLUSH_BYTES + 1), row(2, 10)]
    assert ours.fit(rows) == 1
    assert rows[0][2] == Outcome.SUCCESS


def test_what_is_refused_together_is_sent_by_halves_until_one_alone_is_refused(told: Told) -> None:
    """Only that one fails; once it has arrived as a failure, all others go together again."""
    ours = answers(told)
    rows = [row(at, 1) for at in range(8)]
    for expected in (8, 4, 2, 1):
        assert ours.fit(rows) == expected
        ours.refused(rows, expected, ValueError("no."))
    assert [one[2] for one in rows] == [Outcome.FATAL, *[Outcome.SUCCESS] * 7]
    assert ours.fit(rows) == 1
    ours.arrived()
    del rows[0]
    assert ours.fit(rows) == 7


@pytest.mark.parametrize("outcome", [Outcome.RELEASED, Outcome.PROGRESS, Outcome.SUCCESS])
def test_an_answer_that_is_refused_twice_is_dropped(outcome: int, told: Told) -> None:
    """Or no other would ever arrive; without a body there is nothing to shorten."""
    ours, rows = answers(told), [row(1, 1, outcome), row(2, 1)]
    ours.refused(rows, 1, ValueError("no."))
    assert rows[0][2] == (Outcome.FATAL if outcome == Outcome.SUCCESS else outcome)
    ours.refused(rows, 1, ValueError("no."))
    assert [one[0] for one in rows] == [2]
    assert told.troubles()


def test_answers_are_sent_before_half_a_frame_is_full(told: Told) -> None:
    """With the master's limit, not with ours."""
    assert answers(told).flush_bytes == FRAME_BYTES // 2
    assert answers(told, 1 << 30).flush_bytes == FLUSH_BYTES
