"""The session of an asyncio client: what it sends to the master and receives, on one event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from distq.client import control_steps
from distq.client.aio.changes import Changes, settle
from distq.client.aio.control import AsyncControl
from distq.client.aio.future import AsyncFuture, settle_all
from distq.client.aio.link import MasterLink
from distq.client.aio.outbox import UNACCEPTED, AsyncOutbox
from distq.client.aio.owner import LoopOwner, running_loop
from distq.client.aio.results import ResultReader
from distq.client.aio.streams import parts_of
from distq.client.future import claim
from distq.client.known_master import KnownMaster
from distq.client.master_connection import Outage, is_connection_error, new_session
from distq.client.outbox import PendingSubmit, SubmitOptions
from distq.client.pending_futures import PendingFutures
from distq.client.refusals import Refusals
from distq.client.running_tasks import RunningTasks
from distq.client.seals import prepared, prepared_alone, sealed_arguments, seals_of
from distq.client.session import no_result
from distq.client.session_stage import stage_of
from distq.client.steps import Steps
from distq.client.stuck_tasks import IDLE_CHECK_S, StuckTasks
from distq.client.submit_sender import CATCH_UP_S
from distq.client.submit_steps import PatientSubmit, SubmitSteps
from distq.core.errors import DistqError
from distq.net.dial import CannotReach
from distq.protocol.hello import CLI, Greeting
from distq.settings import Settings
from distq.tasks import access
from distq.tasks.current import Progress
from distq.tasks.tracing import API, outgoing

R = TypeVar("R")

SUBMITS_A_TURN: Final = 256
"""Maximum submits in a row without a turn of the event loop, so that a loop of submits does not stop all other work."""

log = logging.getLogger("distq")


class AsyncSession:
    """Sends submits and receives results for all coroutines of a client; it connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seals = seals_of(settings)
        self.owner = LoopOwner()
        """The event loop in which the client was used first."""
        self._closing = False
        self.closed = False
        self._sent_count = 0
        self._changes = Changes()
        self._accepted = Changes()
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[Any]] = set()
        self._alone: deque[tuple[Steps[Any], asyncio.Future[Any]]] = deque()
        """Steps that a coroutine waits for, with the future of their result; they run before the next batch."""
        config = new_session(settings)
        self._abandoned: dict[asyncio.Future[Any], Sequence[PendingSubmit[AsyncFuture[Any]]]] = {}
        """Submits in flight whose coroutines were cancelled: the client cancels their tasks once they are accepted."""
        self.refusals = Refusals()
        self._outage = Outage(config.addresses, settings.connect_wait_s)
        self._outbox = AsyncOutbox(self._pump)
        self._pending: PendingFutures[AsyncFuture[Any]] = PendingFutures(self._outbox, self._on_settled, settle_all)
        self._master: KnownMaster[AsyncFuture[Any]] = KnownMaster(self._pending)
        self._control = AsyncControl(config._replace(role=CLI))
        self._steps = SubmitSteps(
            self._outbox,
            self._pending,
            self.refusals,
            settings.connect_wait_s,
            self._master.keys_to_ask,
            self._on_settled,
        )
        self._submits = MasterLink(config, self._outage, self._submits_up, self._submits_down)
        self._results = ResultReader(config, self._outage, self._pending, self._master).link
        self._stuck = StuckTasks(self._pending)
        self._running = RunningTasks(self._pending)

    # -- the event loop ------------------------------------------------------------------------

    def check_loop(self) -> None:
        """Begin in the running event loop at the first call; raise WrongLoop in any other one after it."""
        if self.owner.loop is not running_loop():
            loop = self.owner.begin()
            if not self.closed:
                jobs = (self._submits.run(), self._results.run(), self._look_for_stuck_tasks())
                self._tasks = [loop.create_task(job) for job in jobs]
                self._tasks[0].add_done_callback(self._task_ended)

    def _task_ended(self, _task: asyncio.Task[None]) -> None:
        """Close with the event loop: `asyncio.run` cancels all tasks at its end, also those of the client."""
        if not self.closed:
            if self._outbox:
                log.warning(UNACCEPTED)
            self.close()

    async def _look_for_stuck_tasks(self) -> None:
        """Log from time to time why tasks wait."""
        while True:
            pause_s = self._stuck.pause_s()
            await asyncio.sleep(IDLE_CHECK_S if pause_s is None else pause_s)
            await self._control.run(self._stuck.look())

    def _in_background(self, job: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        task = asyncio.get_running_loop().create_task(job)
        self._background.add(task)
        task.add_done_callback(self._background_ended)
        return task

    def _background_ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        self._on_settled()

    # -- called by the client ------------------------------------------------------------------

    async def send(self, options: SubmitOptions, body: bytes) -> AsyncFuture[Any]:
        """Send a task, immediately or after those that are being sent; waits and raises as `AsyncClient.submit`."""
        self.check_loop()
        if self._closing or not self._submits.is_up or self._outbox.full:
            await self._wait_for_master()
        if API in sys.modules:  # without this check, programs that do not trace would pay a call for each task
            options = options.carrying(outgoing(*options.envelope[:2]))
        future: AsyncFuture[Any] = AsyncFuture(self, options.envelope[1])
        body = prepared_alone(self._seals, future, options, body, self._settings.payload_bytes_max)
        sending = PendingSubmit(options, body, future)
        if options.full is not None:
            await self._send_now([sending], options.patience_s(0.0))
            return future
        if access.note_submit is not None:
            access.note_submit(future, self._outbox)
        self._outbox.put(sending)
        self._sent_count += 1
        if not self._sent_count % SUBMITS_A_TURN:
            await asyncio.sleep(0)
        return future

    async def send_together(self, tasks: Sequence[tuple[SubmitOptions, bytes]]) -> AsyncFuture[Any]:
        """Send several tasks in one submit; waits and raises as `AsyncClient.chain`."""
        self.check_loop()
        last = tasks[-1][0]
        future: AsyncFuture[Any] = AsyncFuture(self, last.envelope[1])
        tasks = prepared(self._seals, future, tasks, self._settings.payload_bytes_max)
        if self._closing or not self._submits.is_up or self._outbox.full:
            await self._wait_for_master()
        batch = [PendingSubmit(options, body, future) for options, body in tasks]
        await self._send_now(batch, last.patience_s(self._settings.connect_wait_s))
        return future

    async def _send_now(self, batch: Sequence[PendingSubmit[AsyncFuture[Any]]], wait_s: float) -> None:
        """Submit tasks together and wait until the master accepts all or refuses all, as `SubmitSender.send_now`.

        If the coroutine is cancelled meanwhile, nothing has their future: tasks that the master accepts are cancelled.
        """
        claim([batch[-1].future])
        submit = PatientSubmit(self._steps, batch, wait_s)
        while not self.closed:
            done = self._start(submit.next_slice())
            try:
                answer = await done
            except asyncio.CancelledError:
                if not done.cancelled():  # the answer has come just before
                    self._cancel_accepted(batch)
                elif not any(one is done for _, one in self._alone):  # else it is never sent
                    self._abandoned[done] = batch
                raise
            if submit.is_over(answer):
                return
        raise CannotReach("the client was closed before the task was accepted.")

    async def administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        """The master's answer to an operator's request; raises the error with which the master refuses it."""
        self.check_loop()
        if self._closing or not self._submits.is_up:
            await self._wait_for_master()
        arguments = sealed_arguments(self._seals, action, arguments)
        return await self._control.run(control_steps.administer(action, arguments))

    async def follow(self, task_key: int) -> AsyncFuture[Any]:
        """The future of a task that the master already has."""
        self.check_loop()
        if self._closing or not self._submits.is_up:
            await self._wait_for_master()
        future: AsyncFuture[Any] = AsyncFuture(self)
        future.reads = None if self._seals is None else self._seals.reader
        claim([future])
        self._pending.adopt(future, task_key)
        try:
            await self._start(self._pending.ask_about([task_key]))
        except BaseException:
            self._pending.abandon(future)
            raise
        return future

    async def flush(self, timeout_s: float | None) -> bool:
        """Do what `AsyncClient.flush` describes."""
        return await self._outbox.wait_until_empty(timeout_s) and self.refusals.flushed()

    async def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Do what `AsyncClient.shutdown` describes."""
        self.check_loop()
        self._closing = True
        if cancel:
            for sending in self._outbox.take_all():
                sending.future.withdraw()
            await self.cancel(self._pending.futures(), running=False)
        if wait:
            await self._changes.wait_for(lambda: self.closed or self._is_idle(), None)
        self._close_if_idle()
        if self.closed:
            await self._end()

    async def leave_block(self) -> None:
        """End after an exception in the client's block: wait until submits are accepted, but not for results."""
        self.check_loop()
        self._closing = True
        try:
            if not await self._outbox.wait_until_empty(self._settings.connect_wait_s):
                log.warning(UNACCEPTED)
        finally:
            self.close()
        await self._end()

    async def _end(self) -> None:
        """Wait for the client's own coroutines, which have nothing left to do."""
        await asyncio.gather(*self._tasks, *self._background, return_exceptions=True)

    def release(self) -> None:
        """End when every future has its outcome, because the program has no reference to the client any more."""
        self._closing = True
        self._close_if_idle()

    @property
    def stage(self) -> str:
        """What the session is doing, in words."""
        return stage_of(self._submits, self._outbox, self._pending, is_closing=self._closing, is_closed=self.closed)

    # -- called by futures ---------------------------------------------------------------------

    async def wait_for_acceptance(self, future: AsyncFuture[Any], timeout_s: float | None) -> None:
        """Wait until the master has accepted or refused the task, or `timeout_s` seconds are over."""
        self.check_loop()
        await self._accepted.wait_for(lambda: future.task_key is not None or future.has_ended, timeout_s)

    async def cancel(self, futures: Sequence[AsyncFuture[Any]], *, running: bool) -> bool:
        """Have the master cancel tasks; returns whether it has cancelled all of those that had not ended."""
        waiting = [future for future in futures if not future.has_ended and not future.withdraw_unsent()]
        await self._accepted.wait_for(
            lambda: all(future.task_key is not None or future.has_ended for future in waiting), CATCH_UP_S
        )
        keys = [future.task_key for future in waiting if future.task_key is not None and not future.has_ended]
        return bool(keys) and await self._control.run(control_steps.cancel(keys, running=running))

    async def cancel_left(self, futures: Sequence[AsyncFuture[Any]]) -> None:
        """Have the master cancel tasks of a coroutine whose further waits are cancelled too, by a scope of anyio."""
        await asyncio.shield(self._in_background(self.cancel(futures, running=False)))

    async def progress(self, task_key: int) -> Progress | None:
        """The progress that a task has reported."""
        return await self._control.run(control_steps.progress(task_key))

    async def is_running(self, task_key: int) -> bool:
        """Whether a task runs; False also if no master answers."""
        return self._results.failure is None and await self._control.run(self._running.has(task_key))

    async def deadlock(self, task: str, task_key: int) -> str:
        """The reason why a task that waits for another task waits for ever; '' if it does not, or that is not known."""
        return await self._control.run(control_steps.deadlock(task, task_key))

    def stream(self, future: AsyncFuture[Any], timeout_s: float | None) -> AsyncGenerator[Any, None]:
        """The values that a task yields, as they arrive, on a connection for this stream alone."""
        return parts_of(self._control, future, timeout_s)

    # -- inside --------------------------------------------------------------------------------

    async def _wait_for_master(self) -> None:
        """Wait until the outbox has room and a master has answered; raises if none answers within `connect_wait_s`."""
        link, loop = self._submits, asyncio.get_running_loop()
        wait_s = self._settings.connect_wait_s
        deadline = loop.time() + wait_s
        seen = link.attempts + link.is_attempting  # an attempt that is under way may be out of date
        link.retry()
        while True:
            if self._closing:
                raise RuntimeError("cannot submit: this client was shut down")
            if link.is_up:
                if not self._outbox.full:
                    return
                await self._outbox.wait_for_room()
                deadline = loop.time() + wait_s
                continue
            self._outage.note_failure(link.failure)
            failure = link.failure
            if failure is not None and link.attempts > seen and not is_connection_error(failure):
                raise failure
            if loop.time() >= deadline:
                raise failure or self._outage.error()
            await self._changes.wait_for(lambda: link.is_up or self._closing, min(deadline - loop.time(), 0.1))

    def _start(self, steps: Steps[R]) -> asyncio.Future[R]:
        """Run steps on the connection of submits; returns the future of their result."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._alone.append((steps, done))
        self._pump()
        return done

    def _pump(self) -> None:
        """Send what comes next, if no answer is awaited on the connection of submits."""
        link = self._submits
        while link.is_up and not link.is_busy:
            if self._alone:
                steps, done = self._alone.popleft()
                if not done.cancelled():
                    link.start(steps, partial(self._alone_ended, done))
            elif batch := self._outbox.take_batch():
                link.start(self._steps.send_batch(batch), self._batch_ended)
            else:
                return

    def _batch_ended(self, _result: object, _error: BaseException | None) -> None:
        self._accepted.notify()
        self._pump()

    def _alone_ended(self, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._accepted.notify()
        settle(done, result, error)
        if done in self._abandoned:
            self._cancel_accepted(self._abandoned.pop(done))
        self._pump()

    def _cancel_accepted(self, batch: Sequence[PendingSubmit[AsyncFuture[Any]]]) -> None:
        """Cancel the tasks of a submit whose coroutine was cancelled, if the master has accepted them."""
        key = batch[-1].future.task_key
        if key is not None and not self.closed:
            keys = range(key - len(batch) + 1, key + 1)
            self._in_background(self._control.run(control_steps.cancel(keys, running=False)))

    def _submits_up(self, greeting: Greeting) -> None:
        self._master.greet(greeting)
        self._submits.resend()
        self._changes.notify()
        self._pump()

    def _submits_down(self, error: DistqError) -> None:
        self._outbox.wake_all()
        self._changes.notify()
        if not is_connection_error(error):
            self._fail_unsent(error)

    # -- inside: the end -----------------------------------------------------------------------

    def _on_settled(self) -> None:
        if self._closing:
            self._close_if_idle()

    def _is_idle(self) -> bool:
        return not (self._pending or self._outbox or self._alone or self._background)

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.close()

    def _fail_unsent(self, error: Exception | None = None) -> None:
        """Fail all calls that wait for their submit."""
        alone, self._alone = self._alone, deque()
        for _, done in alone:
            settle(done, None, error or CannotReach("the client was closed before the task was sent."))
        self._steps.fail_unsent(error)
        self._accepted.notify()

    def close(self) -> None:
        """End the session now, also while submits are in flight; futures without an outcome fail."""
        self._closing = True
        if self.closed:
            return
        self.closed = True
        is_busy = bool(self._outbox) or self._submits.is_busy
        self._outbox.closed = True
        self._submits.close(sends_goodbye=not is_busy)
        self._results.close()
        self._control.close()
        self._fail_unsent()
        self._pending.fail(None, no_result)
        self._outbox.wake_all()
        self._changes.notify()
        self._accepted.notify()
        self.refusals.log_unseen()
        for task in (*self._tasks, *self._background):
            task.cancel()
