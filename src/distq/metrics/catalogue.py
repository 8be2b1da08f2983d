"""The catalogue of metrics: the collectors expose no others, and the reference is written from it."""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Place = Literal["master", "worker", "both"]


class Metric(NamedTuple):
    """One metric: its full name, kind, labels and help, and the process that exposes it."""

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
        "Tasks that have not ended: ready, delayed, leased, or held by their concurrency key or by dependencies.",
    ),
    Metric("distq_queue_capacity_tasks", "gauge", ("queue",), "Maximum tasks in the queue."),
    Metric(
        "distq_queue_desired_slots",
        "gauge",
        ("queue",),
        "Slots that the queue needs, as in /api/v1/autoscale: the busy ones, plus some for the ready tasks.",
    ),
    Metric(
        "distq_queue_paused", "gauge", ("queue",), "1 if an operator has paused the queue: no task of it is leased."
    ),
    Metric("distq_queue_running_max_tasks", "gauge", ("queue",), "Concurrency limit of the queue; absent without one."),
    Metric(
        "distq_queue_oldest_task_enqueued_timestamp_seconds",
        "gauge",
        ("queue",),
        "Time at which the oldest ready task that is first of its priority was submitted; absent if no task is ready.",
    ),
    Metric(
        "distq_dead_letter_tasks",
        "gauge",
        ("queue",),
        "Dead letters: failed tasks that are not retried, kept with their cause.",
    ),
    Metric("distq_results_stored", "gauge", ("queue",), "Results that clients can fetch."),
    Metric(
        "distq_undelivered_results_bytes",
        "gauge",
        (),
        "Bytes of results and errors in memory that clients have not fetched; beyond 64 MiB only the store has them.",
    ),
    Metric(
        "distq_client_sessions",
        "gauge",
        (),
        "Client sessions: clients that are connected, or disconnected for less than an hour.",
    ),
    Metric("distq_tasks_submitted_total", "counter", ("queue", "task"), "Tasks that the master accepted."),
    Metric(
        "distq_tasks_rejected_total",
        "counter",
        ("queue", "reason"),
        "Submits that the master refused: full, kept, payload or unique.",
    ),
    Metric(
        "distq_tasks_completed_total",
        "counter",
        ("queue", "task", "outcome"),
        "Tasks that ended: success, dead, cancelled or expired.",
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
        "Failed attempts that are retried: failure or timeout.",
    ),
    Metric(
        "distq_dead_letters_max_tasks",
        "gauge",
        (),
        "Maximum dead letters (DISTQ_DEAD_LETTERS_MAX), beyond which the oldest are dropped; absent without a limit.",
    ),
    Metric(
        "distq_dead_letters_dropped_total",
        "counter",
        ("queue",),
        "Dead letters dropped because they exceeded the age or the number that is kept.",
    ),
    Metric(
        "distq_dead_letters_requeued_total", "counter", ("queue",), "Dead letters that were retried by an operator."
    ),
    Metric(
        "distq_task_redeliveries_total",
        "counter",
        ("queue", "reason"),
        "Deliveries that were lost without an outcome of the task: executor, connection or lease.",
    ),
    Metric(
        "distq_leases_expired_total", "counter", ("pool",), "Leases that ended because the worker did not renew them."
    ),
    Metric(
        "distq_task_late_settles_total",
        "counter",
        ("queue", "outcome"),
        "Outcomes that arrived after their lease had ended.",
    ),
    Metric("distq_unknown_settles_total", "counter", (), "Outcomes of tasks that the master does not know."),
    Metric("distq_task_wait_seconds", "histogram", ("queue", "task"), "Time from ready to leased."),
    Metric("distq_task_run_seconds", "histogram", ("queue", "task"), "Run time of the successful attempt."),
    Metric("distq_task_total_seconds", "histogram", ("queue", "task"), "Time from submit to success."),
    Metric("distq_workers", "gauge", ("pool", "state"), "Connected workers: active or draining."),
    Metric("distq_worker_slots", "gauge", ("pool", "state"), "Slots of connected workers: busy or free."),
    Metric(
        "distq_connections", "gauge", ("role",), "Open connections; role unproved until the peer has authenticated."
    ),
    Metric("distq_schedules", "gauge", ("state",), "Schedules: active, paused or faulty."),
    Metric(
        "distq_scheduled_runs_total",
        "counter",
        ("outcome",),
        "Scheduled runs that became due: a task was submitted, or the run was skipped.",
    ),
    Metric(
        "distq_internal_errors_total",
        "counter",
        ("place",),
        "Internal errors in the master: each failed one request, and the log has its traceback.",
    ),
    Metric("distq_clock_steps_total", "counter", (), "Changes of the machine's clock that the master followed."),
    Metric(
        "distq_clock_stepped_seconds",
        "gauge",
        (),
        "Sum of the changes of the machine's clock since the master started; negative if it was set back.",
    ),
    Metric(
        "distq_key_connections",
        "gauge",
        ("key", "age"),
        "Open connections by the name of their key; age old if a newer key has the same name, else current.",
    ),
    Metric(
        "distq_key_uses_total",
        "counter",
        ("key", "age"),
        "Handshakes and HTTP requests that proved a key, by its name; age old if a newer key has the same name.",
    ),
    Metric(
        "distq_forbidden_calls_total",
        "counter",
        ("key",),
        "Calls and HTTP requests that the master refused because the key lacks a role or a queue.",
    ),
    Metric("distq_auth_failures_total", "counter", (), "Connections and HTTP requests that failed to authenticate."),
    Metric(
        "distq_connections_turned_down_total",
        "counter",
        (),
        "Connections refused because there were too many already, in all or from one address.",
    ),
    Metric(
        "distq_limits_met_total",
        "counter",
        ("limit",),
        "Connections, frames, submits, queues, schedules and sessions that a limit has refused or ended, by setting.",
    ),
    Metric("distq_event_loop_lag_seconds", "histogram", (), "Delay of the master's event loop, sampled."),
    Metric("distq_store_commit_seconds", "histogram", (), "Time of a commit of the store, including the sync."),
    Metric(
        "distq_store_refusals_total",
        "counter",
        (),
        "Commits that the store refused, for lack of room or by their content.",
    ),
    Metric(
        "distq_store_bytes", "gauge", (), "Size of the store's file and its log; absent for a store without a file."
    ),
    Metric(
        "distq_store_volume_free_bytes",
        "gauge",
        (),
        "Free bytes on the store's volume; absent for a store without a file.",
    ),
    Metric(
        "distq_store_free_pages",
        "gauge",
        (),
        "Free pages of the store's file, which the master releases when it is idle.",
    ),
    Metric("distq_store_ready", "gauge", (), "1 if the store accepts new tasks."),
    Metric(
        "distq_leader",
        "gauge",
        (),
        "1 if this master leads, 0 if it stands by; absent on a store that masters cannot share.",
    ),
    Metric("distq_leader_epoch", "gauge", (), "Number of the leadership, which grows with each new leader."),
    Metric(
        "distq_leaderships_total",
        "counter",
        ("cause",),
        "Leaderships that this process began: handover if the earlier leader gave its leadership back, takeover if it "
        "was killed, frozen or cut off.",
    ),
    Metric(
        "distq_standby_masters",
        "gauge",
        (),
        "Other masters that are connected to the store, as the leader counts them.",
    ),
    Metric("distq_passed_connections", "gauge", (), "Connections that a standby passes on, or that wait for a leader."),
    Metric(
        "distq_standby_lag_seconds",
        "gauge",
        (),
        "Seconds since a standby had the heads of all tasks in the store, or since it began to read them.",
    ),
    Metric(
        "distq_build_info",
        "gauge",
        ("version", "python", "component"),
        "Always 1; the labels name the version and the component.",
        "both",
    ),
    Metric("distq_worker_connected", "gauge", ("pool",), "1 if this worker is connected to a master.", "worker"),
    Metric(
        "distq_worker_executors",
        "gauge",
        ("pool", "state"),
        "Slots of this worker: busy or free.",
        "worker",
    ),
    Metric(
        "distq_worker_tasks_total",
        "counter",
        ("pool", "outcome"),
        "Tasks that this worker has settled: success, failure or released.",
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
