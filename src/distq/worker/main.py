"""Starts a worker: builds its parts from the settings and runs the supervisor."""

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from typing import Final

from distq._version import __version__
from distq.core.option_values import PROCESS, executor_label
from distq.logs import LEVELS, get_logger
from distq.net.backoff import ReconnectBackoff
from distq.net.descriptors import make_room_for
from distq.net.tls_context import client_context
from distq.net.tls_files import client_files
from distq.net.tls_server import http_tls
from distq.protocol.hello import WorkerHello, write_worker_hello
from distq.settings import Settings
from distq.settings.current_keys import current_authkeys
from distq.settings.payloads_table import ACCEPT
from distq.tasks.seal import sealer_of
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.executor_config import ExecutorConfig
from distq.worker.supervisor.executor_pool import ExecutorPool
from distq.worker.supervisor.exits import environment_of_executors
from distq.worker.supervisor.master_session import MasterSession
from distq.worker.supervisor.memory import Cgroup
from distq.worker.supervisor.supervisor import Supervisor
from distq.worker.view import WorkerView

SESSION_BYTES: Final = 8
HTTP_TAKEN: Final = "This worker runs without it. Give it another DISTQ_HTTP_ADDRESS in its environment, or off."


def run(settings: Settings) -> int:
    """Run a worker until SIGTERM, SIGINT or SIGHUP; returns its exit code.

    Raises:
        DistqError: the worker cannot work: its handler cannot be imported, or its key is not the master's.
    """
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    log = get_logger()
    make_room_for(settings.concurrency)
    if (tls := client_files(settings)) is not None:
        client_context(tls)  # a file that cannot be used ends the worker here, not each of its connections
    name, supervisor, pool, master_session = compose(settings, os.environ)
    log.info(
        "worker_started",
        worker=name,
        slots=pool.executor_slots,
        modules=list(settings.tasks or ()),
        handler=settings.plain_handler,
        pid=os.getpid(),
        version=__version__,
    )
    code = await _with_http(settings, supervisor, pool, master_session)
    counts = pool.counts
    log.info("worker_stopped", worker=name, done=counts.done, failed=counts.failed, code=code)
    return code


def compose(settings: Settings, environ: Mapping[str, str]) -> tuple[str, Supervisor, ExecutorPool, MasterSession]:
    """Build a worker's name and parts from its settings; its executors get `environ`, without the key."""
    sealer_of(settings)  # raises EncryptionUnavailable here, and not in each executor
    name = f"{socket.gethostname()}-{os.getpid()}"
    session = secrets.token_hex(SESSION_BYTES)
    log = get_logger()
    supervisor = Supervisor(settings.drain_s, log, MONOTONIC)
    pool = ExecutorPool(
        _executor_config(settings, name, session),
        settings.concurrency,
        environment_of_executors(environ),
        settings.devices or (),
        supervisor,
        log,
        MONOTONIC,
        Cgroup(),
    )
    master_session = MasterSession(
        settings.address,
        current_authkeys(settings, lambda reason: log.warning("keys_not_reloaded", reason=reason)),
        settings.frame_bytes_max,
        ReconnectBackoff(settings.reconnect_max_s),
        _introduction(settings, name, session),
        lambda: pool.held,
        supervisor.report,
        pool.stop,
        pool.find,
        pool.renew,
        log,
        MONOTONIC,
        client_files(settings),
    )
    return name, supervisor, pool, master_session


async def _with_http(
    settings: Settings, supervisor: Supervisor, pool: ExecutorPool, master_session: MasterSession
) -> int:
    if settings.http_address is None:
        return await supervisor.run(pool, master_session)
    # Most workers on one machine serve no HTTP: these do not import it, and start faster.
    from distq.web.app import create_worker_app  # noqa: PLC0415
    from distq.web.server import AddressTaken, HttpServer  # noqa: PLC0415

    server = HttpServer(
        create_worker_app(WorkerView(supervisor, pool, master_session, settings.pool)),
        tls := http_tls(settings, get_logger()),
    )
    try:
        bound = await server.start(settings.http_address)
    except AddressTaken as taken:
        # With one `.env` for a master and a worker on one machine this is the master's address. The worker runs tasks
        # all the same.
        get_logger().warning("http_not_served", address=str(settings.http_address), why=f"{taken} {HTTP_TAKEN}")
    else:
        get_logger().info("http_listened", address=str(bound), tls=tls is not None)
    try:
        return await supervisor.run(pool, master_session)
    finally:
        await server.stop()


def _executor_config(settings: Settings, name: str, session: str) -> ExecutorConfig:
    return ExecutorConfig(
        addresses=tuple((address.host, address.port) for address in settings.address),
        authkeys=settings.authkeys,
        worker=name,
        session=session,
        number=0,
        handler=settings.plain_handler or "",
        executor=settings.executor,
        executor_slots=executor_slots_of(settings),
        modules=settings.tasks or (),
        accept=settings.accept,
        max_tasks=settings.max_tasks,
        max_rss_bytes=settings.max_rss_bytes,
        supervisor_pid=os.getpid(),
        frame_bytes_max=settings.frame_bytes_max,
        payload_bytes_max=settings.payload_bytes_max,
        reconnect_max_s=settings.reconnect_max_s,
        verbose=settings.log_level == "debug",
        schedules=settings.schedules,
        started_at=MONOTONIC(),
        log_level=LEVELS[settings.log_level],
        captures=settings.capture_output,
        worker_slots=settings.concurrency * executor_slots_of(settings),
        tls=client_files(settings),
        signing_keys=settings.signing_keys,
        encryption_keys=settings.encryption_keys,
        unsigned=settings.unsigned,
        key_files=settings.key_files,
    )


def executor_slots_of(settings: Settings) -> int:
    """How many tasks each executor of a worker with these settings runs at the same time."""
    return 1 if settings.executor == PROCESS else settings.executor_tasks


def runs_tasks(settings: Settings) -> bool:
    """Whether a worker with these settings runs tasks; a worker with nothing but a plain handler does not."""
    return bool(settings.tasks) or settings.plain_handler is None


def _introduction(settings: Settings, name: str, session: str) -> dict[str, object]:
    worker = WorkerHello(
        pool=settings.pool,
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=settings.concurrency * executor_slots_of(settings),
        queues=list(settings.queues) if settings.queues else None,
        plain=settings.plain_handler is not None,
        tasks=runs_tasks(settings),
        labels=[*(settings.labels or ()), executor_label(settings.executor)],
        accept=settings.accept,
        unsigned=settings.unsigned if settings.signing_keys else ACCEPT,
    )
    return write_worker_hello(name, session, worker)
