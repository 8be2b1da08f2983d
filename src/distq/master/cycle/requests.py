"""Requests, which the broker handles one cycle at a time: the base classes, and what they may use of the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from distq.core.ranges import DURATION_MAX_S
from distq.wire.messages import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from distq.core.errors import DistqError
    from distq.core.ledger import Ledger
    from distq.core.ports import Clock, CommitRefused, Row, Store, StoreLimits
    from distq.core.queue import Queue
    from distq.core.task import Holder, Task
    from distq.master.cycle.payload_reads import ReadCallback
    from distq.net.serve import ServerConnection


REFUSED_PAUSE_S: Final = 1.0
"""Seconds before the master tries again what it must do and the store has refused; a full disk needs some time."""
FAULT_PAUSE_S: Final = 10.0
"""Seconds before a request without a peer is tried again after an error in the master: longer, as it may fail again."""
WAIT_MAX_S: Final = DURATION_MAX_S
"""Maximum seconds for which a peer can ask to wait: the longest duration that distq accepts."""


class Guard(Protocol):
    """Confines an error in one request to it: `distq.master.cycle.request_guard.RequestGuard` is the implementation."""

    def note(self, place: str, exc: BaseException, request: object = None) -> None:
        """Count an error and log it."""

    def failed(self, request: Request, exc: Exception, place: str, now: float) -> None:
        """Refuse a request that has raised an error."""


class RefusedRequests(Protocol):
    """Commits refused requests again: `distq.master.cycle.refused_commits.RefusedCommits` is the implementation."""

    def ask_now(self, request: Request) -> None:
        """Have a request committed alone next."""

    def ask_later(self, request: Request, refused: CommitRefused, now: float) -> None:
        """Have a refused request committed again after a pause, which grows if its content is the reason."""

    def ask_suspect(self, request: Request, count: int, at: float) -> None:
        """Have a request that was refused `count` times for what it holds committed alone at an instant."""

    def refusal_of(self, task_key: int) -> str:
        """The store's text if it refuses now what the executor of a task has settled, otherwise ''."""


class Cycle(Protocol):
    """What a request may use of the broker: `distq.master.cycle.broker.Broker` is the implementation."""

    ledger: Ledger
    """The tasks, their queues and their states."""
    clock: Clock
    """Seconds since 1970; every instant of a request is in its time."""
    store: Store
    """Where the rows and the bodies are kept."""
    reply_bytes_max: int
    """Maximum bytes of the bodies in one reply; one larger body goes alone."""
    refusals: int
    """Number of cycles whose decisions could not be packed or were refused by the store."""
    draining: bool
    """Whether the master leases nothing more; it still settles and submits."""
    push: Callable[[], None]
    """Sends results and parts of streams to the clients that wait for them; called in every cycle."""

    @property
    def guard(self) -> Guard:
        """Counts and logs the errors that requests raise."""

    @property
    def refused(self) -> RefusedRequests:
        """Commits again what the store has refused."""

    def ask(self, request: Request) -> None:
        """Have the next cycle handle a request."""

    def ask_again(self, request: Request) -> None:
        """Have the next cycle decide the rest of a request, without waking that cycle."""

    def ask_at(self, at: float, request: Request) -> None:
        """Have a cycle handle a request at an instant (seconds of `clock`)."""

    def wake(self) -> None:
        """Run a cycle as soon as the event loop has read the calls that have arrived."""

    def park(self, request: LeaseRequest, queues: tuple[Queue[Task], ...] | None) -> None:
        """Let a request wait for tasks of these queues (None: of every work queue) until its `until`."""

    def park_until_room(self, request: Request, queue: Queue[Task], room: int = 1) -> None:
        """Let a request wait until the queue has room for `room` tasks; it is decided anew then."""

    def park_until_end(self, request: Request, queue: Queue[Task]) -> None:
        """Let a request wait until the queue has no live task."""

    def park_idle(self, request: Request) -> None:
        """Let a request wait until its `until`, or until the code that keeps it answers it."""

    def forget(self, request: Request) -> None:
        """End the wait of a request, because its peer has gone or is answered now."""

    def expire(self, request: Request, now: float) -> None:
        """End the wait of a request because its time is over."""

    def lease(self, request: LeaseRequest, queues: tuple[Queue[Task], ...] | None, now: float) -> bool:
        """Lease ready tasks to a request immediately; False if there are none for it."""

    def read(self, request: Request, keys: Sequence[int], callback: ReadCallback, bytes_max: int | None = None) -> None:
        """Have the present or the next cycle read bodies from the store for a request, and pass them to `callback`."""

    def keep_row(self, row_key: int, row: Row) -> None:
        """Have the next commit store a row that is no task (its key is negative); None deletes it."""

    def fetch(self, task: Task) -> None:
        """Have the present or the next cycle read a task's payload into memory."""

    def shift(self, by_s: float) -> None:
        """Follow a clock that was set: durations keep their length, and dates are due by the new time."""


