"""Virtual time, connections that can break, and actors that call over them: the parts of every simulated process.

An actor is a generator. It yields what it waits for (`Connect`, `Call`, `Sleep`) and is resumed with the outcome, or
with `ConnectionLost` if its connection has broken. All events are in one heap, so that a seed replays a whole run.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol

from distq.protocol.authority import OPERATOR
from distq.wire.inert import InertCall as MasterCall
from distq.wire.inert import read_call
from distq.wire.messages import decode_reply, encode_call


class ConnectionLost(Exception):
    """The connection has broken; the caller does not know whether the call was handled."""


class Connect(NamedTuple):
    """Wait for a connection to the master."""


class Call(NamedTuple):
    """Wait for the answer to a call on the connection."""

    ident: str
    method: str
    args: tuple[object, ...] = ()
    timeout_s: float = 60.0


class Sleep(NamedTuple):
    """Wait for `seconds`, or until `Actor.wake`."""

    seconds: float


Script = Generator[Connect | Call | Sleep, Any, None]


class CallHandler(Protocol):
    """The simulated master, which answers calls."""

    def called(self, connection: Any, call: MasterCall) -> None:
        """Answer a call by `line.reply`."""
        ...

    def connection_closed(self, connection: Any) -> None:
        """Handle the end of a connection."""
        ...


class World:
    """The heap of events, the time, and the random numbers."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.at = 1_000_000.0
        """The time of the simulation in seconds; it orders all events, and no simulated clock shows it."""
        self.wall_offset_s = 0.0
        """By how many seconds the machine's clock was set in all."""
        self.followed_offset_s = 0.0
        """By how many of these seconds the master has moved its own clock."""
        self.set_at = 0.0
        """When the machine's clock was set last."""
        self.fault_free = False
        """Whether the simulation injects no fault at present."""
        self.cancelled: set[int] = set()
        """Keys of the tasks that clients have asked to cancel."""
        self.purged: set[int] = set()
        """Keys of the dead letters that the operator has purged."""
        self.requeued: set[int] = set()
        """Keys of the dead letters that the operator has requeued; these tasks end once more."""
        self.route: Callable[[], CallHandler | None] = lambda: None
        """Returns the master that accepts a new connection at present, if one does."""
        self.replied: Callable[[CallHandler], None] = lambda _: None
        """Called when a master answers a call."""
        self.connections: dict[Connection, None] = {}
        """Connections that at least one end regards as open."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def now(self) -> float:
        """The present time by the master's clock."""
        return self.at + self.followed_offset_s

    def set_the_clock(self, by_s: float) -> None:
        """Set the machine's clock forward or back."""
        self.wall_offset_s += by_s
        self.set_at = self.at

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Plan an event that happens after `seconds`."""
        self._count += 1
        heapq.heappush(self._events, (self.at + seconds, self._count, event))

    def step(self) -> None:
        """Run the next event."""
        at, _, event = heapq.heappop(self._events)
        self.at = max(self.at, at)
        event()

    def chance(self, probability: float) -> bool:
        """Whether a fault of this probability happens now."""
        return not self.fault_free and self.rng.random() < probability

    def delay_s(self) -> float:
        """The seconds that a message travels: usually below a millisecond, sometimes up to 3 s."""
        number = self.rng.random()
        return number * 0.0005 if number < 0.97 or self.fault_free else self.rng.random() * 3.0


class Connection:
    """One connection: the end of the actor, and the end of the master, which is its `ServerConnection`."""

    def __init__(self, world: World, actor: Actor, handler: CallHandler) -> None:
        self.peer = actor.name
        self.state: object = None
        self.authority = OPERATOR
        self.reads_split = False
        self.open = True
        """Whether the master regards the connection as open."""
        self.intact = True
        """Whether the actor regards the connection as open, and its bytes arrive."""
        self.closed = False
        """Whether the actor's end is closed and the master's machine has received that."""
        self._world = world
        self._actor = actor
        self.handler = handler
        self._calls: deque[bytes] = deque()
        self._busy = False
        self._arrives_at = 0.0
        world.connections[self] = None

    # -- the master's end ----------------------------------------------------------------------

    def reply(self, body: bytes) -> None:
        """Answer the present call for the master."""
        assert self._busy, "one call is answered once"
        self._world.replied(self.handler)
        self._busy = False
        if self.intact:
            self._world.later(self._world.delay_s(), lambda: self._answered(body))
        if self._calls:
            self._world.later(0.0, self._next)

    def reply_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Answer the present call with a frame that begins with its length."""
        self.reply(b"".join(parts)[4:])

    @property
    def waits(self) -> bool:
        """Whether the present call has no answer yet."""
        return self._busy

    @property
    def has_called_again(self) -> bool:
        """Whether another call waits behind the present one."""
        return bool(self._calls)

    def is_connected(self) -> bool:
        """Whether the master's machine has not received the close of the actor's end."""
        return self.open and not self.closed

    def abort(self) -> None:
        """Close the connection from the master's end."""
        self._world.later(0.0, self.connection_closed)
        self._world.later(self._world.delay_s(), self._break)

    close = abort

    def connection_closed(self) -> None:
        """Let the master notice the end of the connection."""
        if self.open:
            self.open = False
            self._calls.clear()
            self.handler.connection_closed(self)
            self._forget()

    # -- the actor's end -----------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Send a call to the master; calls arrive in order."""
        at = max(self._arrives_at, self._world.at + self._world.delay_s())
        self._arrives_at = at
        self._world.later(at - self._world.at, lambda: self._arrive(frame))

    def cut(self, *, noticed_in_s: float, arrives: bool) -> None:
        """Break the connection now; the master notices it later, and calls on their way arrive before that or never."""
        if not self.intact:
            return
        self.intact = False
        self.closed = noticed_in_s < 1.0 and not arrives
        if arrives:
            noticed_in_s = max(noticed_in_s, self._arrives_at - self._world.at)
        else:
            self._calls.clear()
            self._arrives_at = -1.0
        self._world.later(noticed_in_s, self.connection_closed)
        self._actor.lost(self)
        self._forget()

    def _break(self) -> None:
        if self.intact:
            self.intact = False
            self._actor.lost(self)
            self._forget()

    def _arrive(self, frame: bytes) -> None:
        if self.open and self._arrives_at >= 0:
            self._calls.append(frame)
            self._next()

    def _next(self) -> None:
        if self.open and self._calls and not self._busy:
            self._busy = True
            self.handler.called(self, read_call(self._calls.popleft()))

    def _answered(self, body: bytes) -> None:
        if self.intact:
            self._actor.answered(self, body)

    def _forget(self) -> None:
        if not self.open and not self.intact:
            self._world.connections.pop(self, None)


