"""Formats the master's metrics from the counters of its ledger, at each scrape."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from distq.core.counters import TaskCounters
from distq.core.demand import demands
from distq.core.outcome import OUTCOME_NAMES
from distq.core.queue import WORK, Queue, parts
from distq.core.states import DEAD, LIVE_STATES, STATE_NAMES, SUCCEEDED
from distq.core.task import Task
from distq.metrics.families import build_info, counter, gauge, histogram
from distq.metrics.view import MasterMetrics, StandbyMetrics

REFUSAL_REASONS = ("full", "kept", "payload", "unique")
REASONS_OF_REDELIVERY = ("executor", "connection", "lease")
OUTCOMES_OF_LATE_SETTLES = tuple(dict.fromkeys(OUTCOME_NAMES))

CountersByName = Mapping[tuple[str, str], TaskCounters]


def master_metrics(view: MasterMetrics) -> Iterator[str]:
    """Yield all metrics of the master, in slices.

    The values of one family are of the same instant, except for the two that examine the ready tasks of each queue.
    """
    yield from build_info("master")
    yield from _of_queues(list(view.queues()))
    yield from _desired_slots(view)
    yield from gauge("distq_undelivered_results_bytes", [((), view.undelivered_bytes)])
    yield from gauge("distq_client_sessions", [((), view.client_sessions)])
    counters_by_name = view.counters()
    yield from _of_tasks(counters_by_name)
    yield from _by_queue(counters_by_name)
    yield from _of_workers(view)
    most = view.dead_letters_max
    yield from gauge("distq_dead_letters_max_tasks", [] if most is None else [((), most)])
    yield from counter("distq_unknown_settles_total", [((), view.unknown_settles)])
    yield from counter("distq_internal_errors_total", [((place,), n) for place, n in view.internal_errors.items()])
    yield from counter("distq_clock_steps_total", [((), view.clock_steps)])
    yield from gauge("distq_clock_stepped_seconds", [((), view.clock_stepped_s)])
    yield from gauge("distq_key_connections", list(view.key_connections().items()))
    yield from counter("distq_key_uses_total", list(view.key_uses.items()))
    yield from counter("distq_forbidden_calls_total", [((name,), n) for name, n in view.forbidden_calls.items()])
    yield from counter("distq_auth_failures_total", [((), view.auth_failures)])
    yield from counter("distq_connections_turned_down_total", [((), view.connections_refused)])
    yield from counter("distq_limits_met_total", [((limit,), count) for limit, count in view.limits_met.items()])
    yield from gauge("distq_schedules", [((state,), count) for state, count in view.schedules.items()])
    yield from counter(
        "distq_scheduled_runs_total", [((outcome,), count) for outcome, count in view.scheduled_runs.items()]
    )
    yield from gauge("distq_connections", [((role,), count) for role, count in view.connections().items()])
    yield from histogram("distq_event_loop_lag_seconds", [((), view.loop_lag)])
    yield from _of_store(view)


def _of_queues(queues: Sequence[Queue[Task]]) -> Iterator[str]:
    counted = [(queue.name, tuple(queue.counts)) for queue in queues]
    yield from gauge(
        "distq_queue_tasks",
        (((name, STATE_NAMES[state]), counts[state]) for name, counts in counted for state in LIVE_STATES),
    )
    yield from gauge("distq_queue_capacity_tasks", (((queue.name,), queue.capacity) for queue in queues))
    yield from gauge("distq_queue_paused", (((queue.name,), int(queue.policy.paused)) for queue in queues))
    limited = ((queue.name, queue.policy.running) for queue in queues)
    yield from gauge("distq_queue_running_max_tasks", (((name,), most) for name, most in limited if most is not None))
    yield from _oldest(queues)
    yield from gauge("distq_dead_letter_tasks", (((queue.name,), queue.counts[DEAD]) for queue in queues))
    yield from gauge("distq_results_stored", (((queue.name,), queue.counts[SUCCEEDED]) for queue in queues))


def _oldest(queues: Sequence[Queue[Task]]) -> Iterator[str]:
    values: list[tuple[tuple[str, ...], float]] = []
    for part in parts(queues):
        oldest = ((queue.name, queue.oldest_submitted_at()) for queue in part)
        values += [((name,), at) for name, at in oldest if at is not None]
        yield ""  # no text yet; the event loop may serve other requests here
    yield from gauge("distq_queue_oldest_task_enqueued_timestamp_seconds", values)


def _desired_slots(view: MasterMetrics) -> Iterator[str]:
    """Yield the number of `/api/v1/autoscale` for each work queue."""
    work, within_s = [queue for queue in view.queues() if queue.role == WORK], view.target_drain_s
    values: list[tuple[tuple[str, ...], float]] = []
    for step in demands(work, view.placement(), view.now(), within_s):
        if step is None:
            yield ""  # the event loop may serve other requests here
        else:
            queue, wants = step
            values.append(((queue.name,), wants.desired_slots(within_s)))
    yield from gauge("distq_queue_desired_slots", values)


def _of_tasks(by_name: CountersByName) -> Iterator[str]:
    yield from counter(
        "distq_tasks_submitted_total", [(labels, counters.submitted) for labels, counters in by_name.items()]
    )
    for name, table in (("distq_tasks_completed_total", "completed"), ("distq_task_attempts_total", "attempts")):
        yield from counter(
            name, _samples_of((labels, getattr(counters, table)) for labels, counters in by_name.items())
        )
    yield from histogram("distq_task_wait_seconds", [(labels, counters.wait) for labels, counters in by_name.items()])
    yield from histogram("distq_task_run_seconds", [(labels, counters.run) for labels, counters in by_name.items()])
    yield from histogram("distq_task_total_seconds", [(labels, counters.total) for labels, counters in by_name.items()])


def _samples_of(tables: Iterable[tuple[tuple[str, ...], Mapping[str, int]]]) -> list[tuple[tuple[str, ...], float]]:
    return [((*labels, label), count) for labels, counts in tables for label, count in counts.items()]


def _by_queue(by_name: CountersByName) -> Iterator[str]:
    groups: dict[str, list[TaskCounters]] = {}
    for (queue, _), counters in by_name.items():
        groups.setdefault(queue, []).append(counters)
    rejected = {queue: _added((one.rejected for one in of), REFUSAL_REASONS) for queue, of in groups.items()}
    again = {queue: _added((one.redeliveries for one in of), REASONS_OF_REDELIVERY) for queue, of in groups.items()}
    late = {queue: _added((one.late for one in of), OUTCOMES_OF_LATE_SETTLES) for queue, of in groups.items()}
    yield from counter("distq_tasks_rejected_total", _samples_of(_each(rejected)))
    retries = {queue: _added(one.retries for one in of) for queue, of in groups.items()}
    yield from counter("distq_task_retries_total", _samples_of(_each(retries)))
    requeued = [((queue,), sum(one.requeued for one in of)) for queue, of in groups.items()]
    yield from counter("distq_dead_letters_requeued_total", requeued)
    dropped = [((queue,), sum(one.dropped for one in of)) for queue, of in groups.items()]
    yield from counter("distq_dead_letters_dropped_total", dropped)
    yield from counter("distq_task_redeliveries_total", _samples_of(_each(again)))
    yield from counter("distq_task_late_settles_total", _samples_of(_each(late)))


def _of_workers(view: MasterMetrics) -> Iterator[str]:
    workers: Counter[tuple[str, ...]] = Counter()
    slots: Counter[tuple[str, ...]] = Counter()
    for row in view.workers():
        workers[row.pool, "draining"] += row.draining
        workers[row.pool, "active"] += not row.draining
        slots[row.pool, "busy"] += row.busy
        slots[row.pool, "free"] += max(0, row.slots - row.busy)
    yield from gauge("distq_workers", workers.items())
    yield from gauge("distq_worker_slots", slots.items())
    expired = {**dict.fromkeys((pool for pool, _ in workers), 0), **view.leases_expired}
    yield from counter("distq_leases_expired_total", [((pool,), count) for pool, count in expired.items()])


def _of_store(view: MasterMetrics) -> Iterator[str]:
    health = view.store_health
    yield from histogram("distq_store_commit_seconds", [((), view.store_commits)])
    yield from counter("distq_store_refusals_total", [((), view.store_refusals)])
    yield from gauge(
        "distq_store_ready", [((), not any(health.get(fault) for fault in ("refusing", "hangs", "broken")))]
    )
    standbys = health.get("standbys")
    leads = isinstance(standbys, int)  # only masters that can share their store count each other
    yield from gauge("distq_leader", [((), 1)] if leads else [])
    yield from gauge("distq_leader_epoch", [((), view.epoch)] if leads else [])
    yield from _leaderships(view)
    yield from gauge("distq_standby_masters", [((), standbys)] if isinstance(standbys, int) else [])
    yield from gauge("distq_passed_connections", [])
    yield from gauge("distq_standby_lag_seconds", [])
    values = {
        "distq_store_bytes": _sum_of(health, "bytes", "wal_bytes"),
        "distq_store_volume_free_bytes": _sum_of(health, "free_bytes"),
        "distq_store_free_pages": _sum_of(health, "free_pages"),
    }
    for name, value in values.items():
        yield from gauge(name, [] if value is None else [((), value)])


def standby_metrics(view: StandbyMetrics) -> Iterator[str]:
    """Yield all metrics of a master that stands by."""
    yield from build_info("master")
    yield from gauge("distq_leader", [((), 0)])
    yield from _leaderships(view)
    yield from gauge("distq_passed_connections", [((), view.passed_connections)])
    yield from gauge("distq_standby_lag_seconds", [((), view.lag_s)])


def _leaderships(view: MasterMetrics | StandbyMetrics) -> Iterator[str]:
    yield from counter("distq_leaderships_total", [((cause,), count) for cause, count in view.leaderships.items()])


def _sum_of(health: Mapping[str, object], *fields: str) -> float | None:
    """Return the sum of the store's figures with these names, None if one is missing."""
    values = [health.get(field) for field in fields]
    return sum(value for value in values if isinstance(value, int | float)) if None not in values else None


def _added(tables: Iterable[Mapping[str, int]], reasons: Sequence[str] = ()) -> dict[str, int]:
    """Return the sum of several tables of counts; `reasons` are in it even at 0.

    A counter that appears with its first event hides that event from `rate()`.
    """
    total = dict.fromkeys(reasons, 0)
    for table in tables:
        for reason, count in table.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _each(tables: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[tuple[str, ...], Mapping[str, int]]]:
    return (((queue,), counts) for queue, counts in tables.items())
