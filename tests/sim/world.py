"""Virtual time, wires that can be cut, and actors that call over them: what every simulated process lives in.

An actor is a generator. It yields what it waits for (`Connect`, `InertCall`, `Sleep`) and is resumed with the outcome,
or with `Lost` where its connection has broken. Everything that happens is one event of one heap, so that a seed
replays a whole run.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol

from distq.wire.inert import InertCall as MasterCall
from distq.wire.inert import read_call
from distq.wire.messages import decode_reply, encode_call


class Lost(Exception):
    """The connection has broken: whether the call was handled, nobody knows."""


class Connect(NamedTuple):
    """Wait for a connection to the master."""


class Call(NamedTuple):
    """Wait for the answer to a call on the connection."""

    ident: str
    method: str
    args: tuple[object, ...] = ()
    timeout_s: float = 60.0


class Sleep(NamedTuple):
    """Wait for so long, or until `Actor.wake`."""

    seconds: float


Script = Generator[Connect | Call | Sleep, Any, None]


class Desk(Protocol):
    """Whoever answers calls."""

    def called(self, line: Any, call: MasterCall) -> None:
        """Answer a call by `line.reply`."""
        ...

    def gone(self, line: Any) -> None:
        """A connection has ended."""
        ...


class World:
    """The heap of events, the clock, and the dice."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.at = 1_000_000.0
        """Seconds that have passed: what no clock shows, and by which everything happens."""
        self.wall_s = 0.0
        """How far the machine's clock was set, and ..."""
        self.followed_s = 0.0
        """... how far the master has followed it."""
        self.set_at = 0.0
        """When it was set last."""
        self.calm = False
        """Whether nothing breaks at present."""
        self.cancelled: set[int] = set()
        """Tasks that their clients wanted to cancel."""
        self.purged: set[int] = set()
        """Dead letters that an operator has let go, ..."""
        self.requeued: set[int] = set()
        """... and those that it had tried again: they end once more."""
        self.desk: Desk | None = None
        """The master that takes connections now."""
        self.wires: dict[Wire, None] = {}
        """Connections that at least one end believes in."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def now(self) -> float:
        """The present moment by the master's clock."""
        return self.at + self.followed_s

    def set_the_clock(self, by_s: float) -> None:
        """Set the machine's clock forwards, or back."""
        self.wall_s += by_s
        self.set_at = self.at

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Have something happen in so many seconds."""
        self._count += 1
        heapq.heappush(self._events, (self.at + seconds, self._count, event))

    def step(self) -> None:
        """Let the next thing happen."""
        at, _, event = heapq.heappop(self._events)
        self.at = max(self.at, at)
        event()

    def chance(self, probability: float) -> bool:
        """Whether something that breaks breaks now."""
        return not self.calm and self.dice.random() < probability

    def delay_s(self) -> float:
        """How long a message is under way: usually an instant, now and then long."""
        number = self.dice.random()
        return number * 0.0005 if number < 0.97 or self.calm else self.dice.random() * 3.0


class Wire:
    """One connection: the actor's end, and the master's, which is a `Line` to the desk."""

    def __init__(self, world: World, actor: Actor, desk: Desk) -> None:
        self.peer = actor.name
        self.state: object = None
        self.open = True
        """Whether the master believes in it."""
        self.whole = True
        """Whether the actor believes in it and its bytes arrive."""
        self.closed = False
        """Whether the actor's end is closed in a way that the master's machine has heard of."""
        self._world = world
        self._actor = actor
        self._desk = desk
        self._calls: deque[bytes] = deque()
        self._busy = False
        self._arrives_at = 0.0
        world.wires[self] = None

    # -- the master's end ----------------------------------------------------------------------

    def reply(self, body: bytes) -> None:
        """The master answers the present call."""
        assert self._busy, "one call is answered once"
        self._busy = False
        if self.whole:
            self._world.later(self._world.delay_s(), lambda: self._answered(body))
        if self._calls:
            self._world.later(0.0, self._next)

    def reply_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """The same, with the length before it."""
        self.reply(b"".join(parts)[4:])

    @property
    def waits(self) -> bool:
        """Whether the present call is not answered yet."""
        return self._busy

    @property
    def has_called_again(self) -> bool:
        """Whether a call waits behind the present one."""
        return bool(self._calls)

    def is_connected(self) -> bool:
        """Whether the machine has not heard of the other end's close."""
        return self.open and not self.closed

    def abort(self) -> None:
        """The master gives the connection up."""
        self._world.later(0.0, self.gone)
        self._world.later(self._world.delay_s(), self._break)

    close = abort

    def gone(self) -> None:
        """The master hears of the connection's end."""
        if self.open:
            self.open = False
            self._calls.clear()
            self._desk.gone(self)
            self._forget()

    # -- the actor's end -----------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """A call is on its way; calls arrive in order."""
        at = max(self._arrives_at, self._world.at + self._world.delay_s())
        self._arrives_at = at
        self._world.later(at - self._world.at, lambda: self._arrive(frame))

    def cut(self, *, heard_s: float, arrives: bool) -> None:
        """The connection breaks now: the master hears of it later, what is under way arrives before that or never."""
        if not self.whole:
            return
        self.whole = False
        self.closed = heard_s < 1.0 and not arrives
        if arrives:
            heard_s = max(heard_s, self._arrives_at - self._world.at)
        else:
            self._calls.clear()
            self._arrives_at = -1.0
        self._world.later(heard_s, self.gone)
        self._actor.lost(self)
        self._forget()

    def _break(self) -> None:
        if self.whole:
            self.whole = False
            self._actor.lost(self)
            self._forget()

    def _arrive(self, frame: bytes) -> None:
        if self.open and self._arrives_at >= 0:
            self._calls.append(frame)
            self._next()

    def _next(self) -> None:
        if self.open and self._calls and not self._busy:
            self._busy = True
            self._desk.called(self, read_call(self._calls.popleft()))

    def _answered(self, body: bytes) -> None:
        if self.whole:
            self._actor.answered(self, body)

    def _forget(self) -> None:
        if not self.open and not self.whole:
            self._world.wires.pop(self, None)


