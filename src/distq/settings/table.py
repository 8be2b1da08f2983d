"""The table of settings: each field of `Settings` declares one, with its kind, default, description, group and readers.

`python -m distq.settings` writes `.env.example` and the reference from it, and a test fails when they differ.
"""

# ruff: noqa: RUF009 - `_row` returns a fresh dataclass field each time, as `dataclasses.field` does

import dataclasses
from collections.abc import Mapping

from distq.core.option_values import EXECUTORS, PROCESS
from distq.core.policy import Policy
from distq.core.ranges import COUNTS, DURATION_MAX_S
from distq.settings import kinds
from distq.settings.address import Address
from distq.settings.keys_table import KEYS
from distq.settings.limits_table import LIMITS
from distq.settings.masters_table import MASTERS
from distq.settings.payloads_table import PAYLOADS, PayloadsSettings
from distq.settings.row import ALL, CLIENT, DIALLING, MASTER, WORKER, Row
from distq.settings.row import row as _row
from distq.settings.tls_table import TLS

NETWORK = "Network"
STORAGE = "Storage"
LOGS = "Logs"
PLAIN = "Plain queues"
WORKERS = "Workers"
DELIVERY = "Delivery and retries"
SCALING = "Autoscaling"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings(PayloadsSettings):
    """All settings, parsed and checked by `distq.settings.load`; the repr never shows a key."""

    address: tuple[Address, ...] = _row(
        kinds.ADDRESSES,
        "127.0.0.1:9000",
        "Address of the master; clients and workers try several in turn.",
        NETWORK,
        ALL,
    )
    bind: Address = _row(
        kinds.ADDRESS,
        None,
        "Address on which the master listens; the first of DISTQ_ADDRESS when not set.",
        NETWORK,
        MASTER,
    )
    http_address: Address | None = _row(
        kinds.ADDRESS.or_word(kinds.OFF),
        "127.0.0.1:9001",
        "Address of the HTTP server for the page at /, /metrics, /livez, /readyz and /api/v1.",
        NETWORK,
        MASTER | WORKER,
        default_of_worker=kinds.OFF,
    )
    connect_wait_s: float = _row(
        kinds.DURATION,
        "30s",
        "How long a client tries to reach a master before its calls fail.",
        NETWORK,
        CLIENT,
    )
    reconnect_max_s: float = _row(
        kinds.DURATION,
        "10s",
        "Maximum pause between two attempts to reconnect; pauses grow from 0.1 s.",
        NETWORK,
        DIALLING,
        at_least=0.1,
    )
    store: str = _row(
        kinds.STORE,
        "sqlite:///distq.db",
        "Where the master stores tasks and results: sqlite:///path, postgresql://user@host/database, or memory:, "
        "which loses them when the master ends.",
        STORAGE,
        MASTER,
    )
    store_password_file: str | None = _row(
        kinds.PATH,
        None,
        "File that contains the password of a PostgreSQL database; a password in DISTQ_STORE takes precedence.",
        STORAGE,
        MASTER,
    )
    store_secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """The passwords of DISTQ_STORE, by the name of libpq's parameter; `store` is the URL without them."""
    reclaim_s: float = _row(
        kinds.DURATION,
        "5s",
        "How long a restarted master waits for the workers of running tasks before other workers get these tasks.",
        STORAGE,
        MASTER,
    )
    log_level: str = _row(
        kinds.choice("debug", "info", "warning", "error"), "info", "Lowest level that is logged.", LOGS, ALL
    )
    log_format: str = _row(
        kinds.choice("auto", "console", "json"),
        "auto",
        "Format of log lines; auto is console on a terminal and json elsewhere.",
        LOGS,
        ALL,
    )
    capture_output: bool = _row(
        kinds.FLAG,
        "1",
        "Whether the output and the Python logging of tasks become log lines with the task's id.",
        LOGS,
        WORKER,
    )
    plain_handler: str | None = _row(
        kinds.HANDLER,
        None,
        "Function that runs plain items; its return value goes to the result queue.",
        PLAIN,
        WORKER,
    )
    plain_queues: Mapping[str, str] = _row(
        kinds.PLAIN_QUEUES,
        None,
        "Additional getters of queues for standard-library programs, as getter:queue pairs.",
        PLAIN,
        MASTER,
    )
    plain_lease_s: float | None = _row(
        kinds.DURATION.or_word(kinds.OFF),
        kinds.OFF,
        "How long a standard-library program may hold an item before the item goes to another program.",
        PLAIN,
        MASTER,
        at_least=1.0,
    )
    tasks: tuple[str, ...] | None = _row(
        kinds.MODULES,
        None,
        "Modules whose tasks a worker runs, separated by commas; its executors import them at start.",
        WORKERS,
        WORKER,
    )
    queues: tuple[str, ...] | None = _row(
        kinds.QUEUES,
        None,
        "Queues that a worker serves, separated by commas; all queues when not set.",
        WORKERS,
        WORKER,
    )
    accept: str = _row(
        kinds.choice("pickle", "json"),
        "pickle",
        "Bodies that are read: with json a worker runs only the tasks of its own modules, with arguments in JSON, and "
        "a client sends and reads only JSON: neither unpickles anything.",
        WORKERS,
        DIALLING,
    )
    schedules: str = _row(
        kinds.choice("keep", "remove", "off"),
        "keep",
        "Schedules that tasks declare (`every`, `cron`): keep registers them, remove also deletes those that the code "
        "no longer declares, off registers none.",
        WORKERS,
        WORKER,
    )
    concurrency: int = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "Number of executors of a worker; auto is the number of CPUs that it may use.",
        WORKERS,
        WORKER,
        at_least=1,
    )
    executor: str = _row(
        kinds.choice(*EXECUTORS),
        PROCESS,
        "Kind of executor: process runs one task at a time; thread runs several, each in a thread, coroutine functions "
        "on one event loop.",
        WORKERS,
        WORKER,
    )
    executor_tasks: int = _row(
        kinds.COUNT,
        "10",
        "Slots of an executor of kind thread: the number of tasks that it runs concurrently.",
        WORKERS,
        WORKER,
        at_least=1,
        at_most=400,
    )
    max_tasks: int | None = _row(
        kinds.COUNT.or_word(kinds.OFF),
        kinds.OFF,
        "Number of tasks after which a worker replaces an executor.",
        WORKERS,
        WORKER,
        at_least=1,
    )
    max_rss_bytes: int | None = _row(
        kinds.BYTES.or_word(kinds.OFF),
        kinds.OFF,
        "Resident memory above which a worker replaces an executor, after its current task.",
        WORKERS,
        WORKER,
        name="DISTQ_MAX_RSS",
        at_least=1,
    )
    devices: tuple[str, ...] | None = _row(
        kinds.DEVICES,
        None,
        "Devices; each executor gets one of them, in turn, as its CUDA_VISIBLE_DEVICES.",
        WORKERS,
        WORKER,
    )
    labels: tuple[str, ...] | None = _row(
        kinds.LABELS,
        None,
        "Labels that tasks can require of a worker, separated by commas; it also runs tasks that require none.",
        WORKERS,
        WORKER,
    )
    pool: str = _row(
        kinds.NAME, "default", "Pool that a worker belongs to: the common name of workers of one kind.", WORKERS, WORKER
    )
    drain_s: float = _row(
        kinds.DURATION,
        "8s",
        "How long running tasks may continue after SIGTERM before the worker releases them.",
        WORKERS,
        MASTER | WORKER,
    )
    lease_s: float = _row(
        kinds.DURATION,
        "30s",
        "How long a worker may be silent before its leases end and its tasks go to other workers.",
        DELIVERY,
        MASTER,
        at_least=1.0,
    )
    heartbeat_s: float = _row(
        kinds.DURATION,
        "10s",
        "Interval at which workers renew their leases; less than half of DISTQ_LEASE_S.",
        DELIVERY,
        MASTER,
        at_least=0.1,
    )
    max_deliveries: int = _row(
        kinds.COUNT,
        "5",
        "Number of deliveries that may be lost while a task runs; then it becomes a dead letter.",
        DELIVERY,
        MASTER,
        at_least=1,
        at_most=COUNTS["max_deliveries"].most,
    )
    retries: int = _row(
        kinds.COUNT,
        "3",
        "Maximum retries of a failed task, unless its submit sets `retries`, as it does without `@distq.task`.",
        DELIVERY,
        MASTER,
        at_most=COUNTS["retries"].most,
    )
    retry_base_s: float = _row(
        kinds.DURATION,
        "1s",
        "Delay before the first retry; it doubles with each retry, plus or minus 25 %.",
        DELIVERY,
        MASTER,
    )
    retry_max_s: float = _row(kinds.DURATION, "10m", "Maximum delay before a retry.", DELIVERY, MASTER)
    time_limit_s: float | None = _row(
        kinds.DURATION.or_word(kinds.OFF),
        kinds.OFF,
        "Time limit of one attempt, for tasks that set no time_limit.",
        DELIVERY,
        MASTER,
        name="DISTQ_TIME_LIMIT",
        at_least=0.001,
        at_most=DURATION_MAX_S,
    )
    result_ttl_s: float = _row(
        kinds.DURATION,
        "1h",
        "How long the master keeps a result for clients to fetch.",
        DELIVERY,
        MASTER,
        at_least=1.0,
        at_most=DURATION_MAX_S,
    )
    dead_letter_ttl_s: float | None = _row(
        kinds.DURATION.or_word(kinds.OFF),
        kinds.OFF,
        "How long the master keeps a dead letter.",
        DELIVERY,
        MASTER,
        at_least=1,
    )
    capacity: int = _row(
        kinds.COUNT,
        "10000000",
        "Maximum tasks in one queue; the master refuses further submits.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    dead_letters_max: int | None = _row(
        kinds.COUNT.or_word(kinds.OFF),
        kinds.OFF,
        "Maximum dead letters; the master drops the oldest.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    queue_limits: Mapping[str, Policy] | None = _row(
        kinds.QUEUE_LIMITS,
        None,
        "Limits of single queues: rate, running (concurrency limit) and capacity.",
        LIMITS,
        MASTER,
    )
    tasks_max: int = _row(
        kinds.COUNT,
        "20000000",
        "Maximum tasks that the master keeps, including stored results and dead letters; it refuses further submits.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    payload_bytes_max: int = _row(
        kinds.BYTES,
        "16MiB",
        "Maximum size of the payload or the result of one task.",
        LIMITS,
        ALL,
        at_least=1024,
    )
    frame_bytes_max: int = _row(
        kinds.BYTES,
        "64MiB",
        "Maximum size of a frame on the wire; larger than DISTQ_PAYLOAD_BYTES_MAX.",
        LIMITS,
        ALL,
        at_least=64 * 1024,
    )
    target_drain_s: float = _row(
        kinds.DURATION,
        "1m",
        "Time in which /api/v1/autoscale plans to drain the waiting tasks; a shorter time asks for more slots.",
        SCALING,
        MASTER,
        at_least=0.1,
    )


ROWS: tuple[Row, ...] = tuple(
    Row(**{"name": f"DISTQ_{field.name.upper()}", "field": field.name, **field.metadata})
    for group in (NETWORK, TLS, KEYS, PAYLOADS, STORAGE, MASTERS, LOGS, PLAIN, WORKERS, DELIVERY, LIMITS, SCALING)
    for field in dataclasses.fields(Settings)
    if field.metadata.get("group") == group
)
