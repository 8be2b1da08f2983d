"""Plain queues: what a standard-library program's `queue.Queue` proxy can call, on the ledger.

There is no acknowledgement in that protocol. So an item taken from a work queue is leased to its connection,
and settled by that connection's next result-queue `put`, `task_done()` or work-queue `get`. However the
connection ends, an unsettled item goes back and the delivery is counted. From a result queue an item is settled
when the reply is written.
"""

from __future__ import annotations

import queue as standard
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError, QueueFull
from distq.core.option_values import PLAIN
from distq.core.outcome import Outcome
from distq.core.queue import RESULT, WORK, Queue
from distq.core.task import Task
from distq.master.calls.plain_peer import PlainPeer, settled
from distq.master.calls.stdlib_programs import StdlibPrograms
from distq.master.cycle.requests import CallRequest, LeaseRequest, LoseLeases, Request, seconds
from distq.wire.messages import raised, refused, returned
from distq.wire.splice import item, packed_item

if TYPE_CHECKING:
    from distq.core.ports import CommitRefused
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection
    from distq.wire.inert import InertCall

TAKING: Final = frozenset({"get", "get_nowait"})
METHODS: Final = (
    "empty",
    "full",
    "get",
    "get_nowait",
    "join",
    "put",
    "put_nowait",
    "qsize",
    "task_done",
)


class PutItem(CallRequest):
    """`put(item, block, timeout)`: a submit; on a result queue it settles what the connection holds."""

    __slots__ = ("body", "peer", "queue")

    def __init__(self, connection: ServerConnection, peer: PlainPeer, queue: Queue[Task], body: bytes) -> None:
        super().__init__(connection)
        self.peer = peer
        self.queue = queue
        self.body = body

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return 1, len(self.body)

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        if self.queue.room < 1 and (self.until_at is None or self.until_at > now):
            cycle.park_until_room(self, self.queue)
            return False
        ledger = cycle.ledger
        taken = self.queue.room > 0 and len(self.body) <= ledger.defaults.payload_bytes_max
        # A result that is not taken settles nothing: its item would be gone without one.
        if taken and self.queue.role == RESULT and not settled(cycle, self.peer, now):
            return False
        key_name = self.connection.authority.name if self.queue.role == WORK else ""
        envelope = ledger.registry.envelope(self.queue.name, PLAIN, PLAIN, key_name=key_name)
        if self.queue.role == WORK:
            ledger.check_room(envelope, 1)
        ledger.submit(envelope, (self.body,), None, now)
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.connection.reply(NOTHING)

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.connection.reply(FULL)

    def refuse(self, exc: DistqError) -> None:  # noqa: D102
        if isinstance(exc, QueueFull):
            self.connection.reply(FULL)
        else:
            super().refuse(exc)

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        self.refuse(exc)


class GetItem(LeaseRequest):
    """`get(block, timeout)`: leases an item; on a work queue it settles the item that the connection holds."""

    __slots__ = ("lease_s", "peer", "queue")
    only_ends = True

    def __init__(
        self, connection: ServerConnection, peer: PlainPeer, queue: Queue[Task], lease_s: float | None
    ) -> None:
        super().__init__(connection, peer, 1)
        self.peer = peer
        self.queue = queue
        self.lease_s = lease_s

    def can_receive(self) -> bool:  # noqa: D102 - as LeaseRequest
        return self.connection.is_connected()

    def wanted(self, name: str) -> bool:  # noqa: D102 - as LeaseRequest
        return name == PLAIN

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102
        return self.queue.role == RESULT or settled(cycle, self.peer, now)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        if not self.connection.open:
            return
        queues = (self.queue,)
        if cycle.lease(self, queues, now):
            return
        if self.until_at is not None and self.until_at <= now:
            self.connection.reply(EMPTY)
        else:
            cycle.park(self, queues)

    def give(self, cycle: Cycle, tasks: list[Task], now: float) -> None:  # noqa: D102
        task = tasks[0]
        self.queue.gets += 1
        assert task.body is not None
        self.connection.reply_parts(packed_item(task.body))
        if self.queue.role == RESULT:
            cycle.ask(SettleItem(task))
        elif self.lease_s is not None:
            self.peer.lapsed = None
            self.peer.renew_lease(cycle, now + self.lease_s)

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102
        if self.queue.role == WORK and self.peer.item is not None:
            self.refuse(exc)  # the store refused to settle the item that the peer holds
        else:
            self.answer(cycle, now)

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.connection.reply(EMPTY)


class SettleItem(Request):
    """Settles an item of a result queue, which the master has written to its reader."""

    __slots__ = ("task",)
    only_ends = True

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102
        task = self.task
        return cycle.ledger.settle(task.task_key, task.delivery, Outcome.SUCCESS, None, now - task.leased_at)

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102
        cycle.refused.ask_later(self, exc, now)


