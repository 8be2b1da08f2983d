"""Timeouts of silent workers: one when their leases would end, one a second after a socket has closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from distq.master.cycle.requests import LEASE, Request

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.worker_session import ExecutorHolder, WorkerSession

DISCONNECT_GRACE_S: Final = 1.0
"""Seconds that a worker or an executor has to connect again after its socket has closed, before its leases end."""
LAST_CHECK_S: Final = 0.05
"""Seconds between noticing that a lease is over and ending it, so that the master first reads reports already sent."""
WHOLE_WORKER_LOST: Final = "its whole worker was lost: killed, out of memory, evicted, or cut off"
"""The cause when no process of the worker is left to report one. Kubernetes evicts a pod that fills its /tmp a second
after SIGTERM."""


class WorkerSessions(Protocol):
    """The part of `distq.master.sessions.workers.Workers` that the timeouts use."""

    sessions: dict[str, WorkerSession]

    def detach(self, session: WorkerSession, reason: str, cause: str) -> None:
        """End a session and its leases."""

    def lose(self, executor: ExecutorHolder, reason: str, cause: str) -> None:
        """End the leases of an executor."""


class LeaseTimeout(Request):
    """Due when a worker's leases would end if no heartbeat renewed them, and again `LAST_CHECK_S` later.

    If the master itself was stopped or had no CPU time, it must first read the heartbeats that came meanwhile.
    """

    __slots__ = ("noticed", "session", "workers")

    def __init__(self, workers: WorkerSessions, session: WorkerSession) -> None:
        super().__init__()
        self.workers = workers
        self.session = session
        self.noticed = 0.0
        """The `lease_until_at` whose end was noticed; 0 if none was."""

    def shift(self, by_s: float) -> None:  # noqa: D102 - as Request
        session = self.session
        session.lease_until_at += by_s
        session.seen_at += by_s
        session.connected_at += by_s

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        session, workers = self.session, self.workers
        if workers.sessions.get(session.key) is not session:
            return
        if session.lease_until_at > now:
            cycle.ask_at(session.lease_until_at, self)
        elif session.lease_until_at != self.noticed:
            self.noticed = session.lease_until_at
            cycle.ask_at(now + LAST_CHECK_S, self)
        else:
            workers.detach(session, LEASE, "its worker fell silent")


class DisconnectTimeout(Request):
    """Due `DISCONNECT_GRACE_S` after a socket has closed."""

    __slots__ = ("executor", "session", "workers")

    def __init__(self, workers: WorkerSessions, session: WorkerSession, executor: ExecutorHolder | None) -> None:
        super().__init__()
        self.workers = workers
        self.session = session
        self.executor = executor

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102 - as Request
        session, executor = self.session, self.executor
        if self.workers.sessions.get(session.key) is not session or session.connection is not None:
            # The supervisor is connected, and reports an executor that has ended. Any other executor runs on and
            # connects again; its task must not run twice because of a broken connection.
            return
        if executor is not None and executor.connection is None and session.executors.get(executor.index) is executor:
            del session.executors[executor.index]
            self.workers.lose(executor, "connection", WHOLE_WORKER_LOST)
        if not any(one.connection is not None for one in session.executors.values()):
            self.workers.detach(session, "connection", WHOLE_WORKER_LOST)
