"""Every metric that distq exposes: the collectors expose nothing else, and the reference is written from it."""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Place = Literal["master", "worker", "both"]


class Metric(NamedTuple):
    """One metric: its full name, kind, labels and help, and whose /metrics has it."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    place: Place = "master"


METRICS: tuple[Metric, ...] = (
    Metric(
        "distq_queue_tasks",
        "gauge",
        ("queue", "state"),
        "Live tasks: ready, delayed, leased, or held by their concurrency key or by tasks before them.",
    ),
    Metric("distq_queue_capacity_tasks", "gauge", ("queue",), "How many tasks the queue takes."),
    Metric(
        "distq_queue_desired_slots",
        "gauge",
        ("queue",),
        "Slots that the queue wants, as /api/v1/autoscale says: those that are busy, and more for what is ready.",
    ),
    Metric("distq_queue_paused", "gauge", ("queue",), "1 if nothing is given out because somebody has paused it."),
    Metric("distq_queue_running_max_tasks", "gauge", ("queue",), "How many may run at once; absent without a limit."),
    Metric(
        "distq_queue_oldest_task_enqueued_timestamp_seconds",
        "gauge",
        ("queue",),
        "When the oldest ready task at the head of its line was submitted; absent when none is ready.",
    ),
    Metric(
        "distq_dead_letter_tasks", "gauge", ("queue",), "Tasks that will not be tried again, kept with their cause."
    ),
    Metric("distq_results_stored", "gauge", ("queue",), "Results that can be fetched."),
    Metric(
        "distq_undelivered_results_bytes",
        "gauge",
        (),
        "Bytes of results and errors in memory that clients have not fetched; from 64 MiB on the store alone has them.",
    ),
    Metric(
        "distq_client_sessions",
        "gauge",
        (),
        "Clients that the master knows: they are connected, or have been away for less than an hour.",
    ),
    Metric("distq_tasks_submitted_total", "counter", ("queue", "task"), "Tasks that were accepted."),
    Metric(
        "distq_tasks_rejected_total",
        "counter",
        ("queue", "reason"),
        "Submits that were refused: full, kept, payload or unique.",
    ),
    Metric(
        "distq_tasks_completed_total",
        "counter",
        ("queue", "task", "outcome"),
        "Tasks that reached their end: success, dead, cancelled or expired.",
    ),
    Metric(
        "distq_task_attempts_total",
        "counter",
        ("queue", "task", "outcome"),
        "Attempts that ended: success, failure, timeout, lost, returned or snoozed.",
    ),
    Metric(
        "distq_task_retries_total",
        "counter",
        ("queue", "reason"),
        "Failed attempts that are tried again: failure or timeout.",
    ),
    Metric(
        "distq_dead_letters_max_tasks",
        "gauge",
        (),
        "How many dead letters are kept (DISTQ_DEAD_LETTERS_MAX), the oldest go; absent without a limit.",
    ),
    Metric(
        "distq_dead_letters_dropped_total",
        "counter",
        ("queue",),
        "Dead letters that went because they were older or more than are kept.",
    ),
    Metric("distq_dead_letters_requeued_total", "counter", ("queue",), "Dead letters that somebody had tried again."),
    Metric(
        "distq_task_redeliveries_total",
        "counter",
        ("queue", "reason"),
        "Deliveries that ended without a word from the task: executor, connection or lease.",
    ),
    Metric("distq_leases_expired_total", "counter", ("pool",), "Leases that ended because nobody renewed them."),
    Metric(
        "distq_task_late_settles_total",
        "counter",
        ("queue", "outcome"),
        "Answers to leases that had ended already.",
    ),
    Metric("distq_unknown_settles_total", "counter", (), "Answers about tasks that the master does not know."),
    Metric("distq_task_wait_seconds", "histogram", ("queue", "task"), "From ready to leased."),
    Metric("distq_task_run_seconds", "histogram", ("queue", "task"), "How long the successful attempt ran."),
    Metric("distq_task_total_seconds", "histogram", ("queue", "task"), "From submit to success."),
    Metric("distq_workers", "gauge", ("pool", "state"), "Connected workers: active or draining."),
    Metric("distq_worker_slots", "gauge", ("pool", "state"), "Slots of connected workers: busy or free."),
    Metric("distq_connections", "gauge", ("role",), "Open connections; of role unproved until the key is proved."),
    Metric("distq_schedules", "gauge", ("state",), "Schedules that the master keeps: active, paused or faulty."),
    Metric(
        "distq_schedule_moments_total",
        "counter",
        ("outcome",),
        "Moments of schedules that have come: a task was submitted, or it was skipped.",
    ),
    Metric(
        "distq_internal_errors_total",
        "counter",
        ("place",),
        "Errors of distq itself in the master's cycle: each failed one request, and the log has its traceback.",
    ),
    Metric("distq_clock_steps_total", "counter", (), "How often the master's clock was set, as its machine's was."),
    Metric(
        "distq_clock_stepped_seconds",
        "gauge",
        (),
        "How far the clock of the master's machine was set since the master started; below 0 if back.",
    ),
    Metric("distq_auth_failures_total", "counter", (), "Peers that did not have the key."),
    Metric("distq_connections_turned_down_total", "counter", (), "Connections closed at once: there were too many."),
    Metric("distq_event_loop_lag_seconds", "histogram", (), "How late the master's event loop was, sampled."),
    Metric("distq_store_commit_seconds", "histogram", (), "How long the store took for a commit, sync and all."),
    Metric("distq_store_refusals_total", "counter", (), "Commits that the store refused: it had no room."),
    Metric("distq_store_bytes", "gauge", (), "Size of the store's file and its log; absent where there is none."),
    Metric("distq_store_volume_free_bytes", "gauge", (), "Room on the store's volume; absent where there is none."),
    Metric("distq_store_free_pages", "gauge", (), "Pages of the store's file that are given back when it is idle."),
    Metric("distq_store_ready", "gauge", (), "1 while the store takes new tasks."),
    Metric("distq_build_info", "gauge", ("version", "python", "component"), "Always 1; what runs here.", "both"),
    Metric("distq_worker_connected", "gauge", ("pool",), "1 while this worker is connected to a master.", "worker"),
    Metric(
        "distq_worker_executors",
        "gauge",
        ("pool", "state"),
        "What this worker can run at once: busy or free.",
        "worker",
    ),
    Metric(
        "distq_worker_tasks_total",
        "counter",
        ("pool", "outcome"),
        "Tasks that this worker has answered: success, failure or released.",
        "worker",
    ),
    Metric(
        "distq_worker_executor_exits_total",
        "counter",
        ("pool", "cause"),
        "Executors that ended: oom, signal, recycle, timeout, stopped, hung or crash.",
        "worker",
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
