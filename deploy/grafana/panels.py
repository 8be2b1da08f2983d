"""The panels of the dashboards: title, description and expressions of each. `dashboards` builds them for Grafana."""
# ruff: noqa: INP001 - part of a program, not of a package

from collections.abc import Sequence
from typing import NamedTuple

QUANTILES = ("0.5", "0.95", "0.99")

OF_QUEUE = 'namespace=~"$namespace", queue=~"$queue"'
OF_TASK = f'{OF_QUEUE}, task=~"$task"'
OF_POOL = 'namespace=~"$namespace", pool=~"$pool"'
OF_MASTER = 'namespace=~"$namespace"'
RANGE = "[$__rate_interval]"

COMPLETED = f"sum(rate(distq_tasks_completed_total{{{OF_QUEUE}}}{RANGE}))"
SUBMITTED = f"sum(rate(distq_tasks_submitted_total{{{OF_QUEUE}}}{RANGE}))"
SUCCEEDED = f'sum(rate(distq_tasks_completed_total{{{OF_QUEUE}, outcome="success"}}{RANGE}))'


class Query(NamedTuple):
    """One PromQL expression and the legend of its series."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel before it is built; `warn`, `critical` and the axis maximum `most` are in the panel's unit."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    warn: float | None = None
    critical: float | None = None
    stacked: bool = False
    most: float | None = None


def process(expr: str, component: str) -> str:
    """Return the series of one component, of a metric that masters and workers both expose."""
    return f'{expr} and on (namespace, instance) distq_build_info{{component="{component}"}}'


def quantiles(metric: str) -> list[Query]:
    """Return queries for the p50, p95 and p99 of a histogram."""
    rate = f"sum by (le) (rate({metric}_bucket{{{OF_QUEUE}}}{RANGE}))"
    return [Query(f"histogram_quantile({q}, {rate})", f"p{float(q) * 100:g}") for q in QUANTILES]


def quantile_by_task(q: str, metric: str) -> Query:
    """Return a query for one quantile of a histogram, by task."""
    rate = f"sum by (le, task) (rate({metric}_bucket{{{OF_TASK}}}{RANGE}))"
    return Query(f"histogram_quantile({q}, {rate})", "{{task}}")


SERVICE_LEVEL = [
    Panel(
        "Success ratio",
        "Share of completed tasks that succeeded. The others became dead letters, were cancelled, or expired.",
        "percentunit",
        [Query(f"{SUCCEEDED} / {COMPLETED}", "success")],
        most=1,
    ),
    Panel(
        "Wait, p95",
        "Time from ready to leased in all chosen queues: 95% of tasks waited at most this long for a free slot.",
        "s",
        [quantiles("distq_task_wait_seconds")[1]],
        warn=60,
        critical=600,
    ),
    Panel(
        "Oldest ready task",
        "Age of the oldest ready task. It grows while no worker takes tasks from its queue.",
        "s",
        [Query(f"max(time() - distq_queue_oldest_task_enqueued_timestamp_seconds{{{OF_QUEUE}}}) or vector(0)", "age")],
        warn=60,
        critical=600,
    ),
    Panel(
        "Time to drain",
        "Ready tasks divided by (completion rate - submit rate). Very large: tasks arrive faster than they complete.",
        "s",
        [
            Query(
                f'sum(distq_queue_tasks{{{OF_QUEUE}, state="ready"}}) / clamp_min({COMPLETED} - {SUBMITTED}, 0.001)',
                "to drain",
            )
        ],
        warn=600,
        critical=3600,
    ),
]

FLOW = [
    Panel(
        "Tasks by state",
        "Ready: waits for a slot. Delayed: waits for its time. Held: waits for a concurrency key or a dependency. "
        "Leased: on a worker.",
        "short",
        [Query(f"sum by (state) (distq_queue_tasks{{{OF_QUEUE}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "Submitted and completed",
        "Tasks accepted, and tasks completed with any outcome. If submitted stays above completed, add workers.",
        "ops",
        [Query(SUBMITTED, "submitted"), Query(COMPLETED, "completed")],
    ),
    Panel(
        "Ready tasks by queue",
        "Tasks that wait for a slot, by queue: shows which queue is behind.",
        "short",
        [Query(f'sum by (queue) (distq_queue_tasks{{{OF_QUEUE}, state="ready"}})', "{{queue}}")],
    ),
    Panel("Wait", "Time from ready to leased: median, p95 and p99.", "s", quantiles("distq_task_wait_seconds")),
    Panel(
        "Run",
        "Run time of successful attempts: median, p95 and p99.",
        "s",
        quantiles("distq_task_run_seconds"),
    ),
    Panel(
        "Attempts by outcome",
        "Attempts that ended. Lost: the executor or worker died, or the lease expired. Returned: the worker gave the "
        "task back. Snoozed: the task asked to run later.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_task_attempts_total{{{OF_QUEUE}}}{RANGE}))", "{{outcome}}")],
        stacked=True,
    ),
]

LIMITS = [
    Panel(
        "Capacity used",
        "Live tasks and dead letters as a share of the queue's capacity. A full queue refuses submits.",
        "percentunit",
        [
            Query(
                f"(sum by (queue) (distq_queue_tasks{{{OF_QUEUE}}})"
                f" + sum by (queue) (distq_dead_letter_tasks{{{OF_QUEUE}}}))"
                f" / sum by (queue) (distq_queue_capacity_tasks{{{OF_QUEUE}}})",
                "{{queue}}",
            )
        ],
        warn=0.7,
        critical=0.9,
        most=1,
    ),
    Panel(
        "Running, concurrency limit, and slots wanted",
        "Leased tasks by queue, the queue's concurrency limit if it has one, and the slots that the queue needs, as "
        "autoscalers see it.",
        "short",
        [
            Query(f'sum by (queue) (distq_queue_tasks{{{OF_QUEUE}, state="leased"}})', "{{queue}}"),
            Query(f"sum by (queue) (distq_queue_running_max_tasks{{{OF_QUEUE}}})", "{{queue}} limit"),
            Query(f"sum by (queue) (distq_queue_desired_slots{{{OF_QUEUE}}})", "{{queue}} wanted"),
        ],
    ),
    Panel(
        "Paused queues",
        "1 while the queue is paused (`distq pause`): the master leases none of its tasks.",
        "short",
        [Query(f"max by (queue) (distq_queue_paused{{{OF_QUEUE}}})", "{{queue}}")],
        warn=1,
    ),
    Panel(
        "Rejected submits by reason",
        "Submits that the master refused; a batch counts once. Full: the queue is at its capacity. Kept: "
        "DISTQ_TASKS_MAX is reached. Payload: too large. Unique: another task has the unique key.",
        "ops",
        [Query(f"sum by (reason) (rate(distq_tasks_rejected_total{{{OF_QUEUE}}}{RANGE}))", "{{reason}}")],
        stacked=True,
    ),
    Panel(
        "Results stored",
        "Results that clients can still fetch, until their result TTL ends.",
        "short",
        [Query(f"sum by (queue) (distq_results_stored{{{OF_QUEUE}}})", "{{queue}}")],
        stacked=True,
    ),
    Panel(
        "Completed tasks by outcome",
        "Each task counts once per completion: success, dead (became a dead letter), cancelled or expired.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_tasks_completed_total{{{OF_QUEUE}}}{RANGE}))", "{{outcome}}")],
        stacked=True,
    ),
]

PER_TASK = [
    Panel(
        "Completed by task",
        "Tasks completed with any outcome: success, dead, cancelled or expired.",
        "ops",
        [Query(f"sum by (task) (rate(distq_tasks_completed_total{{{OF_TASK}}}{RANGE}))", "{{task}}")],
        stacked=True,
    ),
    Panel(
        "Errors by task and outcome",
        "Attempts that failed, exceeded their time limit, or were lost with their executor or worker.",
        "ops",
        [
            Query(
                "sum by (task, outcome) "
                f'(rate(distq_task_attempts_total{{{OF_TASK}, outcome=~"failure|timeout|lost"}}{RANGE}))',
                "{{task}} {{outcome}}",
            )
        ],
    ),
    Panel(
        "Wait by task, p95",
        "Time from ready to leased: 95% of the runs of a task waited at most this long.",
        "s",
        [quantile_by_task("0.95", "distq_task_wait_seconds")],
    ),
    *(
        Panel(
            f"Run by task, p{float(q) * 100:g}",
            f"{float(q) * 100:g}% of the successful attempts of a task ran at most this long.",
            "s",
            [quantile_by_task(q, "distq_task_run_seconds")],
        )
        for q in QUANTILES
    ),
]

RELIABILITY = [
    Panel(
        "Retries",
        "Failed attempts that will be retried, by queue and reason. The delay doubles with each attempt.",
        "ops",
        [
            Query(
                f"sum by (queue, reason) (rate(distq_task_retries_total{{{OF_QUEUE}}}{RANGE}))", "{{queue}} {{reason}}"
            )
        ],
    ),
    Panel(
        "Redeliveries by reason",
        "Deliveries that ended without an answer: the executor died, the connection broke, or the lease expired.",
        "ops",
        [Query(f"sum by (reason) (rate(distq_task_redeliveries_total{{{OF_QUEUE}}}{RANGE}))", "{{reason}}")],
        stacked=True,
    ),
    Panel(
        "Dead letters",
        "Tasks that will not be retried, stored with their cause: `distq dead list` shows them.",
        "short",
        [Query(f"sum by (queue) (distq_dead_letter_tasks{{{OF_QUEUE}}})", "{{queue}}")],
        warn=1,
    ),
    Panel(
        "Leases expired",
        "Leases that expired because their worker did not renew them: it was frozen, disconnected or powered off.",
        "ops",
        [Query(f"sum by (pool) (rate(distq_leases_expired_total{{{OF_POOL}}}{RANGE}))", "{{pool}}")],
    ),
    Panel(
        "Late settles by outcome",
        "Answers that arrived after their lease had ended. A late success still completes its task.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_task_late_settles_total{{{OF_QUEUE}}}{RANGE}))", "{{outcome}}")],
    ),
]

WORKERS = [
    Panel(
        "Workers",
        "Workers that the master sees as connected, by pool. A draining worker takes no more tasks.",
        "short",
        [Query(f"sum by (pool, state) (distq_workers{{{OF_POOL}}})", "{{pool}} {{state}}")],
        stacked=True,
    ),
    Panel(
        "Slots",
        "Slots of connected workers: busy slots run a task, free slots wait for one.",
        "short",
        [Query(f"sum by (state) (distq_worker_slots{{{OF_POOL}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "Saturation",
        "Busy slots as a share of all slots of the pool. At 100% tasks wait.",
        "percentunit",
        [
            Query(
                f'sum by (pool) (distq_worker_slots{{{OF_POOL}, state="busy"}})'
                f" / sum by (pool) (distq_worker_slots{{{OF_POOL}}})",
                "{{pool}}",
            )
        ],
        warn=0.9,
        most=1,
    ),
    Panel(
        "Executor exits by cause",
        "Executors that ended, by cause: oom, signal, recycle, timeout, stopped, hung or crash.",
        "ops",
        [Query(f"sum by (cause) (rate(distq_worker_executor_exits_total{{{OF_POOL}}}{RANGE}))", "{{cause}}")],
        stacked=True,
    ),
    Panel(
        "Settled by workers",
        "Answers that workers sent, as the workers count them: success, failure, or released (given back unstarted).",
        "ops",
        [Query(f"sum by (pool, outcome) (rate(distq_worker_tasks_total{{{OF_POOL}}}{RANGE}))", "{{pool}} {{outcome}}")],
        stacked=True,
    ),
    Panel(
        "Connected to a master",
        "Workers that report a connection to a master. If fewer than the pool has, look at the workers' logs.",
        "short",
        [Query(f"sum by (pool) (distq_worker_connected{{{OF_POOL}}})", "{{pool}}")],
    ),
    Panel(
        "CPU of supervisors",
        "CPU cores used by the workers' supervisor processes, without executors. Much more than 0.01 is unusual.",
        "short",
        [Query(process(f"rate(process_cpu_seconds_total{{{OF_MASTER}}}{RANGE})", "worker"), "{{instance}}")],
    ),
    Panel(
        "Memory of supervisors",
        "Resident memory of the workers' supervisor processes, without executors.",
        "bytes",
        [Query(process(f"process_resident_memory_bytes{{{OF_MASTER}}}", "worker"), "{{instance}}")],
    ),
    Panel(
        "Versions",
        "Running processes by component and version. Two versions for longer than a rollout: finish the rollout.",
        "short",
        [Query(f"count by (component, version) (distq_build_info{{{OF_MASTER}}})", "{{component}} {{version}}")],
    ),
]

MASTER = [
    Panel(
        "CPU",
        "CPU cores used by the master. Its event loop uses at most about one.",
        "short",
        [Query(process(f"rate(process_cpu_seconds_total{{{OF_MASTER}}}{RANGE})", "master"), "{{instance}}")],
        warn=0.8,
    ),
    Panel(
        "Memory",
        "Resident memory of the master: about 300 bytes for each task, and at most 64 MiB of cached payloads.",
        "bytes",
        [Query(process(f"process_resident_memory_bytes{{{OF_MASTER}}}", "master"), "{{instance}}")],
    ),
    Panel(
        "Event loop lag, p99",
        "Delay of the master's event loop. Above 0.1 s the master is overloaded.",
        "s",
        [
            Query(
                "histogram_quantile(0.99, sum by (le) "
                f"(rate(distq_event_loop_lag_seconds_bucket{{{OF_MASTER}}}{RANGE})))",
                "p99",
            )
        ],
        warn=0.1,
    ),
    Panel(
        "Connections",
        "Open connections by role of the peer. `unproved` peers have not completed authentication.",
        "short",
        [Query(f"sum by (role) (distq_connections{{{OF_MASTER}}})", "{{role}}")],
        stacked=True,
    ),
    Panel(
        "Authentication failures",
        "Connections that did not prove a valid authkey.",
        "ops",
        [Query(f"sum(rate(distq_auth_failures_total{{{OF_MASTER}}}{RANGE}))", "failures")],
    ),
    Panel(
        "Connections by key",
        "Open connections by the name of their key. A key that is old can be removed when no program uses it.",
        "short",
        [Query(f"sum by (key, age) (distq_key_connections{{{OF_MASTER}}})", "{{key}} ({{age}})")],
    ),
    Panel(
        "Use of old keys",
        "Handshakes and HTTP requests with a key for which there is a newer one.",
        "ops",
        [Query(f'sum by (key) (rate(distq_key_uses_total{{{OF_MASTER},age="old"}}{RANGE}))', "{{key}}")],
    ),
    Panel(
        "Forbidden calls",
        "Calls that the master refused because the key lacks a role or a queue.",
        "ops",
        [Query(f"sum by (key) (rate(distq_forbidden_calls_total{{{OF_MASTER}}}{RANGE}))", "{{key}}")],
    ),
    Panel(
        "Commit time",
        "Time for one commit, including the sync to disk. Submits and results wait for it.",
        "s",
        [
            Query(
                f"histogram_quantile({q}, sum by (le) (rate(distq_store_commit_seconds_bucket{{{OF_MASTER}}}{RANGE})))",
                f"p{float(q) * 100:g}",
            )
            for q in QUANTILES
        ],
        warn=0.1,
        critical=1,
    ),
    Panel(
        "Store",
        "Size of the store's file with its write-ahead log, and free space on its volume.",
        "bytes",
        [
            Query(f"distq_store_bytes{{{OF_MASTER}}}", "file and log"),
            Query(f"distq_store_volume_free_bytes{{{OF_MASTER}}}", "free on the volume"),
        ],
    ),
    Panel(
        "Free pages",
        "Unused pages of the store's file. The master returns them to the file system when the store is idle.",
        "short",
        [Query(f"distq_store_free_pages{{{OF_MASTER}}}", "free pages")],
    ),
    Panel(
        "Refused commits",
        "Commits that the store refused: its volume was full, or it refused what one request holds. Others are served.",
        "ops",
        [Query(f"sum(rate(distq_store_refusals_total{{{OF_MASTER}}}{RANGE}))", "refused")],
        critical=0.001,
    ),
    Panel(
        "Schedules",
        "Schedules by state. A faulty schedule submits nothing: `distq schedule list` shows the reason.",
        "short",
        [Query(f"sum by (state) (distq_schedules{{{OF_MASTER}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "Scheduled runs",
        "Scheduled runs that came due. Submitted: the master submitted a task. Skipped: it did not, because the master "
        "was away at that time or the previous task had not ended.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_scheduled_runs_total{{{OF_MASTER}}}{RANGE}))", "{{outcome}}")],
    ),
    Panel(
        "Rejected connections",
        "Connections that the master closed immediately because its connection limit was reached, and everything that "
        "a limit has refused or ended, by the limit's setting.",
        "ops",
        [
            Query(f"sum(rate(distq_connections_turned_down_total{{{OF_MASTER}}}{RANGE}))", "refused"),
            Query(f"sum by (limit) (rate(distq_limits_met_total{{{OF_MASTER}}}{RANGE})) > 0", "{{limit}}"),
        ],
        warn=0.001,
    ),
]

SEVERAL_MASTERS = [
    Panel(
        "Leaders",
        "Masters on one database: 1 is the leader, 0 stands by. Empty for a master on a file.",
        "short",
        [Query(f"distq_leader{{{OF_MASTER}}}", "{{instance}}")],
    ),
    Panel(
        "Changes of the leader",
        "How often another master began to lead, in the last hour: hand-overs, take-overs and restarts.",
        "short",
        [
            Query(
                f"max(max_over_time(distq_leader_epoch{{{OF_MASTER}}}[1h]))"
                f" - min(min_over_time(distq_leader_epoch{{{OF_MASTER}}}[1h]))",
                "changes",
            )
        ],
        warn=5,
    ),
    Panel(
        "Hand-overs and take-overs",
        "How leaderships began, in the last hour. Hand-over: the earlier leader gave its leadership back, as in an "
        "upgrade. Take-over: it was killed, frozen or cut off.",
        "short",
        [Query(f"sum by (cause) (increase(distq_leaderships_total{{{OF_MASTER}}}[1h]))", "{{cause}}")],
    ),
    Panel(
        "Standby masters",
        "Masters that could take over, as the leader counts them.",
        "short",
        [Query(f"max(distq_standby_masters{{{OF_MASTER}}})", "stand by")],
    ),
    Panel(
        "Passed connections",
        "Connections that each standby passes on to the leader, or that wait for one.",
        "short",
        [Query(f"distq_passed_connections{{{OF_MASTER}}}", "{{instance}}")],
    ),
    Panel(
        "Standby lag",
        "How long ago each standby knew all tasks. It grows while it reads all tasks, or cannot reach the database.",
        "s",
        [Query(f"distq_standby_lag_seconds{{{OF_MASTER}}}", "{{instance}}")],
        warn=5,
        critical=60,
    ),
]
