"""The one table of settings: every field of `Settings` is a row.

A row is written once, here, with its name, kind, default, sentence, group and users. `.env.example` and the
reference are generated from it (`python -m distq.settings`), and a test fails when they differ.
"""
# ruff: noqa: RUF009 - `_row` returns a fresh dataclass field each time, as `dataclasses.field` does

import dataclasses
from collections.abc import Mapping

from distq.core.envelope import EXECUTORS, PROCESS
from distq.core.policy import Policy
from distq.core.ranges import COUNTS, DURATION_MAX_S
from distq.settings import kinds
from distq.settings.address import Address
from distq.settings.row import ALL, CLIENT, DIALLING, MASTER, WORKER, Row
from distq.settings.row import row as _row

NETWORK = "Network"
KEYS = "Keys"
STORAGE = "Storage"
LOGS = "Logs"
PLAIN = "Plain queues"
WORKERS = "Workers"
DELIVERY = "Delivery and retries"
LIMITS = "Limits"
SCALING = "Autoscaling"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, parsed and checked; durations are seconds, sizes are bytes.

    Made by `distq.settings.load`. The repr never shows a key.
    """

    address: tuple[Address, ...] = _row(
        kinds.ADDRESSES, "127.0.0.1:9000", "Where to connect; several addresses are tried in turn.", NETWORK, ALL
    )
    bind: Address = _row(
        kinds.ADDRESS, None, "Where the master listens; the first of DISTQ_ADDRESS when not set.", NETWORK, MASTER
    )
    http_address: Address | None = _row(
        kinds.ADDRESS.or_word(kinds.OFF),
        "127.0.0.1:9001",
        "Where /metrics, /livez, /readyz and /api/v1 are served.",
        NETWORK,
        MASTER | WORKER,
        default_of_worker=kinds.OFF,
    )
    connect_wait_s: float = _row(
        kinds.DURATION,
        "30s",
        "How long a client waits for a master that cannot be reached, before it gives up.",
        NETWORK,
        CLIENT,
    )
    reconnect_max_s: float = _row(
        kinds.DURATION,
        "10s",
        "The longest pause between two attempts to reconnect; pauses grow from a tenth of a second.",
        NETWORK,
        DIALLING,
        at_least=0.1,
    )
    authkeys: tuple[bytes, ...] = _row(
        kinds.SECRET,
        None,
        "The shared key, or several separated by commas: all are accepted, the first is used to connect.",
        KEYS,
        ALL,
        name="DISTQ_AUTHKEY",
    )
    authkey_file: str | None = _row(
        kinds.PATH, None, "A file that holds the key; DISTQ_AUTHKEY wins over it.", KEYS, ALL
    )
    authkey_create: bool = _row(
        kinds.FLAG,
        "0",
        "Whether the master makes DISTQ_AUTHKEY_FILE, with a random key, when there is no such file.",
        KEYS,
        MASTER,
    )
    store: str = _row(
        kinds.STORE,
        "sqlite:///distq.db",
        "Where tasks and results are kept: sqlite:///path, or memory:, which forgets them when the master ends.",
        STORAGE,
        MASTER,
    )
    reclaim_s: float = _row(
        kinds.DURATION,
        "5s",
        "How long a restarted master waits for the workers that ran tasks before, until it gives these to others.",
        STORAGE,
        MASTER,
    )
    log_level: str = _row(
        kinds.choice("debug", "info", "warning", "error"), "info", "The least level that is logged.", LOGS, ALL
    )
    log_format: str = _row(
        kinds.choice("auto", "console", "json"),
        "auto",
        "How log lines look; auto is console on a terminal and json elsewhere.",
        LOGS,
        ALL,
    )
    capture_output: bool = _row(
        kinds.FLAG,
        "1",
        "Whether prints and Python's logging of tasks become log lines with the task's id.",
        LOGS,
        WORKER,
    )
    plain_handler: str | None = _row(
        kinds.HANDLER,
        None,
        "The function that runs plain items; its return value goes to the result queue.",
        PLAIN,
        WORKER,
    )
    plain_queues: Mapping[str, str] = _row(
        kinds.PLAIN_QUEUES,
        None,
        "More names under which standard-library programs get queues, as getter:queue pairs.",
        PLAIN,
        MASTER,
    )
    plain_lease_s: float | None = _row(
        kinds.DURATION.or_word(kinds.OFF),
        kinds.OFF,
        "How long a standard-library program may hold an item that it has taken, before it goes to another.",
        PLAIN,
        MASTER,
        at_least=1.0,
    )
    tasks: tuple[str, ...] | None = _row(
        kinds.MODULES,
        None,
        "The modules whose tasks a worker runs, separated by commas; its executors import them when they start.",
        WORKERS,
        WORKER,
    )
    queues: tuple[str, ...] | None = _row(
        kinds.QUEUES,
        None,
        "The queues that a worker serves, separated by commas; all of them when not set.",
        WORKERS,
        WORKER,
    )
    accept: str = _row(
        kinds.choice("pickle", "json"),
        "pickle",
        "What a worker runs; json is only the tasks of its own modules, with arguments in JSON, whoever submits them.",
        WORKERS,
        WORKER,
    )
    schedules: str = _row(
        kinds.choice("keep", "remove", "off"),
        "keep",
        "Schedules that tasks declare (`every`, `cron`): keep registers them and leaves those that code has dropped, "
        "remove takes these away, off registers none.",
        WORKERS,
        WORKER,
    )
    concurrency: int = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "How many executors a worker runs; auto is the number of CPUs that it may use.",
        WORKERS,
        WORKER,
        at_least=1,
    )
    executor: str = _row(
        kinds.choice(*EXECUTORS),
        PROCESS,
        "What an executor runs: process one task at a time; thread several, each in a thread, or on one event loop if "
        "it is a coroutine function.",
        WORKERS,
        WORKER,
    )
    executor_tasks: int = _row(
        kinds.COUNT,
        "10",
        "How many tasks an executor of the kind thread runs at once.",
        WORKERS,
        WORKER,
        at_least=1,
        at_most=400,
    )
    max_tasks: int | None = _row(
        kinds.COUNT.or_word(kinds.OFF),
        kinds.OFF,
        "After how many tasks an executor is replaced by a fresh one.",
        WORKERS,
        WORKER,
        at_least=1,
    )
    max_rss_bytes: int | None = _row(
        kinds.BYTES.or_word(kinds.OFF),
        kinds.OFF,
        "With how much resident memory an executor is replaced by a fresh one, after the task that it runs.",
        WORKERS,
        WORKER,
        name="DISTQ_MAX_RSS",
        at_least=1,
    )
    devices: tuple[str, ...] | None = _row(
        kinds.DEVICES,
        None,
        "Devices of which each executor gets one, in turn, as its CUDA_VISIBLE_DEVICES.",
        WORKERS,
        WORKER,
    )
    labels: tuple[str, ...] | None = _row(
        kinds.LABELS,
        None,
        "What a worker has that some tasks require, separated by commas; tasks that require nothing it runs too.",
        WORKERS,
        WORKER,
    )
    pool: str = _row(
        kinds.NAME, "default", "The pool that a worker belongs to: workers of one kind share a name.", WORKERS, WORKER
    )
    drain_s: float = _row(
        kinds.DURATION,
        "8s",
        "How long SIGTERM lets running tasks go on, before they are handed back.",
        WORKERS,
        MASTER | WORKER,
    )
    lease_s: float = _row(
        kinds.DURATION,
        "30s",
        "How long a worker may be silent before what it runs goes to another.",
        DELIVERY,
        MASTER,
        at_least=1.0,
    )
    heartbeat_s: float = _row(
        kinds.DURATION,
        "10s",
        "How often workers renew their leases; less than half of DISTQ_LEASE_S.",
        DELIVERY,
        MASTER,
        at_least=0.1,
    )
    max_deliveries: int = _row(
        kinds.COUNT,
        "5",
        "How often a task may be lost while it runs, before it becomes a dead letter.",
        DELIVERY,
        MASTER,
        at_least=1,
        at_most=COUNTS["max_deliveries"].most,
    )
    retries: int = _row(
        kinds.COUNT,
        "3",
        "How often a task that fails is tried again.",
        DELIVERY,
        MASTER,
        at_most=COUNTS["retries"].most,
    )
    retry_base_s: float = _row(
        kinds.DURATION,
        "1s",
        "The pause before the first retry; it doubles each time, give or take a quarter.",
        DELIVERY,
        MASTER,
    )
    retry_max_s: float = _row(kinds.DURATION, "10m", "The longest pause before a retry.", DELIVERY, MASTER)
    time_limit_s: float | None = _row(
        kinds.DURATION.or_word(kinds.OFF),
        kinds.OFF,
        "How long an attempt of a task that sets no time_limit may take.",
        DELIVERY,
        MASTER,
        name="DISTQ_TIME_LIMIT",
        at_least=0.001,
        at_most=DURATION_MAX_S,
    )
    result_ttl_s: float = _row(
        kinds.DURATION,
        "1h",
        "How long a result can be fetched.",
        DELIVERY,
        MASTER,
        at_least=1.0,
        at_most=DURATION_MAX_S,
    )
    dead_letter_ttl_s: float | None = _row(
        kinds.DURATION.or_word(kinds.OFF), kinds.OFF, "How long a dead letter is kept.", DELIVERY, MASTER, at_least=1
    )
    capacity: int = _row(
        kinds.COUNT,
        "10000000",
        "How many tasks one queue holds; more are refused.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    dead_letters_max: int | None = _row(
        kinds.COUNT.or_word(kinds.OFF),
        kinds.OFF,
        "How many dead letters are kept: the newest.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    queue_limits: Mapping[str, Policy] | None = _row(
        kinds.QUEUE_LIMITS,
        None,
        "Limits of single queues: rate, running (how many at once) and capacity.",
        LIMITS,
        MASTER,
    )
    tasks_max: int = _row(
        kinds.COUNT,
        "20000000",
        "How many tasks the master keeps in all, those whose results are kept and dead letters too; more are refused.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    payload_bytes_max: int = _row(
        kinds.BYTES,
        "16MiB",
        "The largest payload or result of one task.",
        LIMITS,
        ALL,
        at_least=1024,
    )
    frame_bytes_max: int = _row(
        kinds.BYTES,
        "64MiB",
        "The largest frame on the wire; larger than DISTQ_PAYLOAD_BYTES_MAX.",
        LIMITS,
        ALL,
        at_least=64 * 1024,
    )
    handshake_s: float = _row(
        kinds.DURATION,
        "5s",
        "How long a peer may take to prove that it has the key.",
        LIMITS,
        MASTER,
        at_least=0.1,
    )
    unauthenticated_max: int = _row(
        kinds.COUNT,
        "1000",
        "How many peers may be proving at once that they have the key.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    connections_max: int | None = _row(
        kinds.COUNT.or_word(kinds.AUTO),
        kinds.AUTO,
        "How many connections the master keeps open in all; auto is as many as its descriptors allow.",
        LIMITS,
        MASTER,
        at_least=1,
    )
    target_drain_s: float = _row(
        kinds.DURATION,
        "1m",
        "The time in which /api/v1/autoscale wants waiting tasks to be done; less asks for more slots.",
        SCALING,
        MASTER,
        at_least=0.1,
    )


ROWS: tuple[Row, ...] = tuple(
    Row(**{"name": f"DISTQ_{field.name.upper()}", "field": field.name, **field.metadata})
    for field in dataclasses.fields(Settings)
)
