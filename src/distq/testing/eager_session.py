"""The session of a client whose tasks run at their submit, in the thread that submits them."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distq.client import control_steps
from distq.client.control_connection import ControlConnection
from distq.client.future import TaskFuture
from distq.client.outbox import PendingSubmit, SubmitOptions, check_size, packed
from distq.client.refusals import Refusals, RefusedUnique, refusal_of
from distq.client.streams import parts_of
from distq.core.plurals import counted
from distq.core.states import LATER
from distq.net.dial import CannotReach
from distq.protocol.hello import CLI, CLIENT, write_hello
from distq.protocol.methods import SUBMIT, WATCH
from distq.protocol.submit import SubmitRefused, read_answer
from distq.testing.errors import TasksUnfinished
from distq.wire.errors import RemoteRefusal

if TYPE_CHECKING:
    from distq.client.reader import Readable
    from distq.settings import Address, Settings
    from distq.testing.eager_master import EagerMaster


class EagerControl(ControlConnection):
    """What a client asks the eager master besides submits and results."""

    def __init__(self, master: EagerMaster) -> None:
        self._master = master
        self._line = master.connect(write_hello(CLI, "eager", ""))

    def ask(self, method: str, *args: object, wait_s: float = 0.0) -> Any:  # noqa: ARG002 - the master answers immediately
        """Call the broker; raises RemoteRefusal."""
        return self._master.call(self._line, method, *args)

    def open_another(self) -> ControlConnection:
        """Return this one: no call waits."""
        return self

    def close(self) -> None:
        """Do nothing: there is no connection."""


class EagerFuture(TaskFuture[Any]):
    """A future whose task this thread runs before it waits."""

    def wait_until_ended(self, limit_s: float | None) -> None:
        """Run tasks until the future has its outcome; raises TasksUnfinished if it cannot have one here."""
        if self._reader is not None:
            limit_s = self._reader.read_until_done(self, limit_s)
        super().wait_until_ended(limit_s)


class EagerSession:
    """A client's session with the eager master; it implements `SessionPort`, and reads results for futures."""

    def __init__(
        self,
        settings: Settings,
        master: EagerMaster,
        *,
        waits_at_exit: bool = True,  # noqa: ARG002 - no result is missing when the process ends
    ) -> None:
        self.refusals = Refusals()
        self.disowned = False
        self._settings = settings
        self._master = master
        self._line = master.connect(write_hello(CLIENT, "eager", secrets.token_hex(16)))
        self._control = EagerControl(master)
        self._numbers = itertools.count(1)
        self._awaited: dict[int, list[TaskFuture[Any]]] = {}
        """The futures without an outcome, by task."""
        self._is_closed = False
        master.collectors.append(self._collect)

    @property
    def addresses(self) -> Sequence[Address]:
        """The address that the environment names; no connection is made to it."""
        return self._settings.address

    @property
    def stage(self) -> str:
        """What the session is doing, in words."""
        return "closed" if self._is_closed else f"eager, {counted(len(self._awaited), 'task')} without an outcome"

    def is_with(self, master: EagerMaster) -> bool:
        """Whether this is a session with that master: all eager masters have the same address."""
        return self._master is master

    def send(self, options: SubmitOptions, body: bytes) -> TaskFuture[Any]:
        """Submit a task, and run tasks until it has ended."""
        future: TaskFuture[Any] = EagerFuture(self, options.envelope[1])
        self._submit([PendingSubmit(options, body, future)], raises=options.full is not None)
        return future

    def send_together(self, tasks: Sequence[tuple[SubmitOptions, bytes]]) -> TaskFuture[Any]:
        """Submit several tasks in one submit, and run tasks until the last one has ended."""
        future: TaskFuture[Any] = EagerFuture(self, tasks[-1][0].envelope[1])
        self._submit([PendingSubmit(options, body, future) for options, body in tasks], raises=True)
        return future

    def _submit(self, batch: Sequence[PendingSubmit[TaskFuture[Any]]], *, raises: bool) -> None:
        self._check_open()
        self._master.check_stack()
        for submit in batch:
            check_size(submit.body, self._settings.payload_bytes_max)
        future = batch[-1].future
        future.claim()
        try:
            with self._master.lock:  # numbers only grow
                answer = read_answer(self._master.call(self._line, SUBMIT, next(self._numbers), *packed(batch), 0.0))
        except RemoteRefusal as error:
            answer = SubmitRefused(error.code, str(error))
        if isinstance(answer, SubmitRefused) and raises:
            raise refusal_of(answer)
        if isinstance(answer, SubmitRefused):
            self._refuse(future, refusal_of(answer))
            return
        key = answer.first + len(batch) - 1
        for _, other, stands_for_it in answer.conflicts:
            if not stands_for_it:
                self._refuse(future, RefusedUnique(other))
                return
            key = other
        self._await(future, key)
        self._master.work(lambda: future.has_ended or self._master.runs(key))

    def _refuse(self, future: TaskFuture[Any], error: Exception) -> None:
        self.refusals.note(future, error)
        future.fail(error)

    def _await(self, future: TaskFuture[Any], key: int) -> None:
        future.task_key = key
        self._awaited.setdefault(key, []).append(future)
        self._collect()

    def _collect(self) -> None:
        """Settle the futures of tasks that have ended."""
        ended = [key for key in list(self._awaited) if not self._master.lives(key)]
        if not ended:
            return
        for row in self._master.call(self._line, WATCH, ended):
            if row[1] != LATER:
                for future in self._awaited.pop(row[0], ()):
                    future.settle(*row[1:4])

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("cannot submit: this client was shut down")

    def follow(self, task_key: int) -> TaskFuture[Any]:
        """The future of a task that the master already has."""
        self._check_open()
        future: TaskFuture[Any] = EagerFuture(self)
        future.claim()
        self._await(future, task_key)
        return future

    def administer(self, action: str, arguments: Mapping[str, Any]) -> Any:
        """The master's answer to an operator's request."""
        self._check_open()
        return self._control.run(control_steps.administer(action, arguments))

    def flush(self, timeout_s: float | None) -> bool:  # noqa: ARG002 - every submit has been answered
        """Whether the program has looked at every refused submit."""
        return self.refusals.flushed()

    def wait_until_accepted(self, timeout_s: float | None) -> bool:  # noqa: ARG002 - as in `flush`
        """Return True: every submit has been answered."""
        return True

    def pending_futures(self) -> list[TaskFuture[Any]]:
        """The futures of accepted tasks that have no outcome."""
        return [futures[0] for futures in self._awaited.values()]

    # -- the end -------------------------------------------------------------------------------------

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Accept no more submits; with `wait`, run tasks until every future has its outcome."""
        futures = self.pending_futures()
        if cancel:
            for future in futures:
                future.cancel()
        if wait:
            for future in futures:
                self.read_until_done(future, None)
        self._is_closed = True

    def leave_block(self) -> None:
        """End after an exception in the client's `with` block."""
        self.close()

    def close(self) -> None:
        """End the session; futures without an outcome fail."""
        self._is_closed = True
        if self._collect in self._master.collectors:
            self._master.collectors.remove(self._collect)
        awaited, self._awaited = self._awaited, {}
        for futures in awaited.values():
            for future in futures:
                future.fail(CannotReach("the client was closed before the task's result had come."))

    def release(self) -> None:
        """Note that the program has no reference to the client any more; its futures still get their outcomes."""

    def disown(self) -> None:
        """Fail this copy's futures, which a fork has made."""
        self.disowned = True

    # -- called by futures ---------------------------------------------------------------------------

    def read_until_done(self, future: Readable, timeout_s: float | None) -> float | None:
        """Run tasks until the future is done; raises TasksUnfinished if it cannot be, TimeoutError with a timeout."""
        key = future.task_key
        if self.disowned or future.has_ended or key is None or self._master.runs_elsewhere(key):
            return timeout_s
        self._master.work(lambda: future.has_ended or self._master.runs_elsewhere(key))
        if not future.has_ended and not self._master.runs_elsewhere(key):
            raise TasksUnfinished(f"Task {future.task_id} cannot end in this thread. {self._master.why(key)}")
        return timeout_s

    def catch_up(self) -> None:
        """Do nothing: every submit has been answered."""

    def cancel(self, keys: Sequence[int], *, running: bool) -> bool:
        """Make the master cancel tasks; returns whether it has cancelled all of them."""
        return self._control.run(control_steps.cancel(keys, running=running))

    def progress(self, key: int) -> Any:
        """The last progress report of a task."""
        return self._control.run(control_steps.progress(key))

    def is_running(self, key: int) -> bool:
        """Whether a task runs."""
        return self._master.runs(key)

    def stream(self, future: Readable, timeout_s: float | None) -> Iterator[Any]:
        """The values that a task has yielded."""
        self.read_until_done(future, timeout_s)
        return parts_of(self._control, future, timeout_s)

    def deadlock(self, task: str, key: int) -> str:  # noqa: ARG002 - `read_until_done` finds it
        """Return '': no task waits here."""
        return ""

    def call_back(self, callbacks: Callable[[], None]) -> None:
        """Call a future's callbacks in this thread."""
        callbacks()
