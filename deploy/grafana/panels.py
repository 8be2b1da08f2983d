"""What the dashboards show: every panel's expressions, and the words that explain them. Built in `dashboards`."""
# ruff: noqa: INP001 - beside a program, not in a package

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
    """One expression, and how its series are called in the legend."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel, before it is built; warn and critical are thresholds in the panel's unit."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    warn: float | None = None
    critical: float | None = None
    stacked: bool = False
    most: float | None = None


def process(expr: str, component: str) -> str:
    """Of a metric that every process has, the series of masters or of workers."""
    return f'{expr} and on (namespace, instance) distq_build_info{{component="{component}"}}'


def quantiles(metric: str) -> list[Query]:
    """A histogram's p50, p95 and p99."""
    rate = f"sum by (le) (rate({metric}_bucket{{{OF_QUEUE}}}{RANGE}))"
    return [Query(f"histogram_quantile({q}, {rate})", f"p{float(q) * 100:g}") for q in QUANTILES]


def quantile_by_task(q: str, metric: str) -> Query:
    """One quantile of a histogram for each task."""
    rate = f"sum by (le, task) (rate({metric}_bucket{{{OF_TASK}}}{RANGE}))"
    return Query(f"histogram_quantile({q}, {rate})", "{{task}}")


SERVICE_LEVEL = [
    Panel(
        "Success ratio",
        "Of the tasks that ended, how many succeeded. The others are dead letters, cancelled or expired.",
        "percentunit",
        [Query(f"{SUCCEEDED} / {COMPLETED}", "success")],
        most=1,
    ),
    Panel(
        "Wait, p95",
        "From ready to leased: 95 % of tasks waited less than this for a free slot.",
        "s",
        [quantiles("distq_task_wait_seconds")[1]],
        warn=60,
        critical=600,
    ),
    Panel(
        "Oldest ready task",
        "How long the task at the head of its queue has been there. Grows when nobody takes from a queue.",
        "s",
        [Query(f"max(time() - distq_queue_oldest_task_enqueued_timestamp_seconds{{{OF_QUEUE}}}) or vector(0)", "age")],
        warn=60,
        critical=600,
    ),
    Panel(
        "Time to drain",
        "When the ready tasks will be done, if tasks come and go as now. Very large: more come than go.",
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
        "Ready: waiting for a slot. Delayed: waiting for their time. Leased: with a worker.",
        "short",
        [Query(f"sum by (state) (distq_queue_tasks{{{OF_QUEUE}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "In and out",
        "Tasks submitted and tasks that ended, in any way. In above out for long: add workers.",
        "ops",
        [Query(SUBMITTED, "submitted"), Query(COMPLETED, "completed")],
    ),
    Panel(
        "Ready tasks by queue",
        "Which queue is behind.",
        "short",
        [Query(f'sum by (queue) (distq_queue_tasks{{{OF_QUEUE}, state="ready"}})', "{{queue}}")],
    ),
    Panel("Wait", "From ready to leased.", "s", quantiles("distq_task_wait_seconds")),
    Panel("Run", "How long the attempt ran that succeeded.", "s", quantiles("distq_task_run_seconds")),
    Panel(
        "Attempts by outcome",
        "How runs ended. Lost: whoever ran it died or fell silent. Returned: handed back, at no cost to the task.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_task_attempts_total{{{OF_QUEUE}}}{RANGE}))", "{{outcome}}")],
        stacked=True,
    ),
]

