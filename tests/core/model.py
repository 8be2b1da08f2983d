"""A simple model of the ledger: dicts and scans, written independently, so that tests can find differences."""

import math
import pickle
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

LIVE = ("ready", "delayed", "leased")
"""Live states; a task that is held by its concurrency key is ready here, and the model checks the key at its lease."""
ENDED = ("succeeded", "dead", "cancelled", "expired")
RETAINED = ("succeeded", "cancelled", "expired")
"""States of ended tasks that are dropped when their TTL is over."""
CAUSES_KEPT = 8
OUTCOMES = ("success", "failure", "release", "failure", "release", "failure", "release", "failure")
"""The label of a late settle by outcome: success, failure, released, fatal, unknown, timeout, snoozed, discarded."""
SLACK = 1 / 64
"""Maximum delay of a rate, as a part of its period: leases within this part may count as made at its end."""
BASE_S, MAX_S = 1.0, 3.0
"""The backoff that the model expects; all numbers in the tests are sums of powers of two, so that floats are exact."""


@dataclass(frozen=True)
class Options:
    """The options of the tasks of one submit."""

    queue: str
    name: str
    kind: str
    priority: int
    retries: int
    max_deliveries: int
    ttl_s: float
    cost: int = 1


@dataclass
class ModelTask:
    """One task of the model; `disturbed` means that its submit order no longer counts, as after a lease or a delay."""

    key: int
    options: Options
    body: bytes | None
    owner: int | None
    submitted_at: float
    state: str = "ready"
    delivery: int = 0
    failures: int = 0
    lost: int = 0
    holder: int | None = None
    due_at: float = 0.0
    expires_at: float | None = None
    concurrency_key: str = ""
    """Its concurrency key, '' for none."""
    concurrency: int = 1
    """Maximum tasks of its concurrency key that are leased at the same time."""
    unique: str = ""
    dependencies: Sequence[int] = ()
    """The keys of its dependencies."""
    policy: str = ""
    """Its policy for the failure of a dependency, '' without dependencies."""
    admitted: bool = True
    """Whether its dependencies let it run, decided again each time when it becomes ready."""
    ended_at: float = 0.0
    needed_at: float | None = None
    """When the model last found that a follower needs its result."""
    disturbed: bool = False
    causes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pending:
    """A decided change of one task that is not applied yet."""

    event: str
    body: bytes | None = None
    cause: str = ""
    reason: str = ""
    after_s: float | None = None
    runs_on: bool = False
    """Whether the holder of the lease may run the task on."""


@dataclass(frozen=True)
class Limits:
    """The limits of a queue; the default limits nothing."""

    paused: bool = False
    names: tuple[str, ...] = ()
    running: int = 1_000
    rate: tuple[int, float] = (1_000, 1.0)


