"""Invariants that must hold after every step of the simulation, also after a fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.sim.actors import CONCURRENCY, Worker
from tests.sim.master import Master

from distq.core.checkpoints import CURSORS
from distq.core.constraints import RUN
from distq.core.head import unpack_dead
from distq.core.queue import RESULT, Queue
from distq.core.ready_list import PriorityList
from distq.core.schedule import SCHEDULES
from distq.core.states import DEAD, HELD, LEASED, LIVE_STATES, READY, STATE_NAMES, SUCCEEDED
from distq.core.stream_parts import PARTS
from distq.core.task import Holder, Task
from distq.master.admin.schedules import RunSchedule
from distq.master.calls.plain_peer import PlainPeer
from distq.master.cycle.requests import LeaseRequest, LoseLeases
from distq.master.sessions.worker_session import ExecutorHolder


def check(master: Master, workers: Sequence[Worker]) -> None:
    """Check every invariant of the master's memory, and compare it with what the workers run."""
    assert not any(master.broker.guard.counts.values()), master.broker.guard.counts
    counts_are_right(master)
    keys_are_right(master)
    runs_are_right(master, workers)
    order_is_right(master)
    leases_are_right(master)
    slots_are_right(master, workers)
    if master.broker.idle:
        schedules_are_right(master)
        checkpoints_and_parts_are_right(master)
        no_request_waits_for_a_ready_task(master)


def counts_are_right(master: Master) -> None:
    """P2: an accepted task is live or has ended once; counts equal a recount."""
    ledger = master.ledger
    states: Counter[tuple[Queue[Task], int]] = Counter(
        (task.envelope.queue, task.state) for task in ledger.state.tasks.values()
    )
    ends: Counter[str] = Counter()
    for (queue_name, _), counters in ledger.registry.counters.items():
        ends[queue_name] += counters.submitted + counters.requeued - sum(counters.completed.values())
    for name, queue in ledger.registry.queues.items():
        assert queue.counts == [states[queue, state] for state in range(len(STATE_NAMES))], f"{name}: {queue.counts}"
        taken = ends[name] + master.loaded[name]
        assert taken == queue.live, f"{name}: {taken} accepted and not ended, {queue.live} live"
        assert queue.room >= -queue.reserved
        assert queue in ledger.state.ready_queues or not queue.offers


def keys_are_right(master: Master) -> None:
    """A concurrency key has at most its limit of tasks in flight, and exactly its limit while a task is held."""
    in_flight: Counter[tuple[str, str]] = Counter()
    held: set[tuple[str, str]] = set()
    for task in master.ledger.state.tasks.values():
        key = task.envelope.queue.name, task.constraints.concurrency_key
        if task.state in (READY, LEASED):
            in_flight[key] += 1
        elif task.state == HELD and not master.ledger.state.dependencies.is_waiting(task):
            held.add(key)
    for task, _ in master.ledger.state.orphaned_runs.running.values():
        in_flight[task.envelope.queue.name, task.constraints.concurrency_key] += 1
    for task in master.ledger.state.orphaned_runs.ended_tasks:
        in_flight[task.envelope.queue.name, task.constraints.concurrency_key] += 1
    for queue, name in in_flight.keys() | held:
        if name:
            limit = CONCURRENCY.get(name, 1)  # a schedule has a key of its own
            assert in_flight[queue, name] <= limit, f"{name}: {in_flight[queue, name]} are in flight"
            assert (queue, name) not in held or in_flight[queue, name] == limit, f"a task of {name} is held"


def runs_are_right(master: Master, workers: Sequence[Worker]) -> None:
    """At most the limit of tasks of a concurrency key run, also on workers that are frozen or have no connection."""
    running: Counter[tuple[str, str]] = Counter()
    for worker in workers:
        for executor in worker.executors.values():
            if executor.runs_lease_bound and executor.running is not None:
                task = master.ledger.state.tasks.get(executor.running[0])
                if task is not None and task.constraints.concurrency_key:
                    running[task.envelope.queue.name, task.constraints.concurrency_key] += 1
    for (_, name), count in running.items():
        assert count <= CONCURRENCY.get(name, 1), f"{count} tasks of {name} run at the same time"


def order_is_right(master: Master) -> None:
    """A task is held while a dependency is live, runs if all have succeeded, and then finds their results."""
    tasks, dependencies = master.ledger.state.tasks, master.ledger.state.dependencies
    for task in {id(one): one for followers in dependencies.followers.values() for one in followers}.values():
        depends_on = task.constraints.depends_on
        assert depends_on is not None
        live = sum(tasks[key].state in LIVE_STATES for key in depends_on.keys if key in tasks)
        assert dependencies.pending.get(task.task_key, live) == live
        if depends_on.policy != RUN and task.state in (READY, LEASED):
            assert all(tasks[key].state == SUCCEEDED for key in depends_on.keys), (
                f"{task.task_key:x} was leased too early"
            )
        assert task.state in (*LIVE_STATES, DEAD)
    assert all(tasks[key].state == HELD for key in (*dependencies.pending, *dependencies.failed_upstream))


def schedules_are_right(master: Master) -> None:
    """The next scheduled run of each schedule that is not paused is planned."""
    schedules = master.dispatcher.schedules
    planned = {
        id(request.schedule) for _, _, request in master.broker.instants._heap if isinstance(request, RunSchedule)
    }
    for schedule in schedules.known.values():
        assert schedule.progress.paused or id(schedule) in planned, f"{schedule.spec.name} has no planned run"


