"""The ledger compared with the model, for any order of submits, leases, settles, losses and refused commits."""

from collections import Counter
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.core.model import BASE_S, MAX_S, Limits, Model, Options

from distq.core import head
from distq.core.constraints import FAILURE_POLICIES, NO_CONSTRAINTS, DependsOn, TaskConstraints
from distq.core.counters import TaskCounters
from distq.core.errors import PayloadTooLarge, QueueFull, Undecided
from distq.core.lease_journal import STORED_AFTER_S
from distq.core.ledger import Ledger
from distq.core.moves import DROP, REQUEUE
from distq.core.policy import Policy, Rate, unpack_policy
from distq.core.ports import Keep
from distq.core.registry import Defaults
from distq.core.retry import Backoff
from distq.core.states import HELD, LEASED, LIVE_STATES, READY, STATE_NAMES
from distq.core.task import Envelope, Holder, Owner

CAPACITY = 9
PAYLOAD_BYTES_MAX = 4
QUEUES = ("a", "b")
NAMES = ("f", "g")
HOLDERS = (0, 1, 2)
WORKERS = ((0, 1), (2,))
"""The holders of each worker."""
SLOTS = (2, 2, 1)
"""Number of slots of each holder's worker."""
CONCURRENCY = {"one": 1, "two": 2}
"""The concurrency keys, and the maximum tasks of each in flight."""

OPTIONS = (
    Options("a", "f", "task", 5, retries=0, max_deliveries=2, ttl_s=2.0),
    Options("a", "f", "task", 5, retries=2, max_deliveries=3, ttl_s=8.0),
    Options("a", "f", "task", 9, retries=1, max_deliveries=1, ttl_s=2.0),
    Options("a", "g", "task", 5, retries=1, max_deliveries=2, ttl_s=2.0),
    Options("a", "g", "plain", 0, retries=1, max_deliveries=3, ttl_s=2.0),
    Options("b", "f", "task", 5, retries=1, max_deliveries=2, ttl_s=8.0),
    Options("b", "g", "plain", 5, retries=0, max_deliveries=2, ttl_s=2.0),
    Options("a", "f", "task", 5, retries=1, max_deliveries=2, ttl_s=2.0, cost=2),
)
IN_GROUPS = Options("b", "f", "task", 9, retries=0, max_deliveries=2, ttl_s=2.0)
options = st.sampled_from(OPTIONS)
causes = st.sampled_from(["killed by SIGKILL", "exit code 1"])
outcomes = st.integers(0, 7)
pauses = st.sampled_from([None, 0.0, 2.5])
"""The pause in seconds that a task asks for before its next attempt, None for no pause of its own."""
limits = st.sampled_from(
    [
        *[Limits()] * 3,
        Limits(paused=True),
        Limits(names=("g",)),
        Limits(running=1),
        Limits(running=3),
        Limits(rate=(2, 1.0)),
        Limits(rate=(3, 5.0), running=2),
    ]
)
payloads = st.lists(st.sampled_from([b"", b"a", b"bcd", b"efgh"]), min_size=1, max_size=4) | st.sampled_from(
    [[], [b"a", b"large"]]
)
Decision = Callable[[], bool]


KEY_OF_QUEUE = {"a": "ann", "b": "bob"}
"""The name of the key that submits to each queue."""


class WorkerHolder(Holder):
    """A holder that is one of several executors of a worker."""

    __slots__ = ("executors", "own_slots")

    def __init__(self, number: int, executors: list[Holder]) -> None:
        super().__init__(str(number))
        self.executors = executors
        self.own_slots = SLOTS[number]
        executors.append(self)

    @property
    def slots(self) -> int:
        """Number of slots of its worker."""
        return self.own_slots

    def free_slots(self) -> int:
        """Number of free slots of its worker; each executor runs its tasks one after another."""
        return self.own_slots - sum(
            max((t.envelope.cost for t in one.held.values()), default=0) for one in self.executors
        )


