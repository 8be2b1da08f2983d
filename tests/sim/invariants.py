"""Invariants that must hold after every step of the simulation, also after a fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.sim.actors import TURNS, Worker
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
    """Every invariant that a master's memory can show, and what its workers really do."""
    assert not any(master.broker.guard.counts.values()), master.broker.guard.counts
    counts_are_right(master)
    keys_are_right(master)
    runs_are_right(master, workers)
    order_is_right(master)
    leases_are_right(master)
    slots_are_right(master, workers)
    if master.broker.idle:
        schedules_are_right(master)
        extras_are_right(master)
        nobody_waits_in_vain(master)


def counts_are_right(master: Master) -> None:
    """P2: an accepted task is live or has ended once; counts equal a recount."""
    ledger = master.ledger
    states: Counter[tuple[Queue[Task], int]] = Counter(
        (task.envelope.queue, task.state) for task in ledger.state.tasks.values()
    )
    ends: Counter[str] = Counter()
    for (queue_name, _), tally in ledger.registry.counters.items():
        ends[queue_name] += tally.submitted + tally.requeued - sum(tally.completed.values())
    for name, queue in ledger.registry.queues.items():
        assert queue.counts == [states[queue, state] for state in range(len(STATE_NAMES))], f"{name}: {queue.counts}"
        taken = ends[name] + master.loaded[name]
        assert taken == queue.live, f"{name}: {taken} taken and not ended, {queue.live} live"
        assert queue.room >= -queue.reserved
        assert queue in ledger.state.ready_queues or not queue.offers


def keys_are_right(master: Master) -> None:
    """Of each concurrency key no more are under way than may be, and a task is held only while there are as many."""
    under_way: Counter[tuple[str, str]] = Counter()
    held: set[tuple[str, str]] = set()
    for task in master.ledger.state.tasks.values():
        key = task.envelope.queue.name, task.constraints.concurrency_key
        if task.state in (READY, LEASED):
            under_way[key] += 1
        elif task.state == HELD and not master.ledger.state.dependencies.holds(task):
            held.add(key)
    for task, _ in master.ledger.state.orphaned_runs.running.values():
        under_way[task.envelope.queue.name, task.constraints.concurrency_key] += 1
    for task in master.ledger.state.orphaned_runs.ended_tasks:
        under_way[task.envelope.queue.name, task.constraints.concurrency_key] += 1
    for queue, name in under_way.keys() | held:
        if name:
            most = TURNS.get(name, 1)  # a schedule has a key of its own
            assert under_way[queue, name] <= most, f"{name}: {under_way[queue, name]} are under way"
            assert (queue, name) not in held or under_way[queue, name] == most, f"{name} is held in vain"


def runs_are_right(master: Master, workers: Sequence[Worker]) -> None:
    """Of each concurrency key no more *run* than may, whatever the master believes: frozen ones, cut off ones."""
    running: Counter[tuple[str, str]] = Counter()
    for worker in workers:
        for executor in worker.executors.values():
            if executor.runs_fenced and executor.running is not None:
                task = master.ledger.state.tasks.get(executor.running[0])
                if task is not None and task.constraints.concurrency_key:
                    running[task.envelope.queue.name, task.constraints.concurrency_key] += 1
    for (_, name), count in running.items():
        assert count <= TURNS.get(name, 1), f"{count} of {name} run at once"


def order_is_right(master: Master) -> None:
    """What comes after others is held while one of them lives, runs if all went well, and finds their results."""
    tasks, together = master.ledger.state.tasks, master.ledger.state.dependencies
    for task in {id(one): one for followers in together.followers.values() for one in followers}.values():
        after = task.constraints.depends_on
        assert after is not None
        live = sum(tasks[key].state in LIVE_STATES for key in after.keys if key in tasks)
        assert together.pending.get(task.task_key, live) == live
        if after.policy != RUN and task.state in (READY, LEASED):
            assert all(tasks[key].state == SUCCEEDED for key in after.keys), f"{task.task_key:x} is under way too early"
        assert task.state in (*LIVE_STATES, DEAD)
    assert all(tasks[key].state == HELD for key in (*together.pending, *together.doomed))


def schedules_are_right(master: Master) -> None:
    """What a schedule has submitted last is known, unless its time is over; its next moment is under way."""
    schedules = master.desk.schedules
    asked = {
        id(request.schedule) for _, _, request in master.broker._instants._heap if isinstance(request, RunSchedule)
    }
    for schedule in schedules.known.values():
        assert schedule.progress.paused or id(schedule) in asked, f"{schedule.spec.name} will never come again"