class ItemDone(CallRequest):
    """`task_done()`: settles what the connection holds; `queue.Queue` refuses more of them than gets.

    On a result queue it only counts: a worker may collect results while it works on an item.
    """

    __slots__ = ("peer", "queue")
    only_ends = True

    def __init__(self, connection: ServerConnection, peer: PlainPeer, queue: Queue[Task]) -> None:
        super().__init__(connection)
        self.peer = peer
        self.queue = queue

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102
        queue = self.queue
        return queue.role == RESULT or queue.done >= queue.gets or settled(cycle, self.peer, now)

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102
        if self.queue.role == WORK and self.peer.item is not None:
            self.refuse(exc)
        else:
            self.answer(cycle, now)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        if self.queue.done >= self.queue.gets:
            self.connection.reply(TOO_OFTEN)
        else:
            self.queue.done += 1
            self.connection.reply(NOTHING)


class JoinQueue(CallRequest):
    """`join()`: waits until the queue has nothing that is waiting or held."""

    __slots__ = ("queue",)

    def __init__(self, connection: ServerConnection, queue: Queue[Task]) -> None:
        super().__init__(connection)
        self.queue = queue

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        if self.queue.live:
            cycle.park_until_end(self, self.queue)
        else:
            self.connection.reply(NOTHING)


NOTHING: Final = returned(None)
EMPTY: Final = raised(standard.Empty())
FULL: Final = raised(standard.Full())
TOO_OFTEN: Final = raised(ValueError("task_done() called too many times"))


class PlainQueues:
    """Answers the calls of `queue.Queue` proxies."""

    def __init__(self, cycle: Cycle, lease_s: float | None, keeps_none: Callable[[str], None]) -> None:
        self._cycle = cycle
        self._lease_s = lease_s
        self.programs = StdlibPrograms(cycle, lease_s, keeps_none)
        self._answers: dict[str, Callable[[ServerConnection, PlainPeer, Queue[Task], InertCall], None]] = {
            "put": self._put,
            "put_nowait": self._put,
            "get": self._get,
            "get_nowait": self._get,
            "task_done": lambda connection, peer, queue, _: self._ask(peer, ItemDone(connection, peer, queue)),
            "join": lambda connection, peer, queue, _: self._ask(peer, JoinQueue(connection, queue)),
            "qsize": lambda connection, _peer, queue, _call: connection.reply(returned(queue.waiting)),
            "empty": lambda connection, _peer, queue, _call: connection.reply(returned(not queue.waiting)),
            "full": lambda connection, _peer, queue, _call: connection.reply(returned(queue.room < 1)),
            # What `print(queue)` and a debugger ask for; not among METHODS, as in the standard library.
            "__repr__": lambda connection, _peer, queue, _call: connection.reply(
                returned(f"<distq queue {queue.name!r}>")
            ),
            "__str__": lambda connection, _peer, queue, _call: connection.reply(
                returned(f"<distq queue {queue.name!r}>")
            ),
        }

    def called(self, connection: ServerConnection, queue: Queue[Task], call: InertCall, caller: str = "") -> None:
        """Answer one call on `queue` by a proxy of `caller`, now or when it can be."""
        answer = self._answers.get(call.method)
        if answer is None:
            connection.reply(
                refused(f"{call.method}() is not offered on a queue; the methods are {', '.join(METHODS)}.")
            )
            return
        peer = connection.state
        if not isinstance(peer, PlainPeer):
            if peer is not None:
                connection.reply(
                    refused(
                        "This connection has called hello(); call the methods of a queue over a connection of its own."
                    )
                )
                return
            peer = connection.state = self.programs.peer(connection, caller)
        self.programs.called(peer, caller, takes=queue.role == WORK and call.method in TAKING)
        try:
            answer(connection, peer, queue, call)
        except (TypeError, ValueError) as exc:  # a wrong argument, as the caller's own queue would tell it
            connection.reply(raised(exc))

    def gone(self, peer: PlainPeer) -> None:
        """The connection has ended: its request is forgotten, its item goes back, unless its program works on that."""
        if peer.request is not None:
            self._cycle.forget(peer.request)
        if peer.held and not self.programs.detach(peer):
            self._cycle.ask(LoseLeases(peer, "connection", "its connection was lost"))

    def _ask(self, peer: PlainPeer, request: Request) -> None:
        peer.request = request
        self._cycle.ask(request)

    def _put(self, connection: ServerConnection, peer: PlainPeer, queue: Queue[Task], call: InertCall) -> None:
        request = PutItem(connection, peer, queue, item(call))
        request.until_at = self._until_at(call, 1)
        self._ask(peer, request)

    def _get(self, connection: ServerConnection, peer: PlainPeer, queue: Queue[Task], call: InertCall) -> None:
        request = GetItem(connection, peer, queue, self._lease_s)
        request.until_at = self._until_at(call, 0)
        self._ask(peer, request)

    def _until_at(self, call: InertCall, first: int) -> float | None:
        """Instant at which a blocking call gives up, None for never; raises as `queue.Queue` does."""
        now = self._cycle.clock.now()
        if call.method.endswith("_nowait"):
            return now
        block = _argument(call, first, "block", default=True)
        timeout_s = _argument(call, first + 1, "timeout", default=None)
        if not block:
            return now
        if timeout_s is None:
            return None
        return now + seconds(timeout_s)


def _argument(call: InertCall, index: int, name: str, *, default: object) -> object:
    return call.args[index] if len(call.args) > index else call.kwds.get(name, default)