class Actor:
    """A process, or a thread of one: a script that runs, waits, can be frozen and killed."""

    def __init__(self, world: World, name: str, script: Callable[[Actor], Script]) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.frozen_until = 0.0
        self.wire: Wire | None = None
        self._waits: Connect | Call | Sleep | None = None
        self._turn = 0
        self._script = script(self)
        world.later(0.0, lambda: self._resume(None))

    def kill(self, *, heard_s: float, arrives: bool) -> None:
        """End at once; the connection ends as `Wire.cut` says."""
        self.alive = False
        self._script.close()
        if self.wire is not None:
            self.wire.cut(heard_s=heard_s, arrives=arrives)

    def wake(self) -> None:
        """End its sleep."""
        if isinstance(self._waits, Sleep):
            self._soon(None)

    def lost(self, wire: Wire) -> None:
        """Its connection has broken; it notices when it next waits for an answer."""
        if wire is self.wire and isinstance(self._waits, Call):
            self._soon(Lost())

    def answered(self, wire: Wire, body: bytes) -> None:
        """An answer has come."""
        if wire is self.wire and isinstance(self._waits, Call):
            try:
                answer: object = decode_reply(body)
            except Exception as exc:  # noqa: BLE001 - the script is told, whatever it is
                answer = exc
            self._soon(answer)

    def _soon(self, outcome: object) -> None:
        """Go on with this outcome, once; what else would have ended this wait is void."""
        self._turn += 1
        turn = self._turn
        self._waits = None
        self.world.later(0.0, lambda: self._resume(outcome, turn))

    def _resume(self, outcome: object, turn: int = 0) -> None:
        if not self.alive or turn != self._turn:
            return
        if self.frozen_until > self.world.at:
            self.world.later(self.frozen_until - self.world.at, lambda: self._resume(outcome, turn))
            return
        try:
            wish = self._script.throw(outcome) if isinstance(outcome, Exception) else self._script.send(outcome)
        except StopIteration:
            self.kill(heard_s=0.0, arrives=True)
            return
        self._turn += 1
        self._waits = wish
        self._begin(wish)

    def _begin(self, wish: Connect | Call | Sleep) -> None:
        world, turn = self.world, self._turn
        match wish:
            case Sleep(seconds):
                world.later(seconds, lambda: self._over(turn, None))
            case Connect():
                world.later(world.delay_s(), lambda: self._connect(turn))
            case Call(ident, method, args, timeout_s):
                if self.wire is None or not self.wire.whole:
                    self._soon(Lost())
                    return
                self.wire.send(encode_call(ident, method, args))
                world.later(timeout_s, lambda: self._over(turn, Lost()))

    def _over(self, turn: int, outcome: object) -> None:
        if self.alive and turn == self._turn and self._waits is not None:
            if isinstance(outcome, Lost) and self.wire is not None:
                self.wire.cut(heard_s=0.01, arrives=True)  # it gives the connection up
            if self._waits is not None:
                self._soon(outcome)

    def _connect(self, turn: int) -> None:
        if not self.alive or turn != self._turn:
            return
        if self.wire is not None:
            self.wire.cut(heard_s=0.0, arrives=True)
        if self.world.desk is None:
            self.world.later(0.5, lambda: self._connect(turn))
            return
        self.wire = Wire(self.world, self, self.world.desk)
        self._soon(None)