class LedgerMachine(RuleBasedStateMachine):
    """Makes the same calls to the ledger and to the model, and compares them after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.holders: list[Holder] = []
        for numbers in WORKERS:
            executors: list[Holder] = []
            self.holders += [WorkerHolder(number, executors) for number in numbers]
        self.owners = [Owner(), Owner()]
        self.again: list[Decision] = []
        """Decisions for the next cycle, because a task changes at most once in a cycle."""
        self.rejected: Counter[str] = Counter()
        self.stored: dict[int, tuple[bytes, bytes]] = {}
        """The head and the body of each task in the store, by key."""
        self.policies: dict[str, tuple[Policy, list[list[float]]]] = {}
        """The policies of queues in the store, by queue name."""
        self.recent: list[tuple[int, int]] = []
        """Key and delivery of all leases, the newest last; late settles use them."""

    @initialize(
        jitter=st.sampled_from([0.0, 0.5, 0.75]), busy=st.integers(0, 3), policy=st.sampled_from(FAILURE_POLICIES)
    )
    def begin(self, jitter: float, busy: int, policy: str) -> None:
        """Begin with an empty ledger, or with tasks of every kind, most of them leased."""
        defaults = Defaults(CAPACITY, PAYLOAD_BYTES_MAX, backoff=Backoff(BASE_S, MAX_S), tasks_per_key_max=10_000)
        self.ledger = Ledger(defaults, lambda: jitter, 1 << 40)
        self.model = Model(CAPACITY, jitter, SLOTS, WORKERS)
        for name in QUEUES:
            self.ledger.registry.queue(name)
        for options in OPTIONS if busy else ():
            self.submit(options, [b"a"], 0)
        if busy:
            self.submit(IN_GROUPS, [b"a", b"a"], 0)
            self.submit(IN_GROUPS, [b"a"], 0, depends_on=DependsOn(max(self.model.new) - 1, 2, policy))
        for holder in range(busy):
            self.lease(holder, NAMES, QUEUES, 2)

    def envelope(self, options: Options) -> Envelope:
        """The ledger's envelope with these options of the model."""
        self.model.slots_count |= options.cost > 1
        return self.ledger.registry.envelope(
            options.queue,
            options.name,
            options.kind,
            priority=options.priority,
            retries=options.retries,
            max_deliveries=options.max_deliveries,
            result_ttl_s=options.ttl_s,
            cost=options.cost,
            key_name=KEY_OF_QUEUE[options.queue],
        )

    def decide(self, decision: Decision) -> None:
        """Make a decision now; if the ledger refuses it, repeat it in the next cycle."""
        if not decision():
            self.again.append(decision)

    # -- decide --------------------------------------------------------------------------------

    @rule(
        options=options,
        bodies=payloads,
        owner=st.sampled_from([None, 0, 1]),
        delay_s=st.sampled_from([0.0, 0.0, 0.0, 0.75, 3.0]),
        expires_s=st.sampled_from([None, None, None, 0.5, 3.0, 5.0]),
        concurrency_key=st.sampled_from(["", "", *CONCURRENCY]),
    )
    def submit(
        self,
        options: Options,
        bodies: list[bytes],
        owner: int | None,
        delay_s: float = 0.0,
        expires_s: float | None = None,
        concurrency_key: str = "",
        unique: str = "",
        depends_on: DependsOn | None = None,
    ) -> None:
        """The ledger accepts or refuses all tasks of a submit together."""
        concurrency = CONCURRENCY.get(concurrency_key, 1)
        constraints = (
            TaskConstraints(concurrency_key, concurrency, unique, depends_on=depends_on)
            if concurrency_key or unique or depends_on
            else NO_CONSTRAINTS
        )
        due_at = self.now + delay_s if delay_s else 0.0
        expires_at = None if expires_s is None else self.now + expires_s
        ledger_owner = self.owners[owner] if owner is not None else None
        room = self.model.room(options.queue)
        try:
            first = self.ledger.submit(
                self.envelope(options),
                bodies,
                ledger_owner,
                self.now,
                due_at=due_at,
                expires_at=expires_at,
                constraints=constraints,
            )
        except QueueFull:
            self.rejected["full"] += 1
            assert len(bodies) > room
        except PayloadTooLarge:
            self.rejected["payload"] += 1
            assert max(map(len, bodies)) > PAYLOAD_BYTES_MAX
        else:
            assert len(bodies) <= room
            assert all(len(body) <= PAYLOAD_BYTES_MAX for body in bodies)
            dependencies = ((), "") if depends_on is None else (depends_on.keys, depends_on.policy)
            keys = (concurrency_key, concurrency, unique)
            self.model.submit(first, options, bodies, owner, self.now, due_at, expires_at, keys, dependencies)

    @rule(
        data=st.data(),
        options=st.sampled_from([one for one in OPTIONS if one.kind == "task"]),
        policy=st.sampled_from(FAILURE_POLICIES),
        size=st.integers(0, 3),
        concurrency_key=st.sampled_from(["", "", *CONCURRENCY]),
        delay_s=st.sampled_from([0.0, 0.0, 0.75]),
    )
    def submit_with_dependencies(
        self, data: st.DataObject, options: Options, policy: str, size: int, concurrency_key: str, delay_s: float
    ) -> None:
        """Submit a task that depends on tasks of the same cycle, in any queues."""
        new = [key for key, task in self.model.new.items() if task.options.kind == "task" and not task.unique]
        if not new:
            self.submit(data.draw(st.sampled_from(OPTIONS[:4])), [b"a", b"b"], None)
            new = [key for key, task in self.model.new.items() if task.options.kind == "task" and not task.unique]
        first = data.draw(st.sampled_from(new or [1]))
        size = next(number for number in range(size, -1, -1) if set(range(first, first + number)) <= set(new))
        self.submit(
            options, [b"a"], 0, delay_s, concurrency_key=concurrency_key, depends_on=DependsOn(first, size, policy)
        )

    @rule(
        options=options,
        unique=st.sampled_from("xy"),
        replace=st.booleans(),
        concurrency_key=st.sampled_from(["", *CONCURRENCY]),
    )
    def submit_unique(self, options: Options, unique: str, replace: bool, concurrency_key: str) -> None:
        """Submit a task with a unique key, which must be free or belong to a waiting task that it replaces."""
        queue = self.ledger.registry.queue(options.queue)
        expected = self.model.unique_holder(options.queue, unique)
        if expected == "undecided":
            with pytest.raises(Undecided):
                self.ledger.holder_of_unique(queue, unique, self.now)
            return
        other = self.ledger.holder_of_unique(queue, unique, self.now)
        assert (None if other is None else other.task_key) == expected
        if other is not None and replace:
            assert self.ledger.cancel(other.task_key, "replaced") is self.model.cancel(
                other.task_key, "replaced", running=False
            )
        if other is None or replace:
            self.submit(options, [b"a"], None, concurrency_key=concurrency_key, unique=unique)

    @precondition(lambda self: self.recent)
    @rule(data=st.data(), outcome=outcomes, run_s=st.sampled_from([0.0, 0.25, 4.0]), cause=causes, pause=pauses)
    def settle(self, data: st.DataObject, outcome: int, run_s: float, cause: str, pause: float | None) -> None:
        """Settle any lease, whether it has ended or not."""
        key, delivery = data.draw(st.sampled_from(self.recent))
        body = b"%d" % outcome

        def decision() -> bool:
            expected = self.model.settle(key, delivery, outcome, body, cause, pause)
            assert self.ledger.settle(key, delivery, outcome, body, run_s, cause, pause) is expected
            pending = self.model.pending.get(key)
            assert self.ledger.succeeds(key) is (pending is not None and pending.event == "succeed")
            return expected

        self.decide(decision)

    @precondition(lambda self: any(holder.held for holder in self.holders))
    @rule(data=st.data(), outcome=outcomes, cause=causes, pause=pauses)
    def answer(self, data: st.DataObject, outcome: int, cause: str, pause: float | None) -> None:
        """Settle a present lease, which is the usual case."""
        held = [task for holder in self.holders for task in holder.held.values()]
        task = data.draw(st.sampled_from(held))
        key, delivery = task.task_key, task.delivery

        def decision() -> bool:
            expected = self.model.settle(key, delivery, outcome, b"r", cause, pause)
            assert self.ledger.settle(key, delivery, outcome, b"r", 0.5, cause, pause) is expected
            return expected

        self.decide(decision)

    @precondition(lambda self: self.recent)
    @rule(data=st.data(), outcome=st.integers(1, 7), off=st.sampled_from([-2, -1, 1, 2, 100]))
    def settle_with_a_wrong_delivery(self, data: st.DataObject, outcome: int, off: int) -> None:
        """A failure or a release with a delivery number other than the present one changes nothing."""
        key, _ = data.draw(st.sampled_from(self.recent))
        task = self.ledger.state.tasks.get(key)
        if task is None or key in self.model.pending:
            return
        wrong = task.delivery + off
        assert self.model.settle(key, wrong, outcome, b"", "")
        assert key not in self.model.pending
        assert self.ledger.settle(key, wrong, outcome, b"", 0.0, "")

    @precondition(lambda self: self.ledger.state.tasks)
    @rule(data=st.data(), running=st.booleans(), cause=st.sampled_from(["", "cancelled by a client"]))
    def cancel(self, data: st.DataObject, running: bool, cause: str) -> None:
        """Cancel a task."""
        key = data.draw(st.sampled_from([*self.ledger.state.tasks, 17]))
        expected = self.model.cancel(key, cause, running=running)
        assert self.ledger.cancel(key, cause, running=running) is expected

    @rule(number=st.sampled_from(HOLDERS), cause=causes, reason=st.sampled_from(["executor", "lease"]), data=st.data())
    def lose(self, number: int, cause: str, reason: str, data: st.DataObject) -> None:
        """End a dead holder's leases; its supervisor may know which task was running and which ended unsettled."""
        held = list(self.holders[number].held)
        running = data.draw(st.sampled_from([None, *held, 17]))
        begun = data.draw(st.sets(st.sampled_from([*held, 18])))
        unexplained = data.draw(st.booleans())

        def decision() -> bool:
            expected = self.model.lose(number, reason, cause, running, begun, unexplained=unexplained)
            holder = self.holders[number]
            assert self.ledger.lose(holder, reason, cause, running, begun, unexplained=unexplained) is expected
            return expected

        self.decide(decision)

    @precondition(lambda self: self.ledger.state.dead)
    @rule(data=st.data(), event=st.sampled_from(["requeue", "drop"]))
    def settle_dead(self, data: st.DataObject, event: str) -> None:
        """Requeue or drop a dead letter."""
        key = data.draw(st.sampled_from([*self.ledger.state.dead]))
        self.ledger.state.cache.hold(self.ledger.state.dead[key], self.stored[key][1])  # as the broker reads it
        task = self.ledger.state.dead[key]
        if event == "requeue" and task.constraints.unique_key:
            other = self.model.unique_holder(task.envelope.queue.name, task.constraints.unique_key)
            if other == "undecided":
                with pytest.raises(Undecided):
                    self.ledger.unique_rival(key, self.now)
                return
            found = self.ledger.unique_rival(key, self.now)
            assert other == (None if found is None else found.task_key)
            if other is not None:
                return
        expected = self.model.settle_dead(key, event)
        assert self.ledger.settle_dead(key, {"requeue": REQUEUE, "drop": DROP}[event]) is expected

    @rule(key=st.sampled_from([1, 1 << 40]))
    def settle_dead_a_live_task(self, key: int) -> None:
        """The ledger refuses to requeue a task that is no dead letter."""
        if key not in self.ledger.state.dead:
            assert not self.ledger.settle_dead(key, REQUEUE)

    @rule(queue=st.sampled_from(QUEUES), limits=limits)
    def set_policy(self, queue: str, limits: Limits) -> None:
        """Set an operator's policy: a pause, no limit, or limits."""
        rate = None if limits.rate == Limits().rate else Rate(*limits.rate)
        running = None if limits.running == Limits().running else limits.running
        policy = Policy(limits.paused, frozenset(limits.names), running, rate)
        self.ledger.policies.set_policy(self.ledger.registry.queue(queue), policy)
        self.model.limiting[queue] = limits

    @rule()
    def sweep(self) -> None:
        """Decide the changes of all tasks that are due."""
        self.ledger.sweeper.sweep(self.now)
        self.model.sweep(self.now, [key for key, change in self.ledger.pending.changes.items() if change.event == DROP])

    # -- commit and apply ----------------------------------------------------------------------

    @rule()
    def commit(self) -> None:
        """Commit a batch; after that the store agrees with the ledger."""
        self.cycle()

    def cycle(self) -> None:
        """Commit and apply all decisions, then repeat the decisions that were refused."""
        self.ledger.store_leases()
        batch = dict(self.ledger.batch(self.now))
        for key in [key for key in batch if key < 0]:
            row = batch.pop(key)
            assert row is not None
            name, policy, spent = unpack_policy(row[0])
            self.policies[name] = policy, spent
        stored = [key for key in batch if key not in self.model.pending and key in self.ledger.state.tasks]
        held = [self.ledger.state.tasks[key] for key in stored]
        assert all(task.lease_bound or task.leased_at + STORED_AFTER_S <= self.now for task in held)
        assert len(batch) - len(stored) <= len(self.model.pending) + len(self.model.new)
        self.ledger.apply(self.now)
        self.model.apply(self.now)
        assert not self.ledger.changed
        for key, change in batch.items():
            if change is None:
                del self.stored[key]
                assert key not in self.ledger.state.tasks
            else:
                packed, body = change
                self.stored[key] = (packed, self.stored[key][1] if isinstance(body, Keep) else body)
                self.check_head(key)
        again, self.again = self.again, []
        for decision in again:
            self.decide(decision)

    def check_head(self, key: int) -> None:
        """A head that was just written agrees with the ledger."""
        task, read = self.ledger.state.tasks[key], head.unpack(self.stored[key][0])
        assert read.state == (READY if task.state == HELD else task.state)
        assert read.constraints == task.constraints
        assert (read.delivery, read.failures, read.lost) == (task.delivery, task.failures, task.lost)
        assert (read.submitted_at, read.expires_at) == (task.submitted_at, task.expires_at)
        if STATE_NAMES[task.state] == "delayed":
            assert (read.due_at, read.state_since_at) == (task.due_at, task.state_since_at)
        if task.state not in LIVE_STATES:
            assert read.state_since_at == task.state_since_at

    @rule()
    def refuse(self) -> None:
        """The store refuses the batch, so the ledger drops all decisions, as the comparison with the model shows."""
        self.ledger.batch(self.now)
        self.ledger.forget()
        self.model.forget()
        self.again.clear()
        left = self.ledger.batch(self.now)
        for key, change in left.items():  # facts stay: leases, and executors that stopped running ended tasks
            assert change is not None
            if key > 0:
                state = self.ledger.state.tasks[key].state
                assert state == head.unpack(change[0]).state
                assert state not in LIVE_STATES or state == LEASED

    @rule(quarters=st.integers(1, 20))
    def wait(self, quarters: int) -> None:
        """Move the clock forward."""
        self.now += quarters / 4

    @rule()
    def wait_for_the_next_deadline(self) -> None:
        """Move the clock exactly to the ledger's next deadline, and sweep."""
        at = self.ledger.sweeper.next_deadline()
        if at is not None:
            self.now = max(self.now, at)
        self.sweep()

    # -- lease ---------------------------------------------------------------------------------

    @rule(
        number=st.sampled_from(HOLDERS),
        names=st.sampled_from([("f", "g"), ("f", "g"), ("f",), ("g",), ()]),
        queues=st.sampled_from([("a",), ("a", "b"), ("b", "a")]),
        want=st.integers(0, 6),
    )
    def lease(self, number: int, names: tuple[str, ...], queues: tuple[str, ...], want: int) -> None:
        """Lease tasks to a holder; the model checks whether the rules allow that."""
        while self.ledger.changed:
            self.cycle()  # the master leases tasks after the commit
        leased_from = [self.ledger.registry.queue(name) for name in queues]
        leased = self.ledger.leasing.lease(self.holders[number], leased_from, names.__contains__, want, self.now)
        held = [task.task_key for task in self.ledger.state.tasks.values() if task.state == HELD]
        self.model.leased(number, queues, names.__contains__, want, [task.task_key for task in leased], held, self.now)
        self.recent += [(task.task_key, task.delivery) for task in leased]
        assert all(task.leased_at == task.state_since_at == self.now for task in leased)

    @precondition(lambda self: self.recent)
    @rule(data=st.data(), number=st.sampled_from(HOLDERS), off=st.sampled_from([0, 0, 0, 1, -1]))
    def reclaim(self, data: st.DataObject, number: int, off: int) -> None:
        """Give a lease to another holder; the ledger allows it if the lease has not ended."""
        key, delivery = data.draw(st.sampled_from(self.recent))
        expected = self.model.reclaim(number, key, delivery + off)
        assert self.ledger.reclaim(self.holders[number], key, delivery + off) is expected

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every task of the ledger has the same state, counters and causes as in the model."""
        assert self.ledger.state.tasks.keys() == self.model.tasks.keys()
        for key, expected in self.model.tasks.items():
            task = self.ledger.state.tasks[key]
            assert STATE_NAMES[READY if task.state == HELD else task.state] == expected.state
            assert (task.delivery, task.failures, task.lost) == (expected.delivery, expected.failures, expected.lost)
            ended = expected.failures + expected.lost
            assert task.attempt == (max(ended, 1) if expected.state == "dead" else ended + 1)
            assert task.body == expected.body or task.state not in LIVE_STATES
            assert (task.causes or []) == expected.causes
            assert task.failures <= expected.options.retries + 1
            # An unexplained first death counts, but does not end a task, even with one allowed delivery.
            assert task.lost <= max(expected.options.max_deliveries, 2)
            if expected.state == "delayed":
                assert task.due_at == expected.due_at

    @invariant()
    def the_tasks_of_each_key_are_counted(self) -> None:
        """A key's number of tasks is that of its queues, in every state, and after a restart."""
        for key_name, of_key in self.ledger.registry.key_tasks.items():
            assert of_key.name == key_name
            assert of_key.kept == sum(KEY_OF_QUEUE[one.options.queue] == key_name for one in self.model.tasks.values())
            assert of_key.reserved == sum(
                KEY_OF_QUEUE[one.options.queue] == key_name for one in self.model.new.values()
            )

    @invariant()
    def no_task_has_two_live_leases(self) -> None:
        """The holders and the tasks agree on which holder has which task."""
        held = [task for holder in self.holders for task in holder.held.values()]
        assert len(set(held)) == len(held)
        assert set(held) == {task for task in self.ledger.state.tasks.values() if task.state == LEASED}
        for number, holder in enumerate(self.holders):
            for key, task in holder.held.items():
                assert (task.task_key, task.holder, self.model.tasks[key].holder) == (key, holder, number)

    @invariant()
    def a_task_is_held_only_while_its_key_is_busy(self) -> None:
        """A concurrency key has at most its limit of tasks in flight, and exactly its limit while a task is held."""
        for concurrency_key, concurrency in CONCURRENCY.items():
            for queue in self.ledger.registry.queues.values():
                matching = [
                    t
                    for t in self.ledger.state.tasks.values()
                    if (t.envelope.queue, t.constraints.concurrency_key) == (queue, concurrency_key)
                ]
                matching = [
                    t for t in matching if self.model.tasks[t.task_key].admitted or t.state not in (READY, HELD)
                ]
                in_flight = sum(task.state in (READY, LEASED) for task in matching)
                orphaned_runs = [
                    *(task for task, _ in self.ledger.state.orphaned_runs.running.values()),
                    *self.ledger.state.orphaned_runs.ended_tasks,
                ]
                in_flight += sum(
                    (t.envelope.queue, t.constraints.concurrency_key) == (queue, concurrency_key) for t in orphaned_runs
                )
                assert in_flight <= concurrency
                assert in_flight == concurrency or not any(task.state == HELD for task in matching)

    @invariant()
    def a_task_is_held_until_its_dependencies_have_ended(self) -> None:
        """Only its dependencies or its concurrency key hold a task."""
        for task in self.ledger.state.tasks.values():
            if task.state == HELD and not task.constraints.concurrency_key:
                assert not self.model.tasks[task.task_key].admitted
            if task.state in (READY, LEASED):
                assert self.model.tasks[task.task_key].admitted

    @invariant()
    def counts_equal_a_recount(self) -> None:
        """The counts by state, of live tasks and of room equal a new count of all tasks."""
        for queue in self.ledger.registry.queues.values():
            states = Counter(task.state for task in self.ledger.state.tasks.values() if task.envelope.queue is queue)
            assert queue.counts == [states[state] for state in range(len(STATE_NAMES))]
            assert queue.live == sum(states[state] for state in LIVE_STATES)
            assert queue.waiting == queue.live - states[LEASED]
            assert queue.room == self.model.room(queue.name) >= 0
            waiting = [task.submitted_at for task in self.model.tasks.values() if task.options.queue == queue.name]
            oldest = queue.oldest_submitted_at()
            assert oldest is None or oldest in waiting

    @invariant()
    def an_owner_receives_every_end_once(self) -> None:
        """An owner receives the end of each of its tasks once, and operators receive each loss and each burial once."""
        assert sorted((event, task.task_key) for event, task, _ in self.ledger.state.operator_events) == sorted(
            self.model.events
        )
        for number, owner in enumerate(self.owners):
            assert sorted(task.task_key for task in owner.outbox) == sorted(self.model.outboxes.get(number, []))
            assert (owner in self.ledger.state.owners_to_notify) is bool(owner.outbox)

    @invariant()
    def the_counters_equal_those_of_the_model(self) -> None:
        """The ledger's counters equal the model's counters."""
        counted: Counter[tuple[str, str, str]] = Counter()
        rejected: Counter[str] = Counter()
        for (queue, name), counters in self.ledger.registry.counters.items():
            for what, number in flat(counters).items():
                counted[queue, name, what] += number
            rejected.update(counters.rejected)
            assert sum(counters.run.counts) == sum(counters.total.counts) == counters.completed["success"]
            assert sum(counters.wait.counts) == self.model.leases[queue, name]
        assert counted == self.model.counted
        assert rejected == self.rejected
        assert self.ledger.unknown_settles == self.model.unknown

    @invariant()
    def the_store_holds_what_the_ledger_knows(self) -> None:
        """The stored rows contain every task, live or ended, with its body."""
        assert self.stored.keys() == self.ledger.state.tasks.keys()
        for key, (packed, body) in self.stored.items():
            task, read = self.ledger.state.tasks[key], head.unpack(packed)
            assert (read.state in LIVE_STATES) == (task.state in LIVE_STATES)
            assert (read.failures, read.lost) == (task.failures, task.lost)
            known = self.model.tasks[key]
            if known.state == "dead":
                arguments, error, _ = head.unpack_dead(known.body or b"")
                assert head.unpack_dead(body) == (arguments, error, known.causes)
            else:
                assert body == task.body or (task.body is None and task.state not in LIVE_STATES)
            envelope = task.envelope
            assert (read.queue, read.name, read.kind) == (envelope.queue.name, envelope.name, envelope.kind)

    @invariant()
    def the_store_holds_the_policies_of_operators(self) -> None:
        """The store has the policy of a queue from the cycle in which the policy takes effect."""
        for name, limits in self.model.limits.items():
            queue = self.ledger.registry.queue(name)
            assert queue.own == queue.policy._replace(capacity=None) == self.policies[name][0]
            assert (queue.own.paused, set(queue.own.paused_names)) == (limits.paused, set(limits.names))

    @invariant()
    def the_next_deadline_is_never_too_late(self) -> None:
        """The ledger's next deadline is never later than the first instant at which a task is due."""
        expected, at = self.model.next_deadlines(), self.ledger.sweeper.next_deadline()
        expected += self.model.openings(
            [t.task_key for t in self.ledger.state.tasks.values() if t.state == HELD], self.now
        )
        undecided = [due for due in expected if not self.model.pending]
        assert not undecided or (at is not None and at <= min(undecided))


def flat(counters: TaskCounters) -> dict[str, int]:
    """The counters of a task name, with the names that the model uses."""
    numbers = {"submitted": counters.submitted, "requeued": counters.requeued}
    for what, table in (
        ("attempts", counters.attempts),
        ("retries", counters.retries),
        ("completed", counters.completed),
        ("redeliveries", counters.redeliveries),
        ("late", counters.late),
    ):
        numbers |= {f"{what} {key}": number for key, number in table.items()}
    return numbers


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=4 * settings().max_examples, stateful_step_count=60)