class Actor:
    """A process or one of its threads: a script that runs and waits, and that can be frozen and killed."""

    def __init__(self, world: World, name: str, script: Callable[[Actor], Script]) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.frozen_until = 0.0
        self.connection: Connection | None = None
        self._waits: Connect | Call | Sleep | None = None
        self._wait_number = 0
        self._script = script(self)
        world.later(0.0, lambda: self._resume(None))

    def kill(self, *, noticed_in_s: float, arrives: bool) -> None:
        """End immediately; the connection ends as `Connection.cut` describes."""
        self.alive = False
        self._script.close()
        if self.connection is not None:
            self.connection.cut(noticed_in_s=noticed_in_s, arrives=arrives)

    def wake(self) -> None:
        """End the sleep of the actor."""
        if isinstance(self._waits, Sleep):
            self._resume_soon(None)

    def lost(self, connection: Connection) -> None:
        """Handle a broken connection; the actor notices it when it next waits for an answer."""
        if connection is self.connection and isinstance(self._waits, Call):
            self._resume_soon(ConnectionLost())

    def answered(self, connection: Connection, body: bytes) -> None:
        """Resume the actor with an answer."""
        if connection is self.connection and isinstance(self._waits, Call):
            try:
                answer: object = decode_reply(body)
            except Exception as exc:  # noqa: BLE001 - the script receives every exception
                answer = exc
            self._resume_soon(answer)

    def _resume_soon(self, outcome: object) -> None:
        """Resume with this outcome once; later events for the same wait have no effect."""
        self._wait_number += 1
        wait_number = self._wait_number
        self._waits = None
        self.world.later(0.0, lambda: self._resume(outcome, wait_number))

    def _resume(self, outcome: object, wait_number: int = 0) -> None:
        if not self.alive or wait_number != self._wait_number:
            return
        if self.frozen_until > self.world.at:
            self.world.later(self.frozen_until - self.world.at, lambda: self._resume(outcome, wait_number))
            return
        try:
            wait = self._script.throw(outcome) if isinstance(outcome, Exception) else self._script.send(outcome)
        except StopIteration:
            self.kill(noticed_in_s=0.0, arrives=True)
            return
        self._wait_number += 1
        self._waits = wait
        self._begin(wait)

    def _begin(self, wait: Connect | Call | Sleep) -> None:
        world, wait_number = self.world, self._wait_number
        match wait:
            case Sleep(seconds):
                world.later(seconds, lambda: self._end_wait(wait_number, None))
            case Connect():
                world.later(world.delay_s(), lambda: self._connect(wait_number))
            case Call(ident, method, args, timeout_s):
                if self.connection is None or not self.connection.intact:
                    self._resume_soon(ConnectionLost())
                    return
                self.connection.send(encode_call(ident, method, args))
                world.later(timeout_s, lambda: self._end_wait(wait_number, ConnectionLost()))

    def _end_wait(self, wait_number: int, outcome: object) -> None:
        if self.alive and wait_number == self._wait_number and self._waits is not None:
            if isinstance(outcome, ConnectionLost) and self.connection is not None:
                self.connection.cut(noticed_in_s=0.01, arrives=True)  # the actor closes its connection
            if self._waits is not None:
                self._resume_soon(outcome)

    def _connect(self, wait_number: int) -> None:
        if not self.alive or wait_number != self._wait_number:
            return
        if self.connection is not None:
            self.connection.cut(noticed_in_s=0.0, arrives=True)
        if (handler := self.world.route()) is None:
            self.world.later(0.5, lambda: self._connect(wait_number))
            return
        self.connection = Connection(self.world, self, handler)
        self._resume_soon(None)
