"""Tests of the client's state machine: no end is lost, in whatever order acceptances and ends arrive."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from distq.client.state_machine import MOVES, ClientState, IllegalClientMove, Move, Stage
from distq.core.states import LATER, SUCCEEDED
from distq.protocol.results import TaskEnd


class Waiting:
    """The part of a future that the state machine uses."""

    def __init__(self) -> None:
        self.task_key: int | None = None
        self.calls: list[int] = []

    @property
    def has_ended(self) -> bool:
        """Whether the future was settled."""
        return bool(self.calls)


def end_of(key: int) -> TaskEnd:
    """Return the row of a succeeded task."""
    return key, SUCCEEDED, b"%d" % key, None


def settle(pending: ClientState[Waiting], ended: list[tuple[Waiting, TaskEnd]]) -> None:
    """Settle futures as the client does."""
    for future, row in ended:
        future.calls.append(row[0])
    pending.end(ended)


def accepted(pending: ClientState[Waiting], number: int, futures: list[Waiting], first: int) -> None:
    """Read the reply to a submit."""
    settle(pending, pending.take(number, futures, first, {}))
    pending.accept(number)


def stages(pending: ClientState[Waiting], number: int) -> dict[Move, Any]:
    """Return the call for each move of a submit."""
    return {
        Move.BEGIN: lambda: pending.begin(number, 1),
        Move.ACCEPT: lambda: pending.accept(number),
        Move.REFUSE: lambda: pending.refuse(number),
    }


@pytest.mark.parametrize("move", Move)
@pytest.mark.parametrize("stage", Stage)
def test_a_move_that_is_not_in_the_table_raises_and_changes_nothing(stage: Stage, move: Move) -> None:
    """The test tries each move in each stage."""
    pending: ClientState[Waiting] = ClientState()
    pending.begin(1, 1)  # a second submit, so that early ends are kept
    pending.receive([end_of(9)])
    if stage is not Stage.NEW:
        pending.begin(2, 1)
    if stage is Stage.OVER:
        pending.refuse(2)
    before = dict(pending.in_flight), dict(pending.early), dict(pending.futures)
    act = stages(pending, 2)[move]
    next_stage = MOVES.get((stage, move))
    if next_stage is None:
        with pytest.raises(IllegalClientMove, match=f"submit 2 is {stage.value}: it cannot {move.value}"):
            act()
        with pytest.raises(IllegalClientMove):
            pending.take(3, [Waiting()], 1, {})
        assert (dict(pending.in_flight), dict(pending.early), dict(pending.futures)) == before
    else:
        act()
        assert pending.stage_of(2) is next_stage


def test_an_end_before_its_acceptance_reaches_the_future() -> None:
    """The client keeps the end while any submit is in flight."""
    pending: ClientState[Waiting] = ClientState()
    future = Waiting()
    pending.begin(1, 1)
    assert pending.receive([end_of(7)]) == []
    accepted(pending, 1, [future], 7)
    assert future.calls == [7]
    assert not pending.futures
    assert not pending.early


def test_an_end_of_another_clients_task_is_dropped_when_no_submit_is_under_way() -> None:
    """Memory does not grow."""
    pending: ClientState[Waiting] = ClientState()
    pending.receive([end_of(3)])
    pending.begin(1, 1)
    pending.receive([end_of(4), (5, LATER, None, None)])
    pending.refuse(1)
    assert not pending.early


class Interleavings(RuleBasedStateMachine):
    """Submits of several tasks, a master that ends them at any time, and two connections without an order."""

    fresh = Bundle("fresh")
    sent = Bundle("sent")
    answered = Bundle("answered")
    ended = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        self.pending: ClientState[Waiting] = ClientState()
        self.number = 0
        self.next_key = 1
        self.futures: dict[int, list[Waiting]] = {}
        """Every future of each accepted task, by key."""
        self.delivered: set[int] = set()
        """The tasks whose end the client has read; the master does not send it again."""

    @rule(target=sent, count=st.integers(1, 3))
    def submit(self, count: int) -> Any:
        """Begin a submit, perhaps while others are in flight, although the client has only one under way at a time."""
        self.number += 1
        self.pending.begin(self.number, count)
        return self.number, [Waiting() for _ in range(count)]

    @rule(target=answered, submit=consumes(sent))
    def decide(self, submit: Any) -> Any:
        """Let the master accept the submit; its reply is in flight, and its tasks may end from now on."""
        number, futures = submit
        first, self.next_key = self.next_key, self.next_key + len(futures)
        return number, futures, first

    @rule(submit=consumes(sent))
    def refuse(self, submit: Any) -> None:
        """Let the master refuse the submit."""
        self.pending.refuse(submit[0])

    @rule(answer=answered, data=st.data())
    def receive_answer(self, answer: Any, data: st.DataObject) -> None:
        """Read the end of one of its tasks, before or after the reply, perhaps again."""
        _, futures, first = answer
        key = first + data.draw(st.integers(0, len(futures) - 1))
        settle(self.pending, self.pending.receive([end_of(key)]))
        self.delivered.add(key)

    @rule(answer=consumes(answered), interrupted=st.booleans(), between=st.booleans())
    def accept(self, answer: Any, interrupted: bool, between: bool) -> None:
        """Read the reply; an interrupted caller reads it a second time."""
        number, futures, first = answer
        if interrupted:
            ended = self.pending.take(number, futures, first, {})
            if between:
                settle(self.pending, ended)
        accepted(self.pending, number, futures, first)
        for key, future in enumerate(futures, first):
            self.futures.setdefault(key, []).append(future)
        self._end_the_rest(first, len(futures))

    def _end_the_rest(self, first: int, count: int) -> None:
        rest = [key for key in range(first, first + count) if key % 2 and key not in self.delivered]
        settle(self.pending, self.pending.receive(map(end_of, rest)))
        self.delivered.update(rest)

    @rule(target=ended, key=st.integers(1, 12))
    def follow(self, key: int) -> Any:
        """Add another future of a task; the master immediately reports an end."""
        if key not in self.futures:
            return multiple()
        future = Waiting()
        self.pending.adopt(future, key)
        self.futures[key].append(future)
        if key in self.delivered:
            settle(self.pending, self.pending.receive([end_of(key)]))
        return future

    @rule(future=consumes(ended))
    def abandon(self, future: Waiting) -> None:
        """Abandon a future, but not the others of its task."""
        if not future.has_ended:
            assert future.task_key is not None
            self.pending.abandon(future)
            self.futures[future.task_key].remove(future)

    @invariant()
    def every_end_reached_its_futures(self) -> None:
        """After the acceptance, a delivered end has settled each future of its task; the other futures wait."""
        for key, futures in self.futures.items():
            if key in self.delivered:
                assert all(set(future.calls) == {key} for future in futures), key
                assert key not in self.pending.futures
            else:
                assert not any(future.calls for future in futures)
                assert futures == [] or key in self.pending.futures

    @invariant()
    def nothing_is_kept_without_a_reason(self) -> None:
        """The client drops early ends when no submit is in flight."""
        assert self.pending.in_flight or not self.pending.early


TestInterleavings = Interleavings.TestCase
