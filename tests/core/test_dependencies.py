"""Tasks with dependencies: when they run, what a failure of a dependency does, and how long results are kept."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.test_loading import DEFAULTS, StoredRows

from distq.core import moves
from distq.core.constraints import CANCEL, FAIL, FAILURE_POLICIES, RUN, DependsOn, TaskConstraints
from distq.core.head import unpack_dead
from distq.core.ledger import Ledger
from distq.core.option_values import TASK
from distq.core.outcome import Outcome
from distq.core.states import CANCELLED, DEAD, HELD, LEASED, LIVE_STATES, READY, SUCCEEDED
from distq.core.task import Holder, Task

Group = list[int]


class Bench:
    """A ledger, its store, and a holder that leases every ready task."""

    def __init__(self) -> None:
        self.stored = StoredRows()
        self.ledger = Ledger(DEFAULTS, lambda: 0.5, 1 << 40 | 1)
        self.holder = Holder("one")
        self.now = 0.0

    def submit(self, *dependencies: tuple[int, int, str] | None, retries: int = 0) -> Group:
        """Keys of new tasks; a triple gives a task's dependencies: index of the first, number, policy on failure."""
        first = 0
        for dependency in dependencies:
            envelope = self.ledger.registry.envelope("q", "f", TASK, retries=retries)
            constraints = (
                TaskConstraints()
                if dependency is None
                else TaskConstraints(depends_on=DependsOn(first + dependency[0], *dependency[1:]))
            )
            arguments: dict[str, Any] = {} if dependency is None else {"constraints": constraints}
            key = self.ledger.submit(envelope, [b"x"], None, self.now, **arguments)
            first = first or key
        self.cycle()
        return list(range(first, first + len(dependencies)))

    def cycle(self) -> None:
        """Commit and apply all decisions, and then the ends of tasks whose dependencies have failed."""
        self.stored.cycle(self.ledger, self.now)
        while self.ledger.state.dependencies.failed_upstream:
            self.stored.cycle(self.ledger, self.now)

    def lease(self) -> list[int]:
        """Lease all ready tasks; returns their keys."""
        queue = self.ledger.registry.queue("q")
        return [
            task.task_key for task in self.ledger.leasing.lease(self.holder, (queue,), lambda _: True, 1_000, self.now)
        ]

    def settle(self, key: int, outcome: int = Outcome.SUCCESS) -> None:
        """Settle a leased task with this outcome."""
        task = self.task(key)
        cause = "" if outcome == Outcome.SUCCESS else "ValueError: no"
        self.ledger.settle(key, task.delivery, outcome, b"y", 0.0, cause)
        self.cycle()

    def task(self, key: int) -> Task:
        """The task with this key."""
        return self.ledger.state.tasks[key]

    def states(self, keys: Group) -> list[int]:
        """The states of the tasks with these keys."""
        return [self.task(key).state for key in keys]

    def restart(self) -> None:
        """Start another master on the stored rows; the worker reconnects and reclaims its leases."""
        held = [(task.task_key, task.delivery) for task in self.holder.held.values()]
        self.ledger, absent = self.stored.reopened(self.now)
        self.holder = Holder("again")
        for key, delivery in held:
            if not self.ledger.reclaim(self.holder, key, delivery):
                self.ledger.unknown_settles += 1
        self.ledger.lose(absent, "worker", "the worker did not come back")
        self.cycle()


def test_a_callback_runs_when_all_its_dependencies_have_succeeded_and_not_before() -> None:
    """The callback is held until all members have succeeded, and its members run without delay."""
    bench = Bench()
    *members, callback = bench.submit(None, None, None, (0, 3, FAIL))
    assert bench.states([callback]) == [HELD]
    assert bench.lease() == members
    for key in members[:-1]:
        bench.settle(key)
        assert bench.lease() == []
    bench.settle(members[-1])
    assert bench.lease() == [callback]


def test_the_callback_of_an_empty_group_runs_immediately() -> None:
    """A callback without dependencies is ready immediately."""
    bench = Bench()
    (callback,) = bench.submit((0, 0, FAIL))
    assert bench.lease() == [callback]