LIMITS = [
    Panel(
        "Capacity used",
        "Live tasks and dead letters, of what the queue takes. Full, it refuses submits.",
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
        "Running, how many may, and slots wanted",
        "Leased tasks by queue, beside the limits that are set, and the slots that an autoscaler is asked for.",
        "short",
        [
            Query(f'sum by (queue) (distq_queue_tasks{{{OF_QUEUE}, state="leased"}})', "{{queue}}"),
            Query(f"sum by (queue) (distq_queue_running_max_tasks{{{OF_QUEUE}}})", "{{queue}} at most"),
            Query(f"sum by (queue) (distq_queue_desired_slots{{{OF_QUEUE}}})", "{{queue}} wanted"),
        ],
    ),
    Panel(
        "Paused queues",
        "1 while nothing of a queue is given out because somebody has paused it.",
        "short",
        [Query(f"max by (queue) (distq_queue_paused{{{OF_QUEUE}}})", "{{queue}}")],
        warn=1,
    ),
    Panel(
        "Rejected submits by reason",
        "Full: the queue's capacity. Kept: too many tasks and results. Payload: too large. Unique: the key was taken.",
        "ops",
        [Query(f"sum by (reason) (rate(distq_tasks_rejected_total{{{OF_QUEUE}}}{RANGE}))", "{{reason}}")],
        stacked=True,
    ),
    Panel(
        "Results stored",
        "Results that can be fetched, until their time is over.",
        "short",
        [Query(f"sum by (queue) (distq_results_stored{{{OF_QUEUE}}})", "{{queue}}")],
        stacked=True,
    ),
    Panel(
        "Ends by outcome",
        "Tasks that came to their end: success, dead, cancelled or expired.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_tasks_completed_total{{{OF_QUEUE}}}{RANGE}))", "{{outcome}}")],
        stacked=True,
    ),
]

PER_TASK = [
    Panel(
        "Rate by task",
        "Tasks that ended, in any way.",
        "ops",
        [Query(f"sum by (task) (rate(distq_tasks_completed_total{{{OF_TASK}}}{RANGE}))", "{{task}}")],
        stacked=True,
    ),
    Panel(
        "Errors by task and outcome",
        "Attempts that failed, took longer than their time limit, or were lost with whoever ran them.",
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
        "From ready to leased: which tasks wait for a free slot.",
        "s",
        [quantile_by_task("0.95", "distq_task_wait_seconds")],
    ),
    *(
        Panel(
            f"Run by task, p{float(q) * 100:g}",
            f"{float(q) * 100:g} % of the attempts that succeeded ran less than this.",
            "s",
            [quantile_by_task(q, "distq_task_run_seconds")],
        )
        for q in QUANTILES
    ),
]

RELIABILITY = [
    Panel(
        "Retries",
        "Attempts that failed and are tried again, after a pause that doubles each time.",
        "ops",
        [
            Query(
                f"sum by (queue, reason) (rate(distq_task_retries_total{{{OF_QUEUE}}}{RANGE}))", "{{queue}} {{reason}}"
            )
        ],
    ),
    Panel(
        "Redeliveries by reason",
        "Deliveries that ended without a word from the task: its executor died, its connection broke, its lease ended.",
        "ops",
        [Query(f"sum by (reason) (rate(distq_task_redeliveries_total{{{OF_QUEUE}}}{RANGE}))", "{{reason}}")],
        stacked=True,
    ),
    Panel(
        "Dead letters",
        "Tasks that will not be tried again, kept with their cause: `distq dead list` shows them.",
        "short",
        [Query(f"sum by (queue) (distq_dead_letter_tasks{{{OF_QUEUE}}})", "{{queue}}")],
        warn=1,
    ),
    Panel(
        "Leases expired",
        "Leases that ended because nobody renewed them: a worker was frozen, cut off, or lost with its machine.",
        "ops",
        [Query(f"sum by (pool) (rate(distq_leases_expired_total{{{OF_POOL}}}{RANGE}))", "{{pool}}")],
    ),
    Panel(
        "Late answers by outcome",
        "Answers to leases that had ended: the task outlived them. A success counts all the same.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_task_late_settles_total{{{OF_QUEUE}}}{RANGE}))", "{{outcome}}")],
    ),
]

