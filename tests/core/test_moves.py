"""The table of moves, tested for every pair of a state and an event."""

import pytest
from tests.core.build import task_in
from tools import diagram

from distq.core import moves
from distq.core.states import GONE, LIVE_STATES, READY, STATE_NAMES

STATES = range(len(STATE_NAMES))
EVENTS = range(len(moves.EVENT_NAMES))
PAIRS = [pytest.param(s, e, id=f"{STATE_NAMES[s]}-{moves.EVENT_NAMES[e]}") for s in STATES for e in EVENTS]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_pair_of_state_and_event_moves_or_is_refused_and_changes_nothing(state: int, event: int) -> None:
    """A listed move changes the state and the counts; any other raises an error and changes nothing."""
    task = task_in(state)
    counts = task.envelope.queue.counts
    assert counts == [int(other == state) for other in STATES]
    expected = moves.MOVES.get((state, event))
    if expected is None:
        with pytest.raises(moves.IllegalMove, match=f"not a move of a {STATE_NAMES[state]} task"):
            moves.move(task, event)
        expected = state
    else:
        moves.move(task, event)
    assert task.state == expected
    assert counts == [int(other == expected) for other in STATES]


def test_the_docs_show_the_table() -> None:
    """The diagram in the docs has every move; run `python -m tools.diagram` after a change, and commit both."""
    page = diagram.PAGE.read_text(encoding="utf-8")
    assert diagram.drawn(page) == page
    assert all(f"{STATE_NAMES[old]} --> " in page for old, _ in moves.MOVES)


def test_p2_every_live_state_leads_to_an_end_and_no_end_to_another() -> None:
    """A settled task can only be dropped, or, when dead, be requeued."""
    ends = set(STATES) - set(LIVE_STATES) - {GONE}
    reachable = {new for (old, _), new in moves.MOVES.items() if old in LIVE_STATES}
    assert ends == reachable - set(LIVE_STATES)
    after = {(old, new) for (old, _), new in moves.MOVES.items() if old in ends}
    assert after == {(end, GONE) for end in ends} | {(4, READY)}
    assert not any(old == GONE for old, _ in moves.MOVES)