def checkpoints_and_parts_are_right(master: Master) -> None:
    """Cursors belong to tasks that may run again, parts to known tasks; the store has exactly these rows."""
    state = master.ledger.state
    tasks, cursors, parts_by_task = state.tasks, state.checkpoints.cursors, state.stream_parts.by_task
    assert all(tasks[key].state in (*LIVE_STATES, DEAD) for key in cursors)
    assert parts_by_task.keys() <= tasks.keys()
    known = {CURSORS - key for key in cursors}
    known.update(part.row for parts in parts_by_task.values() for part in parts.values())
    assert {key for key in master.store.keys if SCHEDULES < key <= PARTS} == known


def leases_are_right(master: Master) -> None:
    """P4, P5: a leased task has one holder, which can still settle it, or whose end the master already handles."""
    leased = 0
    for key, task in master.ledger.state.tasks.items():
        limit = task.envelope.max_deliveries
        if task.state == LEASED:
            leased += 1
            holder = task.holder
            assert holder is not None
            assert holder.held.get(key) is task
        else:
            assert task.holder is None
        assert task.lost < limit or (task.state == DEAD and task.lost == limit)
        if task.state == DEAD:
            causes = task.causes or unpack_dead(master.store.body(key)).causes
            assert causes
            # A requeued dead letter keeps its causes; the causes of a live task are lost with the memory of its master.
            assert master.durable or len(causes) >= task.lost + task.failures
    holders = {task.holder for task in master.ledger.state.tasks.values() if task.holder is not None}
    assert leased == sum(len(holder.held) for holder in holders)
    if master.broker.idle:
        ending = {request.holder for _, _, request in master.broker.instants._heap if isinstance(request, LoseLeases)}
        for holder in holders - ending:
            assert answers(master, holder), f"no peer can settle the tasks that {holder.label} holds: {holder.held}"


def answers(master: Master, holder: Holder) -> bool:
    """Whether the master knows the holder and would notice its end."""
    if isinstance(holder, PlainPeer):
        works = [task for task in holder.held.values() if task.envelope.queue.role != RESULT]
        assert len(works) <= 1, "a plain connection holds one item"
        return True
    assert isinstance(holder, ExecutorHolder)
    session = holder.session
    known = master.workers.sessions.get(session.key) is session and session.executors.get(holder.index) is holder
    return known and not holder.ended


def no_request_waits_for_a_ready_task(master: Master) -> None:
    """P6: no task is ready while a free executor that may run it waits for one."""
    for queue in master.ledger.registry.queues.values():  # all queues: no queue with a task that can run is set aside
        if queue.rate_window is not None or not queue.allowance(0.0):
            continue
        for request in master.broker._long_polls.of(queue):
            if not request.holder.held and request.can_receive() and has_free_slots(request, queue):
                found = wanted(request, queue)
                assert found is None, f"{found.task_key:x} is ready while {request.holder.label} waits for a task"


def has_free_slots(request: LeaseRequest, queue: Queue[Task]) -> bool:
    """Whether the worker has free slots for every task that may be first; tasks behind a heavy one wait for it."""
    costs = [
        ready_list.cost
        for ready_list in queue.ready_lists.values()
        if may_lease(request, ready_list) and ready_list.first() is not None
    ]
    return max(costs, default=1) <= request.holder.free_slots()


def slots_are_right(master: Master, workers: Sequence[Worker]) -> None:
    """The tasks that a worker's executors run take at most the worker's slots.

    A task that an executor has run and not settled takes no slot, and neither does a task of a dead executor.
    """
    living = {(worker.name, one.index): one for worker in workers for one in worker.executors.values()}
    for session in master.workers.sessions.values():
        taken = heaviest = 0
        for executor in session.executors.values():
            actor = living.get((session.key, executor.index))
            if actor is not None:
                costs = [task.envelope.cost for key, task in executor.held.items() if key not in actor.answered]
                taken += max(costs, default=0)
                heaviest = max(heaviest, *costs, 0)
        assert heaviest <= 1 or taken <= max(session.slots, len(session.executors)), session.key


def wanted(request: LeaseRequest, queue: Queue[Task]) -> Task | None:
    """A ready task of the queue that the request may lease."""
    heads = (ready_list.first() for ready_list in queue.ready_lists.values() if may_lease(request, ready_list))
    return next((task for task in heads if task is not None), None)


def may_lease(request: LeaseRequest, ready_list: PriorityList[Task]) -> bool:
    """Whether a waiting request may lease the tasks of a priority list."""
    fits = ready_list.requires <= request.holder.labels and ready_list.cost <= request.holder.slots
    return fits and not ready_list.paused and request.wanted(ready_list.name)


def nothing_is_left(master: Master) -> None:
    """After a recovery no task is live, and no request waits for capacity or for an end."""
    ledger = master.ledger
    live = {name: queue.counts for name, queue in ledger.registry.queues.items() if queue.live}
    assert live == {}, live
    assert not any(task.state in LIVE_STATES for task in ledger.state.tasks.values())
    assert not any(master.broker._blocked.values())
    assert not any(master.broker._join_waits.values())