class Request:
    """A piece of work for the cycle, which calls `decide` and, after the commit, `answer`.

    A request that must wait for a task or for room is parked: the broker then calls `give`, `decide` or `expire`.
    """

    __slots__ = ("parked", "until_at", "wait_list")
    only_ends: bool = False
    """Whether the request only ends tasks, and can be decided twice in one cycle. A full store takes such a request, so
    after a refusal it is committed again without the requests that add rows."""
    follows_wall_clock: ClassVar[bool] = False
    """Whether the request is due at a date of the calendar; any other is due at the end of a duration."""

    def __init__(self) -> None:
        self.until_at: float | None = None
        """The instant at which the request stops waiting; None means never."""
        self.parked = False
        """Whether the request waits in the broker."""
        self.wait_list: dict[Request, int] | None = None
        """The broker's collection in which a request waits for room or for the end of a queue; None otherwise."""

    @property
    def holds(self) -> bool:
        """Whether the request still has work to do when it is due."""
        return True

    def weight(self) -> tuple[int, int]:
        """Estimated number of changes, and of bytes, that the request adds to a commit."""
        return 1, 0

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002 - most only answer
        """Decide in the ledger what the request asks for; False leaves the rest to the next cycle."""
        return True

    def answer(self, cycle: Cycle, now: float) -> None:
        """Reply, or park the request: its decisions are committed and applied."""

    def expire(self, cycle: Cycle, now: float) -> None:
        """Reply that the request has waited until its `until`."""

    def refuse(self, exc: DistqError) -> None:
        """Reply with an error: the request has changed nothing."""

    def shift(self, by_s: float) -> None:
        """Move the end of the wait, and of every other duration of the request, with a clock that was set."""
        if self.until_at is not None:
            self.until_at += by_s

    def undo(self) -> None:
        """Take back what `decide` has changed outside the ledger: it has failed, or is called once more."""

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: ARG002 - no peer waits for a reply
        """Handle an error in the master: a request without a peer must succeed, so a later cycle tries it again."""
        cycle.ask_at(now + FAULT_PAUSE_S, self)

    def give_up(self) -> None:
        """End the request without a reply, because its refusal has failed too."""

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002 - most have changed nothing
        """Handle a refused commit: none of the decisions of the request has been applied."""
        self.answer(cycle, now)

    def parts(self) -> Sequence[Request]:
        """After a refused commit of this request alone: the requests to commit in its place, () if it is one change."""
        return ()

    def refusal_of(self, task_key: int) -> str:  # noqa: ARG002 - most settle no task
        """The store's text if it refuses what this request settles for a task, otherwise ''."""
        return ""

    def note_stored(self) -> None:
        """Note that a commit has stored what `decide` has decided, although the request has more to decide."""

    def resume(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002 - some wait first
        """Have the rest of the request decided, after a commit apart from other requests has stored a part of it."""
        cycle.refused.ask_now(self)


class CallRequest(Request):
    """A call of a peer, which gets exactly one reply."""

    __slots__ = ("connection",)

    def __init__(self, connection: ServerConnection) -> None:
        super().__init__()
        self.connection = connection

    def refuse(self, exc: DistqError) -> None:  # noqa: D102 - as Request
        self.connection.reply(refused(f"{exc} {exc.hint}".rstrip()))

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: ARG002, D102
        if self.connection.waits:
            self.refuse(exc)

    def give_up(self) -> None:  # noqa: D102
        self.connection.abort()


class LeaseRequest(CallRequest):
    """A call that leases tasks immediately, or waits until there are some."""

    __slots__ = ("holder", "want")
    may_come_back: ClassVar[bool] = False
    """Whether the peer asks again after an early reply without tasks: executors do."""

    def __init__(self, connection: ServerConnection, holder: Holder, want: int) -> None:
        super().__init__(connection)
        self.holder = holder
        """The executor, or the standard-library program, that holds the leases."""
        self.want = want
        """Maximum tasks of the reply."""

    def can_receive(self) -> bool:
        """Whether the peer can still receive a task."""
        return True

    def wanted(self, name: str) -> bool:
        """Whether the peer runs tasks of this name."""
        raise NotImplementedError

    def give(self, cycle: Cycle, tasks: list[Task], now: float) -> None:
        """Reply with tasks that were leased to `holder` in this cycle."""
        raise NotImplementedError


LEASE: Final = "lease"
"""Reason of a lease that ended because its holder did not renew it in time."""


class LoseLeases(Request):
    """Ends the leases of a holder; no peer waits for a reply, but the request must succeed."""

    __slots__ = ("begun", "cause", "holder", "leases", "reason", "running", "unexplained")
    only_ends = True

    def __init__(
        self,
        holder: Holder,
        reason: str,
        cause: str,
        running: int | None = None,
        begun: Container[int] = (),
        *,
        unexplained: bool = False,
    ) -> None:
        super().__init__()
        self.holder = holder
        self.reason = reason
        self.cause = cause
        self.running = running
        self.begun = begun
        self.unexplained = unexplained
        self.leases = 0

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        self.leases = max(self.leases, len(self.holder.held))  # `decide` may be called more than once
        return cycle.ledger.lose(
            self.holder, self.reason, self.cause, self.running, self.begun, unexplained=self.unexplained
        )

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102
        cycle.refused.ask_later(self, exc, now)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        if self.reason == LEASE:
            cycle.ledger.leasing.journal.count_expired(self.holder.pool, self.leases)


def fitting(requests: Sequence[Request], limits: StoreLimits) -> int:
    """How many of the first requests go into one commit: as many as fill half of the store's limits.

    The other half is for what is due in the ledger, such as ends of delays and of results. The first request always
    goes: if it alone is too large, the store's refusal is its reply.
    """
    if len(requests) == 1:  # the usual cycle of a master that is not busy
        return 1
    changes, room_bytes = limits.batch_changes_max // 2, limits.batch_bytes_max // 2
    for index, request in enumerate(requests):
        if changes <= 0 or room_bytes <= 0:
            return index
        added, added_bytes = request.weight()
        changes, room_bytes = changes - added, room_bytes - added_bytes
    return len(requests)


def seconds(value: Any) -> float:
    """Checks a peer's timeout, and cuts it to WAIT_MAX_S; raises TypeError or ValueError for anything but seconds."""
    if not isinstance(value, int | float):
        raise TypeError("'timeout' must be a number or None")
    if not value >= 0:  # NaN too, with which no deadline can be compared
        raise ValueError("'timeout' must be a non-negative number")
    return float(min(value, WAIT_MAX_S))
