"""Tests of the heap of deadlines."""

import hypothesis.strategies as st
from hypothesis import given

from distq.core.deadlines import Deadlines


@given(instants=st.lists(st.integers(0, 20)), now=st.integers(0, 20))
def test_due_entries_come_oldest_first_and_equal_ones_in_insertion_order(instants: list[int], now: int) -> None:
    """Entries that are not due yet stay."""
    deadlines: Deadlines[int] = Deadlines()
    for number, at in enumerate(instants):
        deadlines.add(at, number)
    expected = sorted((at, number) for number, at in enumerate(instants) if at <= now)
    assert list(deadlines.due(now)) == expected
    assert len(deadlines) == len(instants) - len(expected)
    assert deadlines.next_at() == min((at for at in instants if at > now), default=None)