def test_a_failed_dependency_makes_a_dead_letter_that_can_be_requeued_with_it() -> None:
    """In a chain every later task becomes a dead letter too, and all of them can be requeued together."""
    bench = Bench()
    chain = bench.submit(None, (0, 1, FAIL), (1, 1, FAIL))
    bench.lease()
    bench.settle(chain[0], Outcome.FATAL)
    assert bench.states(chain) == [DEAD] * 3
    dead = unpack_dead(bench.stored.bodies[chain[1]])
    assert (dead.arguments, dead.causes) == (b"x", [f"TaskBefore: 1-{1:x} has failed: ValueError: no"])
    assert bench.task(chain[2]).causes == [f"TaskBefore: 1-2 has failed: {dead.causes[0]}"]
    assert (bench.task(chain[1]).failures, bench.task(chain[1]).lost) == (0, 0)
    for key in reversed(chain):
        bench.task(key).body = bench.stored.bodies[key]
        bench.ledger.settle_dead(key, moves.REQUEUE)
    bench.cycle()
    assert bench.states(chain) == [READY, HELD, HELD]
    for key in chain:
        assert bench.lease() == [key]
        bench.settle(key)
    assert bench.states(chain) == [SUCCEEDED] * 3


def test_a_task_is_cancelled_or_runs_after_a_failed_dependency_as_its_policy_says() -> None:
    """After a cancelled dependency, CANCEL cancels the task and RUN lets it run."""
    bench = Bench()
    member, cancelled, run = bench.submit(None, (0, 1, CANCEL), (0, 1, RUN))
    bench.ledger.cancel(member)
    bench.cycle()
    assert bench.states([cancelled, run]) == [CANCELLED, READY]
    assert bench.task(cancelled).causes == ["TaskBefore: 1-1 was cancelled"]


def test_a_result_stays_until_its_followers_have_ended() -> None:
    """A result stays until its follower has ended, also over a restart, and is dropped after that."""
    bench = Bench()
    member, callback = bench.submit(None, (0, 1, FAIL))
    bench.lease()
    bench.settle(member)
    bench.now = 10 * DEFAULTS.result_ttl_s
    bench.cycle()
    bench.restart()
    assert bench.states([member, callback]) == [SUCCEEDED, READY]
    bench.lease()
    bench.settle(callback)
    bench.now *= 2
    bench.cycle()
    bench.cycle()
    assert bench.ledger.state.tasks == {}


def test_a_callback_fails_whose_dead_dependency_was_purged() -> None:
    """A requeued callback fails with the cause that its dependency is gone."""
    bench = Bench()
    member, callback = bench.submit(None, (0, 1, FAIL))
    bench.lease()
    bench.settle(member, Outcome.FATAL)
    bench.ledger.settle_dead(member, moves.DROP)
    bench.cycle()
    bench.task(callback).body = bench.stored.bodies[callback]
    bench.ledger.settle_dead(callback, moves.REQUEUE)
    bench.cycle()
    assert (bench.task(callback).causes or [""])[-1] == "TaskBefore: 1-1 is gone"


def test_the_end_of_a_follower_is_repeated_after_a_refused_commit() -> None:
    """A task whose dependency failed still becomes a dead letter after the store has refused a commit."""
    bench = Bench()
    member, callback = bench.submit(None, (0, 1, FAIL))
    bench.ledger.cancel(member)
    bench.stored.cycle(bench.ledger, 0.0)
    bench.ledger.sweeper.sweep(0.0)
    bench.ledger.forget()
    assert bench.states([callback]) == [HELD]
    assert (bench.ledger.sweeper.next_deadline() or 0.0) < 0
    bench.cycle()
    assert bench.states([callback]) == [DEAD]


def test_a_requeued_dependency_saves_a_callback_whose_end_is_not_decided() -> None:
    """The callback is held again if the sweep has not yet decided its end."""
    bench = Bench()
    member, callback = bench.submit(None, (0, 1, FAIL))
    bench.lease()
    bench.ledger.settle(member, bench.task(member).delivery, Outcome.FATAL, b"", 0.0, "no")
    bench.stored.cycle(bench.ledger, 0.0)
    assert bench.ledger.state.dependencies.failed_upstream
    bench.task(member).body = bench.stored.bodies[member]
    bench.ledger.settle_dead(member, moves.REQUEUE)
    bench.ledger.apply(0.0)
    bench.cycle()
    assert bench.states([member, callback]) == [READY, HELD]


