"""What the broker's cycle handles: requests, from the call that makes one to the reply that ends it."""

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
    from distq.master.cycle.payload_reads import Then
    from distq.master.cycle.request_guard import RequestGuard
    from distq.net.serve import ServerConnection


REFUSED_PAUSE_S: Final = 1.0
"""What must happen and the store refused is tried again after so long."""
FAULT_PAUSE_S: Final = 10.0
"""Pause before a request of no peer is tried again that an error of the master's own has ended."""
WAIT_MAX_S: Final = DURATION_MAX_S
"""The longest wait that a peer can ask for."""


class Cycle(Protocol):
    """What a request may use of the broker: `distq.master.cycle.broker.Broker` is the one there is."""

    ledger: Ledger
    clock: Clock
    store: Store
    guard: RequestGuard
    reply_bytes_max: int
    refusals: int
    draining: bool
    push: Callable[[], None]
    """Sends what has ended to the clients that wait for it."""

    def ask(self, request: Request) -> None:
        """Have the next cycle handle a request."""

    def ask_again(self, request: Request) -> None:
        """Have the next cycle decide the rest of a request; it comes when there is one anyway."""

    def ask_at(self, at: float, request: Request) -> None:
        """Have the cycle handle a request at an instant (seconds of the broker's clock)."""

    def wake(self) -> None:
        """Run a cycle as soon as the master has read what is readable now."""

    def park(self, take: LeaseRequest, queues: tuple[Queue, ...] | None) -> None:
        """Let a request wait for tasks of these queues (None: of every work queue) until its `until`."""

    def park_until_room(self, request: Request, queue: Queue, room: int = 1) -> None:
        """Let a request wait until the queue has room for `room` tasks; it is decided anew then."""

    def park_until_end(self, request: Request, queue: Queue) -> None:
        """Let a request wait until the queue has no live task."""

    def park_idle(self, request: Request) -> None:
        """Let a request wait until its `until`, or until the code that keeps it answers it."""

    def forget(self, request: Request) -> None:
        """End the wait of a request, because its peer has gone or is answered now."""

    def expire(self, request: Request, now: float) -> None:
        """End the wait of a request because its time is over."""

    def lease(self, take: LeaseRequest, queues: tuple[Queue, ...] | None, now: float) -> bool:
        """Lease ready tasks to a request immediately; False if there are none for it."""

    def read(self, request: Request, keys: Sequence[int], then: Then, bytes_max: int | None = None) -> None:
        """Have the present or the next cycle read bodies from the store for a request, and hand them to `then`."""

    def keep_row(self, key: int, row: Row) -> None:
        """Have the next commit keep a row that is no task (its key is negative)."""

    def fetch(self, task: Task) -> None:
        """Have the present or the next cycle read a task's payload."""

    def shift(self, by_s: float) -> None:
        """The clock was set: durations end when they would have ended, dates come by the clock as it is now."""


class Request:
    """Something for the cycle: decide, then (after the commit) answer.

    A request whose answer must wait (for a task, for room) is parked by the broker and comes back through
    `give`, `decide` or `expire`.
    """

    __slots__ = ("parked", "place", "until")
    only_ends: bool = False
    """Whether it only ends what there is, and can be decided a second time in one cycle: a store that has no room for
    more takes that, so it is not refused together with what brings more."""
    follows_wall_clock: ClassVar[bool] = False
    """Whether the instant at which it is due is one of the calendar; others are ends of durations."""

    def __init__(self) -> None:
        self.until: float | None = None
        """When it stops waiting, None for never."""
        self.parked = False
        self.place: dict[Request, int] | None = None
        """Where the broker keeps it while it waits, if not among those who wait for tasks."""

    @property
    def holds(self) -> bool:
        """Whether it has still something to do when it is due."""
        return True

    def weight(self) -> tuple[int, int]:
        """How many changes it brings to a commit, and how many bytes, about."""
        return 1, 0

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002 - most only answer
        """Have the ledger note what this asks for; False puts the rest off to the next cycle."""
        return True

    def answer(self, cycle: Cycle, now: float) -> None:
        """Reply, or park: what was decided is stored and has happened."""

    def expire(self, cycle: Cycle, now: float) -> None:
        """Reply that the wait is over."""

    def refuse(self, exc: DistqError) -> None:
        """Reply that it cannot be done; nothing was changed."""

    def shift(self, by_s: float) -> None:
        """The clock was set: the end of a wait, or of another duration that this knows, moves with it."""
        if self.until is not None:
            self.until += by_s

    def undo(self) -> None:
        """What `decide` has noted outside the ledger is taken back: it failed, or is to be decided once more."""

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: ARG002 - nobody waits for its answer
        """An error of the master's own has ended it; what no peer has asked for must happen, so it comes again."""
        cycle.ask_at(now + FAULT_PAUSE_S, self)

    def give_up(self) -> None:
        """Not even its refusal can be told."""

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002 - most have changed nothing
        """The store refused the commit: nothing that `decide` noted has happened."""
        self.answer(cycle, now)


class CallRequest(Request):
    """A peer's call on its way through the cycle, to the one reply that ends it."""

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
    """A request for tasks: leased at once, or parked until there are some."""

    __slots__ = ("holder", "want")
    may_come_back: ClassVar[bool] = False
    """Whether whoever asks takes an early "nothing" for an invitation to ask again."""

    def __init__(self, connection: ServerConnection, holder: Holder, want: int) -> None:
        super().__init__(connection)
        self.holder = holder
        self.want = want

    def there(self) -> bool:
        """Whether who waits can still be given a task."""
        return True

    def wanted(self, name: str) -> bool:
        """Whether it takes tasks of this name."""
        raise NotImplementedError

    def give(self, cycle: Cycle, tasks: list[Task], now: float) -> None:
        """Reply with tasks that are leased to `holder` now."""
        raise NotImplementedError


LEASE: Final = "lease"
"""Reason of an end: nobody has renewed the lease in time."""


class LoseLeases(Request):
    """The leases of a holder end: nobody waits for the answer, but it must happen."""

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
        self.leases = max(self.leases, len(self.holder.held))  # it may come more than once
        return cycle.ledger.lose(
            self.holder, self.reason, self.cause, self.running, self.begun, unexplained=self.unexplained
        )

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        cycle.ask_at(now + REFUSED_PAUSE_S, self)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        if self.reason == LEASE:
            cycle.ledger.leasing.journal.count_expired(self.holder.pool, self.leases)


def fitting(requests: Sequence[Request], limits: StoreLimits) -> int:
    """How many of these, from the first on, go into one commit: as many as fill half of what the store takes.

    The other half is for what comes by itself, ends of pauses and of results. One request is never too much: what
    the store then says of it is its answer.
    """
    changes, room_bytes = limits.batch_changes_max // 2, limits.batch_bytes_max // 2
    for at, request in enumerate(requests):
        if changes <= 0 or room_bytes <= 0:
            return at
        more, more_bytes = request.weight()
        changes, room_bytes = changes - more, room_bytes - more_bytes
    return len(requests)


def seconds(value: Any) -> float:
    """A peer's number of seconds, from 0 to a year; raises TypeError or ValueError for anything else."""
    if not isinstance(value, int | float):
        raise TypeError("'timeout' must be a number or None")
    if not value >= 0:  # NaN too: no deadline can be compared with it
        raise ValueError("'timeout' must be a non-negative number")
    return float(min(value, WAIT_MAX_S))
