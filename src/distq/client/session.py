"""A client's session with the master: the parts that send submits and receive results, and how they start and end."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from distq.client import control_steps, exits
from distq.client.callbacks import Callbacks
from distq.client.control_connection import ControlConnection
from distq.client.future import TaskFuture, cancel_all, settle_all
from distq.client.known_master import KnownMaster
from distq.client.locks import CalledInside
from distq.client.master_connection import MasterConnection, Outage, is_connection_error, new_session
from distq.client.outbox import Outbox, PendingSubmit, SubmitOptions, check_size
from distq.client.pending_futures import PendingFutures
from distq.client.refusals import Refusals
from distq.client.result_receiver import RESULTS_WAIT_S, ResultReceiver
from distq.client.seals import prepared, sealed_arguments, seals_of
from distq.client.session_stage import stage_of
from distq.client.steps import MasterCall, run
from distq.client.stuck_tasks import StuckTasks
from distq.client.submit_sender import SubmitSender
from distq.client.submit_steps import SubmitSteps
from distq.net.dial import CannotReach, Connection
from distq.protocol.hello import Greeting
from distq.protocol.methods import BROKER
from distq.settings import Address, Settings
from distq.tasks import access
from distq.tasks.tracing import API, outgoing

ENDED_S: Final = 1.0
"""Maximum seconds that `shutdown` waits for each thread of the client, which has nothing left to do."""
CALLBACKS_S: Final = 10.0
"""Maximum seconds that `shutdown` waits for callbacks, because one that blocks must not keep the program for ever."""

log = logging.getLogger("distq")

_now = time.monotonic  # noqa: TID251 - the edge: a caller's deadlines


class ClientRuntime:
    """Sends submits and receives results for all threads of a client, on two threads that start with the first task."""

    def __init__(self, settings: Settings, *, waits_at_exit: bool = True) -> None:
        self._settings = settings
        self._payload_bytes_max = settings.payload_bytes_max
        self._seals = seals_of(settings)
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._closing = False
        self._closed = False
        self._checks_first = False
        """Whether each submit must check the client's state first: the client is closing, or its process ends."""
        self._has_given_up = False
        """Whether a flush at the end of the process has waited in vain."""
        self._is_released = False
        """Whether the program has no reference to the client any more."""
        self._threads: list[threading.Thread] = []
        config = new_session(settings)
        self.refusals = Refusals()
        self._callbacks = Callbacks()
        self._outage = Outage(config.addresses, settings.connect_wait_s)
        self._outbox = Outbox()
        self._pending = PendingFutures(self._outbox, self._on_settled, settle_all)
        self._master: KnownMaster[TaskFuture[Any]] = KnownMaster(self._pending)
        self.control = ControlConnection(config._replace(role="cli"))  # without a session: it awaits no results
        steps = SubmitSteps(
            self._outbox, self._pending, self.refusals, settings.connect_wait_s, self._on_accepted, self._on_settled
        )
        self._sender = SubmitSender(
            MasterConnection(config, self._on_hello, self._outage),
            self._outbox,
            self._pending,
            steps,
            settings.connect_wait_s,
            self._on_settled,
            self._on_idle,
            StuckTasks(self._pending),
            self.control,
        )
        results = MasterConnection(config, self._on_results_hello, self._outage)
        self._receiver = ResultReceiver(results, self._pending, self._sender, self.control, self._callbacks)
        self.waits_at_exit = waits_at_exit
        """Whether the end of the process waits for the outcomes of the tasks."""
        self._checks_first = exits.enter(self)

    # -- called by the client ------------------------------------------------------------------

    @property
    def addresses(self) -> Sequence[Address]:
        """The addresses of the masters that the client uses."""
        return self._settings.address

    @property
    def stage(self) -> str:
        """What the session is doing, in words."""
        link = self._sender.master_connection
        return stage_of(link, self._outbox, self._pending, is_closing=self._closing, is_closed=self._closed)

    def send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        """Send a task, immediately or from the outbox; blocks and raises as `Client.submit` does."""
        if len(body) > self._payload_bytes_max:
            check_size(body, self._payload_bytes_max)
        outbox, submits = self._outbox, self._sender
        if self._checks_first or not submits.master_connection.is_up or outbox.full:
            self._wait_for_master()
        if API in sys.modules:  # without this check, programs that do not trace would pay a call for each task
            options = options.carrying(outgoing(*options.envelope[:2]))
        future: TaskFuture[Any] = TaskFuture(self._receiver, options.envelope[1])
        if self._seals is not None:
            body = self._seals.sealed_for(future, options, body, self._payload_bytes_max)
        sending = PendingSubmit(options, body, future)
        if options.full is not None:
            self._start()
            submits.send_now([sending], options.patience_s(0.0))
            return future
        if access.note_submit is not None:
            access.note_submit(future, outbox)
        if outbox.waiting or not submits.send_immediately(sending):
            outbox.put(sending)
        if self._checks_first:
            self._send_last()
        return future

    def _send_last(self) -> None:
        """Flush, because the process ends and there may be no later flush; fail the task if the client was closed."""
        if self._outbox.closed:
            self._sender.steps.fail_unsent()
        else:
            self.flush(self._settings.connect_wait_s)

    def send_together(self, tasks: Sequence[tuple[SubmitOptions, bytes]]) -> TaskFuture[Any]:
        """Send several tasks in one submit; blocks and raises as `Submitter.chain` does."""
        future: TaskFuture[Any] = TaskFuture(self._receiver, tasks[-1][0].envelope[1])
        tasks = prepared(self._seals, future, tasks, self._payload_bytes_max)
        if self._checks_first or not self._sender.master_connection.is_up or self._outbox.full:
            self._wait_for_master()
        self._start()
        patience_s = tasks[-1][0].patience_s(self._settings.connect_wait_s)
        self._sender.send_now([PendingSubmit(options, body, future) for options, body in tasks], patience_s)
        return future

    def administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        """The master's answer to an operator's request; raises the error with which the master refuses it."""
        arguments = sealed_arguments(self._seals, action, arguments)
        if self._closing or not self._sender.master_connection.is_up:
            self._wait_for_master()
        return self.control.run(control_steps.administer(action, arguments))

    def follow(self, task_key: int) -> TaskFuture[Any]:
        """The future of a task that the master already has; blocks and raises as `Client.future` does."""
        if self._closing or not self._sender.master_connection.is_up:
            self._wait_for_master()
        future: TaskFuture[Any] = TaskFuture(self._receiver)
        future.reads = None if self._seals is None else self._seals.reader
        future.claim()
        self._pending.adopt(future, task_key)
        self._receiver.expected.set()
        try:
            self._sender.watch([task_key])
        except BaseException:
            self._pending.abandon(future)
            raise
        return future

    def flush(self, timeout_s: float | None) -> bool:
        """Do what `Client.flush` describes."""
        if self._sender.is_sending_here:
            raise CalledInside("flush() interrupted a submit of the same client in this thread.")
        return self.wait_until_accepted(timeout_s) and self.refusals.flushed()

    def wait_until_accepted(self, timeout_s: float | None) -> bool:
        """Wait until the master has answered every submit so far; False if the timeout ends first."""
        self._outbox.wake()
        return self._outbox.wait_until_empty(timeout_s)

    def pending_futures(self) -> list[TaskFuture[Any]]:
        """The futures of accepted tasks that have no outcome."""
        return self._pending.futures()

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Do what `Client.shutdown` describes."""
        if wait and (self._sender.is_sending_here or self._receiver.is_reading_here):
            raise CalledInside("shutdown() interrupted another call of the same client in this thread.")
        with self._lock:
            self._closing = self._checks_first = True
        if cancel:
            for sending in self._outbox.take_all():
                sending.future.withdraw()
            cancel_all(self._pending.futures())
        if wait:
            self._outbox.wake()
            with self._idle:
                self._idle.wait_for(self._is_idle)
        self._close_if_idle()
        if wait:
            self.join()

    def join(self) -> None:
        """Wait for the client's threads, which have only callbacks left to call."""
        self._callbacks.wait(CALLBACKS_S)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(ENDED_S)

    def leave_block(self) -> None:
        """End after an exception in the client's `with` block: wait until submits are accepted, but not for results."""
        self.flush_last()
        self.close()
        self.join()

    def release(self) -> None:
        """Note that the program has no reference to the client any more; a finalizer calls this in any thread."""
        self._is_released = True
        self._outbox.wake()

    # -- inside --------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._closing:
                raise RuntimeError("cannot submit: this client was shut down")
            if self._threads:
                return
            self._threads = [
                threading.Thread(target=link.release_after, args=(loop,), name=f"distq-{name}", daemon=True)
                for name, loop, link in (
                    ("submits", self._sender.run, self._sender.master_connection),
                    ("results", self._receiver.run, self._receiver.master_connection),
                )
            ]
            for thread in self._threads:
                thread.start()

    def _wait_for_master(self) -> None:
        """Wait until the outbox has room and a master has answered; raises if none answers within `connect_wait_s`."""
        self._start()
        link, outbox = self._sender.master_connection, self._outbox
        wait_s = self._settings.connect_wait_s
        deadline = _now() + wait_s
        seen = link.attempts + link.is_attempting  # an attempt that is under way may be out of date
        self._sender.retry_requested.set()
        while True:
            if self._closing:
                raise RuntimeError("cannot submit: this client was shut down")
            if link.is_up:
                deadline = _now() + wait_s
                if outbox.wait_for_room(0.1):
                    return
                continue
            self._outage.note_failure(link.failure)
            failure = link.failure
            if failure is not None and link.attempts > seen and not is_connection_error(failure):
                raise failure
            if _now() >= deadline:
                raise failure or self._outage.error()
            link.wait_for_attempt(link.attempts, min(deadline - _now(), 0.1))

    def _on_accepted(self, first: int, count: int) -> Sequence[int]:
        """Handle that a master has accepted `count` tasks, under keys from `first` on; returns those to ask about."""
        if not self._receiver.expected.is_set():
            self._receiver.expected.set()
        if self._outbox.closed:
            self.close()
            return ()
        return self._master.keys_to_ask(first, count)

    def _on_settled(self) -> None:
        if self._closing:
            self._close_if_idle()
        elif self._is_released:
            self._outbox.wake()
        elif self._checks_first:  # the process ends
            with self._idle:
                self._idle.notify_all()

    def _on_idle(self) -> None:
        """Close a released client whose tasks have all ended; called when the sender thread has nothing to send."""
        if self._is_released and not self._outbox:
            self._pending.keep_referenced(self._outbox.wake)
            self._close_if_idle()

    def _on_hello(self, greeting: Greeting, _connection: Connection) -> None:
        self._master.greet(greeting)

    def _on_results_hello(self, greeting: Greeting, connection: Connection) -> None:
        """Do the same on the results connection, and ask a restarted master with a store about the awaited tasks."""
        keys = self._master.greet_for_results(greeting)

        def ask(request: MasterCall) -> Any:
            return connection.call(BROKER, request.method, request.args, timeout_s=RESULTS_WAIT_S)

        run(self._pending.ask_about(keys), ask)

    # -- inside: the end -----------------------------------------------------------------------

    def _is_idle(self) -> bool:
        return not self._pending and not self._outbox

    def _close_if_idle(self) -> None:
        with self._idle:
            if not self._is_idle():
                return
            self._idle.notify_all()
        self.close()

    def close(self) -> None:
        """End the session now, also while submits are in flight; futures without an outcome fail."""
        with self._lock:
            self._closing = self._checks_first = True
            if self._closed:
                return
            self._closed = True
        exits.leave(self)
        busy = bool(self._outbox) or self._sender.busy
        self._outbox.close()
        self._sender.master_connection.close(sends_goodbye=not busy)
        self._receiver.master_connection.close()
        self.control.close()
        self._sender.retry_requested.set()
        self._receiver.expected.set()
        if self._outbox:
            self._sender.steps.fail_unsent()
        if self._pending:
            self._pending.fail(None, no_result)
        self._callbacks.close()
        self.refusals.log_unseen()

    def disown(self) -> None:
        """Release this copy, which a fork has made: the parent process goes on with the session."""
        self._receiver.disown()
        self._sender.master_connection.release()
        self._receiver.master_connection.release()
        self.control.master_connection.release()
        exits.leave(self)

    def flush_last(self) -> None:
        """Wait until the master has accepted all submits, because the process or the `with` block ends.

        From now on each further submit waits for its own acceptance.
        """
        self._checks_first = True
        self._outbox.wake()
        if not self._outbox.wait_until_empty(0.0 if self._has_given_up else self._settings.connect_wait_s):
            self._has_given_up = True
            log.warning(
                "The process ends before the master has accepted its last tasks: the master cannot be reached, or "
                "their queue is full."
            )
        self.refusals.log_unseen()

    def wait_for_outcomes(self, timeout_s: float) -> bool:
        """Wait until every future has its outcome and every callback was called; False if `timeout_s` is over first."""
        with self._idle:
            self._idle.wait_for(lambda: self._closed or self._is_idle(), timeout_s)
        if self._is_idle():
            self._callbacks.wait(CALLBACKS_S)
        return self._closed or self._is_idle()  # a callback may have submitted a task

    @property
    def is_cut_off(self) -> bool:
        """Whether no master has answered for DISTQ_CONNECT_WAIT_S."""
        return self._outage.lasted_s >= self._settings.connect_wait_s


def no_result(_: object) -> CannotReach:
    """The error of a future whose client was closed before its outcome."""
    return CannotReach("the client was closed before the task's result had come.")