def test_a_dead_letter_that_is_retried_is_waited_for_again() -> None:
    """A callback with the policy RUN waits again for its requeued dependency, one of two that had not ended."""
    bench = Bench()
    one, other, callback = bench.submit(None, None, (0, 2, RUN))
    bench.lease()
    bench.settle(one, Outcome.FATAL)
    retry(bench, one)
    bench.cycle()
    bench.settle(other)
    assert bench.states([one, other, callback]) == [READY, SUCCEEDED, HELD]
    assert bench.lease() == [one]
    bench.settle(one)
    assert bench.states([callback]) == [READY]


def checked(bench: Bench, dependencies_by_key: dict[int, DependsOn]) -> None:
    """Check what must be true after each step."""
    ledger = bench.ledger
    for key, dependency in dependencies_by_key.items():
        task = ledger.state.tasks.get(key)
        if task is None:
            continue
        live = [
            one for one in dependency.keys if one in ledger.state.tasks and ledger.state.tasks[one].state in LIVE_STATES
        ]
        if task.state == HELD:
            assert live
            assert ledger.state.dependencies.pending[key] == len(live)
        if task.state in (LEASED, READY) and dependency.policy != RUN and not task.delivery:
            assert all(ledger.state.tasks[one].state == SUCCEEDED for one in dependency.keys)
        if task.state in LIVE_STATES and dependency.policy != RUN:
            assert all(one in ledger.state.tasks for one in dependency.keys)


ACTIONS: dict[str, Callable[[Bench, int, int], object]] = {
    "succeed": lambda bench, key, _: bench.settle(key),
    "fail": lambda bench, key, _: bench.settle(key, Outcome.FATAL),
    "release": lambda bench, key, _: bench.settle(key, Outcome.RELEASED),
    "cancel": lambda bench, key, _: bench.ledger.cancel(key, running=True),
    "purge": lambda bench, key, _: bench.ledger.settle_dead(key, moves.DROP),
    "restart": lambda bench, _key, _number: bench.restart(),
    "lease": lambda bench, _key, _number: bench.lease(),
    "wait": lambda bench, _key, number: setattr(bench, "now", bench.now + number * 60.0),
}


def retry(bench: Bench, key: int) -> None:
    """Requeue a task if it is a dead letter."""
    if key in bench.ledger.state.dead:
        bench.task(key).body = bench.stored.bodies[key]
        bench.ledger.settle_dead(key, moves.REQUEUE)


@settings(max_examples=300, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from(FAILURE_POLICIES)), max_size=7),
    steps=st.lists(st.tuples(st.sampled_from([*ACTIONS, "retry"]), st.integers(0, 8), st.integers(0, 3)), max_size=40),
)
def test_no_task_runs_before_its_dependencies_and_every_task_ends(
    shapes: list[tuple[int, int, str]], steps: list[tuple[str, int, int]]
) -> None:
    """In any graph of tasks with failures, cancels, requeues and restarts, each task ends and no state stays."""
    bench = Bench()
    dependencies: list[tuple[int, int, str] | None] = [None]
    for index, size, policy in shapes:
        first = min(index, len(dependencies))
        dependencies.append((first, min(size, len(dependencies) - first), policy))
    keys = bench.submit(*dependencies)
    dependencies_by_key = {
        key: DependsOn(keys[0] + one[0], *one[1:]) for key, one in zip(keys, dependencies, strict=True) if one
    }
    checked(bench, dependencies_by_key)
    for action, index, number in steps:
        key = keys[index % len(keys)]
        if action == "retry":
            retry(bench, key)
        elif key in bench.ledger.state.tasks:
            ACTIONS[action](bench, key, number)
        bench.cycle()
        checked(bench, dependencies_by_key)
    for key in keys:  # in submit order, so that dependencies come first
        retry(bench, key)
        bench.cycle()
        while bench.lease() or bench.holder.held:
            for held in list(bench.holder.held):
                bench.settle(held)
            checked(bench, dependencies_by_key)
    assert not [task for task in bench.ledger.state.tasks.values() if task.state in LIVE_STATES]
    for key in list(bench.ledger.state.dead):
        bench.ledger.settle_dead(key, moves.DROP)
    bench.cycle()
    together = bench.ledger.state.dependencies
    assert (together.followers, together.pending, together.failed_upstream) == ({}, {}, {})
    bench.now += 2 * DEFAULTS.result_ttl_s
    bench.cycle()
    bench.cycle()
    assert bench.ledger.state.tasks == {}
