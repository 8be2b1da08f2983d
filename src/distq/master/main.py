"""The composition root of the master, and its life: listen, serve, drain, end."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from distq._version import __version__
from distq.core.constraints import trace_id_of
from distq.core.errors import DistqError
from distq.core.ledger import Ledger
from distq.core.loading import Loader, restore, restore_extras
from distq.core.option_values import PLAIN
from distq.core.ports import FORGET, Store, StoreError
from distq.core.registry import Registry
from distq.core.task import Task, delivery_count
from distq.core.task_ids import id_text
from distq.logs import get_logger, of_trace
from distq.master.calls.dispatch import Dispatcher
from distq.master.cycle.broker import Broker
from distq.master.cycle.busy_poll import BusyPoll
from distq.master.cycle.clock import ClockWatcher, SystemClock
from distq.master.cycle.payload_reads import REPLY_BYTES_MAX
from distq.master.cycle.timer import LoopTimer
from distq.master.defaults import defaults_of
from distq.master.process import MasterProcess, OnlyMaster
from distq.master.security_facts import security_report
from distq.master.sessions.clients import incomplete
from distq.master.sessions.recovery import end_unless_reclaimed
from distq.master.sessions.refusals import RefusalLog
from distq.master.sessions.result_backlog import ROWS_KEPT_MAX
from distq.master.sessions.workers import Workers
from distq.master.store_watch import StoreWatch
from distq.master.view import MasterView
from distq.net.descriptors import TooFewDescriptors, room_for_connections
from distq.net.keyring import KeyReloader, KeyRing
from distq.net.serve import Server
from distq.net.stop_signals import stop_signals
from distq.net.tls_server import master_tls
from distq.protocol.hello import Greeting
from distq.settings.masters_table import advertised
from distq.settings.role_keys import KeyFiles
from distq.storage import MEMORY, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.settings import Address, Settings

LAG_SAMPLE_S: Final = 1.0
NONCE_BYTES: Final = 20
CONNECTIONS_EXPECTED: Final = 200
"""With room for fewer connections the master logs a warning at its start: a worker takes one, and each executor one."""
STORE_PATIENCE_S: Final = 2.0
"""Seconds after which the log says that the store is still being opened."""
KEEP_PROXIES: Final = (
    "Keep what manager.get_work_queue() returns in a variable: without it the item of a program that is killed goes to "
    "another only after an hour, or DISTQ_PLAIN_LEASE_S."
)
"""The hint of the log line about a program that keeps none of its queues' proxies."""