WORKERS = [
    Panel(
        "Workers",
        "Connected workers; one that drains takes no more tasks.",
        "short",
        [Query(f"sum by (pool, state) (distq_workers{{{OF_POOL}}})", "{{pool}} {{state}}")],
        stacked=True,
    ),
    Panel(
        "Slots",
        "How many tasks can run at the same time, and how many do.",
        "short",
        [Query(f"sum by (state) (distq_worker_slots{{{OF_POOL}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "Saturation",
        "Busy slots of all slots. At 100 % tasks wait.",
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
        "Executors that ended: out of memory, by a signal, a time limit, a crash, or recycled as asked.",
        "ops",
        [Query(f"sum by (cause) (rate(distq_worker_executor_exits_total{{{OF_POOL}}}{RANGE}))", "{{cause}}")],
        stacked=True,
    ),
    Panel(
        "Answers of workers",
        "Tasks that workers have answered: success, failure, or handed back.",
        "ops",
        [Query(f"sum by (pool, outcome) (rate(distq_worker_tasks_total{{{OF_POOL}}}{RANGE}))", "{{pool}} {{outcome}}")],
        stacked=True,
    ),
    Panel(
        "Connected to a master",
        "Workers that say so themselves; fewer than there are: see their logs.",
        "short",
        [Query(f"sum by (pool) (distq_worker_connected{{{OF_POOL}}})", "{{pool}}")],
    ),
    Panel(
        "Supervisors' processor time",
        "Cores that the supervisors use, without their executors: much more than a hundredth is unusual.",
        "short",
        [Query(process(f"rate(process_cpu_seconds_total{{{OF_MASTER}}}{RANGE})", "worker"), "{{instance}}")],
    ),
    Panel(
        "Supervisors' memory",
        "Resident memory of the supervisors, without their executors.",
        "bytes",
        [Query(process(f"process_resident_memory_bytes{{{OF_MASTER}}}", "worker"), "{{instance}}")],
    ),
    Panel(
        "Versions",
        "What is at work. Two for long: finish the rolling change.",
        "short",
        [Query(f"count by (component, version) (distq_build_info{{{OF_MASTER}}})", "{{component}} {{version}}")],
    ),
]

MASTER = [
    Panel(
        "Processor time",
        "Cores that the master uses; it can use one.",
        "short",
        [Query(process(f"rate(process_cpu_seconds_total{{{OF_MASTER}}}{RANGE})", "master"), "{{instance}}")],
        warn=0.8,
    ),
    Panel(
        "Memory",
        "Resident memory of the master: about 300 bytes for each task, and 64 MiB of payloads at most.",
        "bytes",
        [Query(process(f"process_resident_memory_bytes{{{OF_MASTER}}}", "master"), "{{instance}}")],
    ),
    Panel(
        "Event loop lag, p99",
        "How late the master's event loop is. Above a tenth of a second it has too much to do.",
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
        "Open connections by who holds them; unproved ones have not shown the key yet.",
        "short",
        [Query(f"sum by (role) (distq_connections{{{OF_MASTER}}})", "{{role}}")],
        stacked=True,
    ),
    Panel(
        "Authentication failures",
        "Peers that did not have the key.",
        "ops",
        [Query(f"sum(rate(distq_auth_failures_total{{{OF_MASTER}}}{RANGE}))", "failures")],
    ),
    Panel(
        "Commit time",
        "How long the store takes for one commit, sync and all: whoever submits or settles waits for it.",
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
        "Size of the store's file with its log, and the room that is left on its volume.",
        "bytes",
        [
            Query(f"distq_store_bytes{{{OF_MASTER}}}", "file and log"),
            Query(f"distq_store_volume_free_bytes{{{OF_MASTER}}}", "free on the volume"),
        ],
    ),
    Panel(
        "Free pages",
        "Pages of the store's file that hold nothing any more; they are given back when it is idle.",
        "short",
        [Query(f"distq_store_free_pages{{{OF_MASTER}}}", "free pages")],
    ),
    Panel(
        "Refused commits",
        "Commits that the store refused because it had no room: submits fail, all else goes on.",
        "ops",
        [Query(f"sum(rate(distq_store_refusals_total{{{OF_MASTER}}}{RANGE}))", "refused")],
        critical=0.001,
    ),
    Panel(
        "Schedules",
        "Schedules that the master keeps.",
        "short",
        [Query(f"sum by (state) (distq_schedules{{{OF_MASTER}}})", "{{state}}")],
        stacked=True,
    ),
    Panel(
        "Moments of schedules",
        "A task was submitted, or the moment was skipped because the task before had not ended.",
        "ops",
        [Query(f"sum by (outcome) (rate(distq_schedule_moments_total{{{OF_MASTER}}}{RANGE}))", "{{outcome}}")],
    ),
    Panel(
        "Connections turned down",
        "Closed at once, because there were too many.",
        "ops",
        [Query(f"sum(rate(distq_connections_turned_down_total{{{OF_MASTER}}}{RANGE}))", "turned down")],
        warn=0.001,
    ),
]