def extras_are_right(master: Master) -> None:
    """Cursors are of tasks that may run again, parts of tasks that are known; the store has these and no others."""
    state = master.ledger.state
    tasks, cursors, parts_by_task = state.tasks, state.checkpoints.cursors, state.stream_parts.by_task
    assert all(tasks[key].state in (*LIVE_STATES, DEAD) for key in cursors)
    assert parts_by_task.keys() <= tasks.keys()
    known = {CURSORS - key for key in cursors}
    known.update(kept.row for parts in parts_by_task.values() for kept in parts.values())
    assert {key for key in master.store.keys if SCHEDULES < key <= PARTS} == known


def leases_are_right(master: Master) -> None:
    """P4, P5: a task has one lease, whose holder can still answer, or whose end the master handles already."""
    leased = 0
    for key, task in master.ledger.state.tasks.items():
        most = task.envelope.max_deliveries
        if task.state == LEASED:
            leased += 1
            holder = task.holder
            assert holder is not None
            assert holder.held.get(key) is task
        else:
            assert task.holder is None
        assert task.lost < most or (task.state == DEAD and task.lost == most)
        if task.state == DEAD:
            causes = task.causes or unpack_dead(master.store.body(key)).causes
            assert causes
            # A dead letter that is tried again keeps its own; a live task's go with the master that knew them.
            assert master.durable or len(causes) >= task.lost + task.failures
    holders = {task.holder for task in master.ledger.state.tasks.values() if task.holder is not None}
    assert leased == sum(len(holder.held) for holder in holders)
    if master.broker.idle:
        ending = {request.holder for _, _, request in master.broker._instants._heap if isinstance(request, LoseLeases)}
        for holder in holders - ending:
            assert answers(master, holder), f"nobody will ever answer for what {holder.label} holds: {holder.held}"


def answers(master: Master, holder: Holder) -> bool:
    """Whether the master knows a holder, and would notice its end."""
    if isinstance(holder, PlainPeer):
        works = [task for task in holder.held.values() if task.envelope.queue.role != RESULT]
        assert len(works) <= 1, "a plain connection holds one item"
        return True
    assert isinstance(holder, ExecutorHolder)
    session = holder.session
    known = master.workers.sessions.get(session.key) is session and session.executors.get(holder.index) is holder
    return known and not holder.ended


def nobody_waits_in_vain(master: Master) -> None:
    """P6: no task waits while an executor that is free and would run it waits for one."""
    for queue in master.ledger.registry.queues.values():  # not only where tasks are on offer: none is set aside wrongly
        if queue.rate_window is not None or not queue.allowance(0.0):
            continue
        for take in master.broker._long_polls.of(queue):
            if not take.holder.held and take.can_receive() and has_room(take, queue):
                found = wanted(take, queue)
                assert found is None, f"{found.task_key:x} waits, and so does {take.holder.label}"


def has_room(take: LeaseRequest, queue: Queue[Task]) -> bool:
    """Whether its worker has free slots for whatever it may be given: what is behind a heavy task waits for that."""
    costs = [lane.cost for lane in queue.ready_lists.values() if may_take(take, lane) and lane.head() is not None]
    return max(costs, default=1) <= take.holder.room()


def slots_are_right(master: Master, workers: Sequence[Worker]) -> None:
    """What is heavy is given where there is room for it, beside what runs there.

    What an executor has run already, and comes back with, takes none, and neither does what a dead one holds.
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


def wanted(take: LeaseRequest, queue: Queue[Task]) -> Task | None:
    """A ready task of the queue that the take would be given."""
    heads = (lane.head() for lane in queue.ready_lists.values() if may_take(take, lane))
    return next((task for task in heads if task is not None), None)


def may_take(take: LeaseRequest, lane: PriorityList[Task]) -> bool:
    """Whether a waiting request may lease the tasks of a priority list."""
    fits = lane.requires <= take.holder.labels and lane.cost <= take.holder.slots
    return fits and not lane.paused and take.wanted(lane.name)


def nothing_is_left(master: Master) -> None:
    """After a calm: no task is live, and no request waits for room or for an end."""
    ledger = master.ledger
    live = {name: queue.counts for name, queue in ledger.registry.queues.items() if queue.live}
    assert live == {}, live
    assert not any(task.state in LIVE_STATES for task in ledger.state.tasks.values())
    assert not any(master.broker._blocked.values())
    assert not any(master.broker._join_waits.values())