class Model:
    """All accepted tasks, the decided changes and the counters."""

    def __init__(self, capacity: int, jitter: float, slots: Sequence[int], workers: Sequence[Collection[int]]) -> None:
        self.capacity = capacity
        self.jitter = jitter
        self.slots = slots
        """Number of slots of each holder's worker."""
        self.workers = workers
        """The holders of each worker."""
        self.slots_count = False
        """Whether a task has required more than one slot."""
        self.tasks: dict[int, ModelTask] = {}
        self.new: dict[int, ModelTask] = {}
        self.dropped_states: dict[int, str] = {}
        """The end state of each dropped task, by key."""
        self.pending: dict[int, Pending] = {}
        self.outboxes: dict[int, list[int]] = {}
        """By owner, the keys of the tasks whose ends the owner must receive."""
        self.counted: Counter[tuple[str, str, str]] = Counter()
        self.leases: Counter[tuple[str, str]] = Counter()
        self.limits: dict[str, Limits] = {}
        self.limiting: dict[str, Limits] = {}
        """Decided limits that are not applied yet, by queue."""
        self.leased_at: dict[str, list[float]] = {}
        """By queue, the times of its leases since its present rate applies."""
        self.orphaned_runs: dict[tuple[int, int], tuple[ModelTask, int]] = {}
        """Ended tasks that may still run and count for concurrency limits, and their holders, by key and delivery."""
        self.stopped_runs: set[tuple[int, int]] = set()
        """Runs in `lingering` that have stopped; the next commit removes them."""
        self.unknown = 0
        self.events: list[tuple[str, int]] = []

    def count(self, task: ModelTask, what: str) -> None:
        """Count something for the task's queue and name."""
        self.counted[task.options.queue, task.options.name, what] += 1

    def room(self, queue: str) -> int:
        """Number of further tasks that a queue accepts."""
        everything = [*self.tasks.values(), *self.new.values()]
        taken = [task for task in everything if task.options.queue == queue and task.state in (*LIVE, "dead")]
        return self.capacity - len(taken)

    # -- decide --------------------------------------------------------------------------------

    def submit(
        self,
        first: int,
        options: Options,
        bodies: Sequence[bytes],
        owner: int | None,
        now: float,
        due_at: float = 0.0,
        expires_at: float | None = None,
        keys: tuple[str, int, str] = ("", 1, ""),
        dependencies: tuple[Sequence[int], str] = ((), ""),
    ) -> None:
        """Accept tasks under consecutive keys from `first` on."""
        concurrency_key, concurrency, unique = keys
        for key, body in enumerate(bodies, first):
            assert key not in self.tasks | self.new, "a key was given twice"
            assert key not in self.dropped_states, "a key was given twice"
            task = self.new[key] = ModelTask(key, options, body, owner, now, due_at=due_at, expires_at=expires_at)
            task.concurrency_key, task.concurrency, task.unique = concurrency_key, concurrency, unique
            task.dependencies, task.policy = dependencies
            task.admitted = not task.policy
            task.disturbed = bool(concurrency_key or task.policy)

    def settle(
        self, key: int, delivery: int, outcome: int, body: bytes, cause: str, after_s: float | None = None
    ) -> bool:
        """Decide the settle of a lease; False if the task already changes in this cycle."""
        task = self.tasks.get(key)
        self.stopped_runs |= {(key, delivery)} & self.orphaned_runs.keys()
        if task is None:
            self.unknown += 1
            return True
        if key in self.pending:
            return False
        late = task.state != "leased" or task.delivery != delivery
        if late:
            self.count(task, "late " + OUTCOMES[outcome])
            if outcome != 0 or task.state in ENDED:
                return True
        if outcome == 0:
            self.pending[key] = Pending("succeed", body, runs_on=late)
        elif outcome in (2, 4):
            self.pending[key] = Pending("return")
        elif outcome == 6:
            self.pending[key] = Pending("snooze", after_s=after_s)
        elif outcome == 7:
            self.pending[key] = Pending("cancel", cause=cause)
        else:
            reason = "timeout" if outcome == 5 else "failure"
            self.pending[key] = Pending("bury" if outcome == 3 else "fail", body, cause, reason, after_s)
        return True

    def cancel(self, key: int, cause: str, *, running: bool) -> bool | None:
        """Decide to cancel a task; None if it changes in this cycle, False if it has ended or runs."""
        task = self.tasks.get(key)
        if task is None or task.state in ENDED or (task.state == "leased" and not running):
            return False
        if key in self.pending:
            return None
        self.pending[key] = Pending("cancel", cause=cause, runs_on=True)
        return True

    def lose(
        self,
        holder: int,
        reason: str,
        cause: str,
        running: int | None,
        begun: Collection[int],
        *,
        unexplained: bool,
    ) -> bool:
        """Decide the changes of all tasks that a dead holder held."""
        self.stopped_runs |= {run for run, (_, runner) in self.orphaned_runs.items() if runner == holder}
        held = [key for key, task in self.tasks.items() if task.holder == holder]
        conflicts = [key for key in held if key in self.pending]
        for key in held:
            if key not in conflicts:
                is_blamed = running is None or running == key or key in begun
                event = "lose" if is_blamed else "suspect" if unexplained else "return"
                self.pending[key] = Pending(event, cause=cause, reason=reason)
        return not conflicts

    def settle_dead(self, key: int, event: str) -> bool:
        """Decide to requeue or drop a dead letter; False if the task is none or changes in this cycle."""
        task = self.tasks.get(key)
        if task is None or task.state != "dead" or key in self.pending:
            return False
        self.pending[key] = Pending(event)
        return True

    def sweep(self, now: float, dropped: Collection[int]) -> None:
        """Decide the changes of all tasks that are due.

        The ledger drops the tasks in `dropped`. If followers needed a result, the ledger may drop it up to a TTL later.
        """
        for key, task in self.tasks.items():
            if key in self.pending:
                continue
            if task.state in ("ready", "delayed") and task.expires_at is not None and task.expires_at <= now:
                self.pending[key] = Pending("expire")
            elif task.state == "delayed" and task.due_at <= now:
                self.pending[key] = Pending("due")
            elif task.state in RETAINED and not self.needed(task) and task.ended_at + task.options.ttl_s <= now:
                if key in dropped or self._retained_until(task) <= now:
                    self.pending[key] = Pending("drop")
            elif self.doomed(task):
                cause = self.doom_cause(task)
                error = pickle.dumps(("TaskBefore", cause.removeprefix("TaskBefore: "), ""), 4)
                self.pending[key] = Pending("doom" if task.policy == "fail" else "cancel", error, cause)

    def next_deadlines(self) -> list[float]:
        """All instants at which a sweep would decide a change."""
        delayed = [task.due_at for task in self.tasks.values() if task.state == "delayed"]
        stored = [task for task in self.tasks.values() if task.state in RETAINED and not self.needed(task)]
        ended = [self._retained_until(task) for task in stored]
        waiting = [task.expires_at for task in self.tasks.values() if task.state in ("ready", "delayed")]
        doomed = [-math.inf for task in self.tasks.values() if self.doomed(task)]
        return delayed + ended + [at for at in waiting if at is not None] + doomed

    def openings(self, held_back: Collection[int], now: float) -> list[float]:
        """For each queue with a used-up rate and ready tasks: the latest instant at which it may lease the next one."""
        instants = []
        for queue, limits in self.limits.items():
            leased_at, (most, period_s) = self.leased_at.get(queue, []), limits.rate
            closed = len(leased_at) >= most and leased_at[-most] + period_s > now
            if closed and self._ready(queue, lambda _: True, held_back):
                instants.append(leased_at[-most] + (1 + SLACK) * period_s)
        return instants

    def forget(self) -> None:
        """Drop all decisions."""
        self.pending.clear()
        self.new.clear()
        self.limiting.clear()

    # -- apply ---------------------------------------------------------------------------------

    def apply(self, now: float) -> None:
        """Apply all decisions."""
        for queue, limits in self.limiting.items():
            if limits.rate != self.limits.get(queue, Limits()).rate:
                self.leased_at[queue] = []
            self.limits[queue] = limits
        self.limiting.clear()
        for task in self.tasks.values():
            if self.needed(task):
                task.needed_at = now
        for task in self.new.values():
            self.tasks[task.key] = task
            self.count(task, "submitted")
            if task.due_at > now:
                task.state, task.disturbed = "delayed", True
        self.new.clear()
        self._admit()
        last = [key for key, pending in self.pending.items() if pending.event == "requeue" and self.tasks[key].policy]
        for key in [*(key for key in self.pending if key not in last), *sorted(last)]:
            self._apply_change(self.tasks[key], self.pending[key], now)
            self._admit()
        self.pending.clear()
        for run in self.stopped_runs:
            del self.orphaned_runs[run]
        self.stopped_runs.clear()

    def _apply_change(self, task: ModelTask, pending: Pending, now: float) -> None:
        limited = task.concurrency_key or self.limits.get(task.options.queue, Limits()).running < 1_000
        limited = limited and task.options.kind != "plain"  # a plain item's run ends with its lease
        if pending.runs_on and limited and task.holder is not None:
            self.orphaned_runs[task.key, task.delivery] = task, task.holder
        task.holder = None
        if pending.event == "succeed":
            task.body = pending.body
            self.count(task, "attempts success")
            self._end(task, "succeeded", now)
        elif pending.event == "drop":
            self.dropped_states[task.key] = task.state
            del self.tasks[task.key]
        elif pending.event == "requeue":
            self.count(task, "requeued")
            task.body = (task.body or b"")[8 : 8 + int.from_bytes((task.body or b"")[:8], "big")]
            task.state, task.failures, task.lost, task.owner = "ready", 0, 0, None
            task.expires_at, task.admitted = None, not task.policy
        elif pending.event == "doom":
            task.causes = [*task.causes, pending.cause][-CAUSES_KEPT:]
            self._make_dead(task, pending.body or b"", now)
        elif pending.event in ("fail", "bury"):
            self._fail(task, pending, now)
        elif pending.event in ("lose", "suspect"):
            self._lose(task, pending, now)
        elif pending.event == "snooze":
            self.count(task, "attempts snoozed")
            task.state, task.due_at = "delayed", now + (pending.after_s or 0.0)
        elif pending.event in ("cancel", "expire"):
            if pending.cause:
                task.causes = [*task.causes, pending.cause][-CAUSES_KEPT:]
            self._end(task, {"cancel": "cancelled", "expire": "expired"}[pending.event], now)
        else:
            if pending.event == "return":
                self.count(task, "attempts returned")
            else:
                task.admitted = not task.policy
            task.state = "ready"

    def _fail(self, task: ModelTask, pending: Pending, now: float) -> None:
        task.failures += 1
        task.causes = [*task.causes, pending.cause][-CAUSES_KEPT:]
        self.count(task, "attempts " + pending.reason)
        if task.failures > task.options.retries or pending.event == "bury":
            self._make_dead(task, pending.body or b"", now)
        else:
            self.count(task, "retries " + pending.reason)
            task.state = "delayed"
            backoff_s = min(MAX_S, BASE_S * 2 ** (task.failures - 1) * (0.75 + self.jitter / 2))
            task.due_at = now + (backoff_s if pending.after_s is None else pending.after_s)

    def _lose(self, task: ModelTask, pending: Pending, now: float) -> None:
        task.lost += 1
        task.causes = [*task.causes, pending.cause][-CAUSES_KEPT:]
        self.count(task, "attempts lost")
        self.count(task, "redeliveries " + pending.reason)
        if task.lost >= task.options.max_deliveries and (pending.event == "lose" or task.lost > 1):
            self._make_dead(task, b"", now)
        else:
            self.events.append(("task_lost", task.key))
            task.state = "ready"

    def _make_dead(self, task: ModelTask, error: bytes, now: float) -> None:
        self.events.append(("task_buried", task.key))
        task.body = len(task.body or b"").to_bytes(8, "big") + (task.body or b"") + error
        self._end(task, "dead", now)

    def _end(self, task: ModelTask, state: str, now: float) -> None:
        assert task.state in LIVE, "a task ended twice"
        task.state = state
        task.ended_at = now
        self.count(task, "completed " + {"succeeded": "success"}.get(state, state))
        if task.owner is not None:
            self.outboxes.setdefault(task.owner, []).append(task.key)
        if state == "succeeded" and task.options.kind == "plain":
            self.dropped_states[task.key] = state
            del self.tasks[task.key]

    # -- dependencies --------------------------------------------------------------------------

    def _dependency_states(self, task: ModelTask) -> list[str]:
        """The states of the task's dependencies."""
        return [self.tasks[key].state if key in self.tasks else "gone" for key in task.dependencies]

    def _admit(self) -> None:
        """Let a task run once all its dependencies have ended, and have succeeded unless its policy is `run`."""
        for task in self.tasks.values():
            if task.state == "ready" and not task.admitted:
                states = self._dependency_states(task)
                live = any(state in LIVE for state in states)
                task.admitted = not live and (task.policy == "run" or all(state == "succeeded" for state in states))

    def doomed(self, task: ModelTask) -> bool:
        """Whether the task can never run, because a dependency has failed."""
        if task.state != "ready" or task.admitted or task.policy == "run" or task.key in self.pending:
            return False
        return any(state not in (*LIVE, "succeeded") for state in self._dependency_states(task))

    def doom_cause(self, task: ModelTask) -> str:
        """The first dependency that has failed, and its cause."""
        phrases = {"dead": "has failed", "cancelled": "was cancelled", "expired": "has expired", "gone": "is gone"}
        key, state = next(
            (key, state)
            for key, state in zip(task.dependencies, self._dependency_states(task), strict=True)
            if state not in (*LIVE, "succeeded")
        )
        causes = self.tasks[key].causes if key in self.tasks else []
        return f"TaskBefore: {key >> 40:x}-{key % 2**40:x} {phrases[state]}" + (f": {causes[-1]}" if causes else "")

    def needed(self, task: ModelTask) -> bool:
        """Whether a follower may need the task's result, or an executor still runs it, so that its TTL begins later."""
        runs_on = any(one is task for one, _ in self.orphaned_runs.values())
        return runs_on or any(
            task.key in other.dependencies and other.state in (*LIVE, "dead") for other in self.tasks.values()
        )

    def _retained_until(self, task: ModelTask) -> float:
        """The latest instant until which the ledger keeps the task."""
        return max(task.ended_at, task.needed_at or 0.0) + task.options.ttl_s

    # -- keys ----------------------------------------------------------------------------------

    def in_flight(self, task: ModelTask) -> list[ModelTask]:
        """The tasks of the same concurrency key that may run: leased tasks, and ended ones that executors still run."""
        same = (task.options.queue, task.concurrency_key)
        leased = [t for t in self.tasks.values() if t.state in ("leased", "taken")]
        orphaned_runs = [t for t, _ in self.orphaned_runs.values()]
        return [t for t in (*leased, *orphaned_runs) if (t.options.queue, t.concurrency_key) == same]

    def unique_holder(self, queue: str, unique: str) -> int | str | None:
        """The live task with the unique key, None if the key is free, "undecided" if the present cycle decides it."""
        again = [self.tasks[key] for key, pending in self.pending.items() if pending.event == "requeue"]
        if any((t.options.queue, t.unique) == (queue, unique) for t in [*self.new.values(), *again]):
            return "undecided"
        matching = [
            t for t in self.tasks.values() if (t.options.queue, t.unique) == (queue, unique) and t.state in LIVE
        ]
        if not matching:
            return None
        return "undecided" if matching[-1].key in self.pending else matching[-1].key

    # -- limits --------------------------------------------------------------------------------

    def may_lease(self, queue: str, name: str, now: float, *, slack_s: float = 0.0) -> bool:
        """Whether the limits allow the queue to lease one more task of `name`, at `now` and `slack_s` before."""
        limits = self.limits.get(queue, Limits())
        running = sum(t.state in ("leased", "taken") for t in self.tasks.values() if t.options.queue == queue)
        running += sum(t.options.queue == queue for t, _ in self.orphaned_runs.values())
        most, period_s = limits.rate
        recent_count = sum(at > now - period_s - slack_s for at in self.leased_at.get(queue, []))
        return not limits.paused and name not in limits.names and running < limits.running and recent_count < most

    # -- lease ---------------------------------------------------------------------------------

    def leased(
        self,
        holder: int,
        queues: Sequence[str],
        wanted: Callable[[str], bool],
        want: int,
        got: Sequence[int],
        held_back: Collection[int],
        now: float,
    ) -> None:
        """Check and record a lease of the ledger; the model accepts every order that the rules allow.

        The ledger holds the tasks in `held_back` for their concurrency keys.
        """
        held = [task for task in self.tasks.values() if task.holder == holder]
        assert len(got) <= want
        assert len(set(got)) == len(got)
        if any(self.tasks[key].lost for key in got):
            assert (len(got), held) == (1, []), "a task that was lost must be leased alone"
        if any(task.lost for task in held):
            assert not got, "who runs a task that was lost gets nothing beside it"
        left = list(got)
        for queue in queues:
            while left and self.tasks[left[0]].options.queue == queue:
                task = self.tasks[left.pop(0)]
                assert self.may_lease(queue, task.options.name, now), "its queue may not give out this task"
                self._check_lease(task, self._ready(queue, wanted, held_back, self.slots[holder]))
                self.leased_at.setdefault(queue, []).append(now)
        assert not left, "the queues were not served in the order that was asked for"
        for key in got:
            task = self.tasks[key]
            task.state, task.holder, task.delivery, task.disturbed = "leased", holder, task.delivery + 1, True
            self.leases[task.options.queue, task.options.name] += 1
        assert not got or self._free_slots(holder) >= 0, "more slots are taken than there are"  # reclaims may take more
        for queue in queues:
            ready = self._ready(queue, wanted, held_back, self.slots[holder])
            ready = [
                t for t in ready if self.may_lease(queue, t.options.name, now, slack_s=SLACK * self._period(queue))
            ]
            heavy = any(self.tasks[key].options.cost > 1 for key in got)
            enough = len(got) == want or heavy or (got and self.limits.get(queue, Limits()).running < 1_000)
            room = 1 if got else self._free_slots(holder)
            full = self.slots_count and not self._free_slots(holder)
            full = full or any(task.options.cost > room for task in ready)
            self._check_rest(ready, bool(enough) or full, [*held, *(self.tasks[key] for key in got)])

    def _free_slots(self, holder: int) -> int:
        """Number of free slots of a holder's worker; a task that waits in the executor takes none."""
        (worker,) = (worker for worker in self.workers if holder in worker)
        held = [[t.options.cost for t in self.tasks.values() if t.holder == one] for one in worker]
        return self.slots[holder] - sum(max(costs, default=0) for costs in held)

    def _period(self, queue: str) -> float:
        return self.limits.get(queue, Limits()).rate[1]

    def _ready(
        self, queue: str, wanted: Callable[[str], bool], held_back: Collection[int], slots: float = math.inf
    ) -> list[ModelTask]:
        tasks = [t for t in self.tasks.values() if t.state == "ready" and t.key not in held_back and t.admitted]
        tasks = [t for t in tasks if t.options.cost <= slots]
        return [t for t in tasks if t.options.queue == queue and wanted(t.options.name)]

    def _check_lease(self, task: ModelTask, ready: list[ModelTask]) -> None:
        assert task in ready, "only a ready task of a wanted name is leased"
        paused = self.limits.get(task.options.queue, Limits()).names
        ready = [other for other in ready if other.options.name not in paused]
        best = [other for other in ready if other.options.priority >= task.options.priority and other is not task]
        assert all(other.options.priority == task.options.priority for other in best), "the higher priority comes first"
        if not task.disturbed:
            assert not any(other.key < task.key and not other.disturbed for other in best), "submit order was broken"
        task.state = "taken"
        if task.concurrency_key:
            assert len(self.in_flight(task)) <= task.concurrency, "more of a concurrency key are leased than may be"

    def _check_rest(self, ready: list[ModelTask], enough: bool, held: list[ModelTask]) -> None:
        if ready and not enough:
            assert held, "a task that is ready was refused to a free holder"
            assert any(task.lost for task in [*ready, *held]), "a task that is ready was not given out"

    def reclaim(self, holder: int, key: int, delivery: int) -> bool:
        """Give a lease to `holder` if it has not ended; True if it has not."""
        task = self.tasks.get(key)
        if task is None or key in self.pending or (task.state, task.delivery) != ("leased", delivery):
            return False
        task.holder = holder
        return True