class Master:
    """One master, composed from its settings."""

    def __init__(
        self,
        settings: Settings,
        clock: SystemClock | None = None,
        store: Store | None = None,
        process: MasterProcess | None = None,
    ) -> None:
        self.settings = settings
        self.clock = SystemClock() if clock is None else clock
        self.store: Store = store or open_store(
            settings.store, self.clock.now(), settings.store_secrets, settings.store_password_file
        )
        self.broker: Broker
        self.workers: Workers
        self.dispatcher: Dispatcher
        self.log = get_logger()
        self.process: MasterProcess = process or OnlyMaster(settings, self.log)
        self.ended = asyncio.Event()
        self.listening: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        """The address at which the master listens, once it does."""
        self._signals = 0
        self._has_warned_of_proxies = False
        self._dead_dropped = 0
        """Number of dropped dead letters that the log has reported."""
        self._ends_dropped = 0
        """Number of dropped ends of tasks that the log has reported."""
        self._refusals = RefusalLog(self.log)
        files = KeyFiles(settings)
        self.keys = KeyRing(files.read())
        self.keys.on_old_key = lambda name, peer: self.log.warning("old_key_used", key=name, peer=peer)
        self._key_reloader = KeyReloader(files, self.keys, self._keys_reloaded)
        self._lag: asyncio.TimerHandle | None = None

    def prepare_process(self) -> None:
        """Make the most of a process that runs nothing but this master: open files, and signals that stop it."""
        prepare_process(self.log, self.signalled)

    async def run(self) -> int:
        """Serve until `stop`, then drain; return the exit code. Raises DistqError if an operator can correct it."""
        if not await self._opened():
            return 0
        server, broker, process = self.server, self.broker, self.process
        report = partial(security_report, self.settings, self.view, self.keys, self.workers)
        self.dispatcher.admin.report_security = report
        self.listening.set_result(await process.serve(server))
        cycle = asyncio.create_task(broker.run())
        cycle.add_done_callback(self._end)
        watching = asyncio.create_task(self.store_watch.run())
        losing = asyncio.create_task(self.store.lost())
        losing.add_done_callback(self._end)
        try:
            await process.serve_http(self._http_app)
        except BaseException:
            await self._end_tasks(cycle, watching, losing)  # else the process waits for the thread of the store
            raise
        self._sample_lag(asyncio.get_running_loop().time())
        await self.ended.wait()
        code = await self._drain(cycle, losing)
        if self._lag is not None:
            self._lag.cancel()
        self.dispatcher.http_tasks.end()
        self.dispatcher.http_admin.end()
        if code:
            server.abort()  # another master may lead: no reply that waits to be sent may arrive
        else:
            server.close()
        tasks = await self._end_tasks(cycle, watching, losing)
        await process.ended(tasks, code)
        return code

    async def _end_tasks(self, cycle: asyncio.Task[None], *others: asyncio.Task[Any]) -> int:
        """End the asyncio tasks of `run`, and close the store; return the number of tasks in it."""
        for task in others:
            task.cancel()
        self.broker.stop()
        await asyncio.gather(cycle, return_exceptions=True)
        await self.store.close()
        return sum(queue.live for queue in self.broker.ledger.registry.queues.values())

    def stop(self) -> None:
        """End `run` after the drain; a second call ends the drain."""
        self.ended.set()

    async def _opened(self) -> bool:
        """Compose the master, which may have to wait for its store; False if a signal arrives first."""
        composing = asyncio.create_task(self._compose())
        stopping = asyncio.create_task(self.ended.wait())
        tasks = (composing, stopping)
        logged = None
        while not composing.done() and not stopping.done():
            await asyncio.wait(tasks, timeout=STORE_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            reason = self.store.waiting or "it is large, or another master has it open"
            if not composing.done() and not stopping.done() and reason != logged and not self.process.stands_by:
                self.log.warning("store_awaited", store=self.settings.store, reason=reason)
                logged = reason
        stopping.cancel()
        if composing.done():
            composing.result()
            return True
        composing.cancel()
        await asyncio.wait((composing,))
        await self.store.close()
        return False

    async def _compose(self) -> None:
        settings, store, clock = self.settings, self.store, self.clock
        loader = Loader(registry := Registry(defaults := defaults_of(settings)))
        async for heads in store.follow(str(advertised(settings.advertise, settings.bind))):
            if heads is FORGET:
                loader = Loader(registry := Registry(defaults))
            loader.feed(heads)
        ledger = Ledger(defaults, random.random, store.epoch << 40 | 1, registry)
        absent = restore(ledger, loader, clock.now())
        self.broker = broker = Broker(ledger, store, clock, self._note)
        broker.reply_bytes_max = min(REPLY_BYTES_MAX, settings.frame_bytes_max // 2)
        broker.busy_poll = BusyPoll(time.perf_counter)
        broker.timer = timer = LoopTimer(asyncio.get_running_loop(), clock, broker.wake)
        self.workers = workers = Workers(broker, settings.lease_s)
        instance = secrets.token_hex(8)
        self.dispatcher = dispatcher = Dispatcher(
            broker,
            workers,
            self._stats,
            self._greeting(instance),
            settings.plain_queues,
            self._refusals.note,
            settings.plain_lease_s,
            self._keeps_no_proxies,
        )
        unread = [*incomplete(loader.sessions), *loader.keys_of_bodies]
        read = zip(unread, await store.read(unread), strict=True)
        bodies = {row_key: body for row_key, body in read if body is not None}
        dispatcher.clients.restore(loader.sessions, bodies)
        dispatcher.schedules.restore(loader.schedules, bodies)
        for row_key in restore_extras(ledger, loader, bodies):
            broker.keep_row(row_key, None)
        self.clock_watcher = ClockWatcher(clock, broker, timer, dispatcher.schedules.plan_all)
        broker.follow_clock = self._follow_clock
        if ledger.state.tasks:
            self.log.info("tasks_loaded", tasks=len(ledger.state.tasks), held=len(absent.held))
        end_unless_reclaimed(broker, absent, settings.reclaim_s, settings.lease_s)
        self.server = Server(
            self.process.handler(dispatcher),
            self.keys,
            settings,
            partial(os.urandom, NONCE_BYTES),
            master_tls(settings, self.log),
        )
        self.store_watch = StoreWatch(store, self.log)
        broker.committed = self._committed
        self.view = MasterView(
            broker,
            workers,
            dispatcher.clients,
            self.server,
            self.store_watch,
            dispatcher.schedules,
            clock,
            dispatcher.gate,
            instance=instance,
            store=settings.store,
            target_drain_s=settings.target_drain_s,
            leaderships=self.process.leaderships,
        )

    def _follow_clock(self) -> None:
        self.process.check()
        self.clock_watcher.follow()

    def _committed(self, seconds: float) -> None:
        self.store_watch.committed(seconds)
        self.process.check()  # the process may have been frozen for the length of the leader's lease

    def _greeting(self, instance: str) -> Greeting:
        """The answer to every `hello`."""
        settings = self.settings
        return Greeting(
            version=__version__,
            epoch=self.store.epoch,
            instance=instance,
            lease_s=settings.lease_s,
            heartbeat_s=settings.heartbeat_s,
            max_deliveries=settings.max_deliveries,
            durable=settings.store != MEMORY,
            notes=True,
            declares=True,
            frame_bytes_max=settings.frame_bytes_max,
            leader=str(settings.advertise) if self.process.stands_by and settings.advertise else "",
        )

    def _http_app(self) -> Any:
        from distq.web.app import create_app  # noqa: PLC0415 - the master listens before it imports its HTTP side
        from distq.web.bearer import BearerKeys  # noqa: PLC0415
        from distq.web.page.endpoints import PageEndpoints  # noqa: PLC0415
        from distq.web.tasks import TaskEndpoints  # noqa: PLC0415

        settings, dispatcher = self.settings, self.dispatcher
        keys = BearerKeys(
            (self.keys, KeyRing.of_tokens(settings.http_tokens)),
            dispatcher.gate,
            self.server.unauthenticated.failed,
            self._note_refused_key,
            over_plain_http=settings.http_plain_keys,
        )
        page = PageEndpoints(self.view, dispatcher.http_admin, keys)
        return create_app(self.view, TaskEndpoints(dispatcher.http_tasks, keys), page)

    async def _drain(self, cycle: asyncio.Task[None], losing: asyncio.Task[str]) -> int:
        """Wait at most DISTQ_DRAIN_S until the leased tasks are settled; return the exit code."""
        if cycle.done():
            return self._failed(cycle.exception())
        if losing.done():
            return self._failed(StoreError(losing.result()))
        if self.process.hands_over:
            return 0
        self.process.stop_listening(self.server)
        self.ended.clear()
        second_signal = asyncio.create_task(self.ended.wait())
        drained = asyncio.create_task(self.broker.drain())
        await asyncio.wait(
            (second_signal, drained, cycle), timeout=self.settings.drain_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (second_signal, drained):
            task.cancel()
        if cycle.done():
            return self._failed(cycle.exception())
        if self.broker.leased:
            self.log.warning("drain_ended_early", leased=self.broker.leased)
        return 0

    def _end(self, _: object) -> None:
        self.ended.set()

    def _failed(self, exc: BaseException | None) -> int:
        if not isinstance(exc, DistqError):
            raise exc or AssertionError("the broker ended without a reason")
        return self.process.store_failed(exc)

    def signalled(self, number: signal.Signals) -> None:
        """Stop after the first of the signals that stop a service; a second one ends the drain."""
        if number == signal.SIGHUP and self._signals:
            return  # a closing terminal may send it twice; the second one does not shorten the drain
        self._signals += 1
        self.log.info("signal_received", signal=number.name, drain_s=0 if self._signals > 1 else self.settings.drain_s)
        self.stop()

    def _stats(self, what: str, after: str | None) -> object:
        from distq.web.api import STATS, queues_page  # noqa: PLC0415 - the master listens before it imports this

        return STATS[what](self.view) if what != "queues" or after is None else queues_page(self.view, after)

    def _note_refused_key(self, peer: str, reason: str) -> None:
        self.server.authentication_failures += 1
        self._refusals.note_peer(peer, reason)

    def _keys_reloaded(self, reason: str | None) -> None:
        if reason is None:
            self.log.info("keys_reloaded", keys=len(self.keys.keys))
        else:
            self.log.warning("keys_not_reloaded", reason=reason)

    def _keeps_no_proxies(self, peer: str) -> None:
        if not self._has_warned_of_proxies:
            self._has_warned_of_proxies = True
            self.log.warning("plain_proxies_dropped", peer=peer, hint=KEEP_PROXIES)

    def _note(self, event: str, task: Task, cause: str) -> None:
        envelope = task.envelope
        of_trace(self.log, trace_id_of(task.constraints.headers)).warning(
            event,
            task=id_text(task.task_key),
            name=envelope.name if envelope.kind != PLAIN else PLAIN,
            queue=envelope.queue.name,
            deliveries=delivery_count(task.delivery),
            lost=task.lost,
            failures=task.failures,
            cause=cause,
        )

    def _sample_lag(self, expected: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.view.loop_lag.observe(max(now - expected, 0.0))
        self._log_drops()
        self._key_reloader.check()
        self.clock_watcher.check()
        self._lag = loop.call_at(now + LAG_SAMPLE_S, self._sample_lag, now + LAG_SAMPLE_S)

    def _log_drops(self) -> None:
        """Log how many dead letters and undelivered ends of tasks were dropped since the last call."""
        if (dropped := self.broker.ledger.state.dead_dropped) > self._dead_dropped:
            ttl_s, most = self.broker.ledger.defaults.dead_letters
            self.log.warning("dead_letters_dropped", count=dropped - self._dead_dropped, ttl_s=ttl_s, most=most)
            self._dead_dropped = dropped
        if (dropped := self.dispatcher.clients.bodies.dropped_count) > self._ends_dropped:
            self.log.warning("undelivered_ends_dropped", count=dropped - self._ends_dropped, most=ROWS_KEPT_MAX)
            self._ends_dropped = dropped


def prepare_process(log: Any, signalled: Callable[[signal.Signals], None]) -> None:
    """Allow as many connections as the system does, and pass the signals that stop a service to `signalled`."""
    room = room_for_connections()
    if room < CONNECTIONS_EXPECTED:
        log.warning("few_descriptors", connections_max=room, hint=TooFewDescriptors.hint)
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, signalled, number)
