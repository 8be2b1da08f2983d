"""Who talks to the simulated master: clients, workers with their executors, programs of the standard library."""

from __future__ import annotations

import copy
import pickle
import queue as standard
from collections import Counter, deque
from collections.abc import Generator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

from tests.sim.master import LEASE_S, TTL_S
from tests.sim.world import Actor, Call, Connect, Lost, Script, Sleep, World

from distq.client.future import FutureOfParent, TaskFuture, settle_all
from distq.client.reader import Reader
from distq.client.state_machine import ClientState
from distq.core.states import CANCELLED, DEAD, EXPIRED, GONE, LATER, SUCCEEDED
from distq.core.stream_parts import PART_NUMBER
from distq.protocol.results import TaskEnd
from distq.wire.errors import RemoteRefusal

QUEUES: Final = ("q", "r")
NAMES: Final = ("f", "g")
KINDS: Final = (*[b"ok"] * 24, b"flaky", b"flaky", b"bad", b"poison")
DEADLY: Final = (b"poison", b"late", b"eats")
"""Tasks that kill their executor: while they run; when they have returned and their answer is not out; and as soon as
it is given them, with others."""
TASK_KINDS: Final = (*KINDS, b"snooze", b"snooze", b"discard", b"late", b"eats")
"""What tasks do; plain items know no other ends than a result."""
ENDS: Final = {
    SUCCEEDED: "succeeded",
    DEAD: "dead",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
    GONE: "gone after its time",
}
TURNS: Final = {"loud": 1, "quiet": 1, "two": 2}
"""Concurrency keys, and how many may be under way of each."""
SLOTS: Final = 3
"""Of a worker; some have fewer executors."""
REPLACED: Final = "replaced by a newer submit"
HELLO: Final = {"protocol": [1, 1], "version": "sim"}


def result_of(body: bytes) -> bytes:
    """What a task with these arguments returns."""
    return b"result of " + body


def expect(error: Lost | RemoteRefusal) -> None:
    """Check that a program was refused nothing but what the store could not take."""
    if isinstance(error, RemoteRefusal) and "the disk is full" not in str(error):
        raise AssertionError(str(error))


class Process:
    """What the futures of one process ask of their client."""

    def __init__(self, *, disowned: bool = False) -> None:
        self.disowned = disowned
        """Whether a fork has copied it from the parent process."""

    def lead(self, _future: object, timeout_s: float | None) -> float | None:
        """Another thread reads."""
        return timeout_s

    def future(self) -> TaskFuture[Any]:
        """A future of a submit that is about to be sent."""
        return TaskFuture(cast("Reader", self))


class Client:
    """One client session: submits on one connection, collects on another.

    Which ends reach its futures is decided by the state machine of distq's own client, and the futures are its own too.
    """

    def __init__(self, world: World, session: str) -> None:
        self.world = world
        self.session = session
        self.epoch = 0
        self.durable = False
        self.sent_at: dict[int, float] = {}
        """When each was sent for the first time."""
        self.accepted: dict[int, bytes] = {}
        """Tasks that the master took, and ..."""
        self.may_expire: set[int] = set()
        self.heard: dict[int, str] = {}
        """... what became of them."""
        self.number = 0
        self.state: ClientState[TaskFuture[Any]] = ClientState()
        self.process = Process()
        self.sending: list[TaskFuture[Any]] = []
        """Futures of the newest submit."""
        self.settled: deque[TaskFuture[Any]] = deque(maxlen=5)
        """Futures that were settled last."""
        self.inherited: list[tuple[TaskFuture[Any], bool]] = []
        """Futures that a fork has copied from the parent process, and whether they had ended before that."""
        self.adopted: set[int] = set()
        """Tasks of the parent process that this one has asked for by their ids."""
        self.submits_left: int | None = None
        """After how many more submits it ends as a program does, None for never."""
        self.over = False
        """Whether it has ended so."""
        self.actors = [
            Actor(world, f"{session} submits", self._submit),
            Actor(world, f"{session} collects", self._collect),
        ]

    def fork(self, session: str) -> Client:
        """A child process: it has copies of the futures, which are its parent's, and a session of its own."""
        child = Client(self.world, session)
        child.submits_left = self.world.dice.choice((0, 1, 3, None))
        copied = Process(disowned=True)
        known = self.state
        others = [future for futures in known.duplicates.values() for future in futures]
        for future in dict.fromkeys((*known.futures.values(), *others, *self.sending, *self.settled)):
            child.inherited.append((copy.copy(future), future.has_ended))
            child.inherited[-1][0]._reader = cast("Reader", copied)
        for key in known.futures.keys() & self.accepted.keys():
            if self.world.dice.random() < 0.3:
                child.adopted.add(key)
                child.accepted[key], child.sent_at[key] = self.accepted[key], self.sent_at[key]
                child.state.adopt(child.process.future(), key)
        child.may_expire = self.may_expire & child.adopted
        return child

    def look_at_inherited(self) -> None:
        """What had ended before the fork is known; any other future of the parent raises, and is never settled here."""
        for future, had_ended in self.inherited:
            assert future.done()
            if not had_ended:
                assert isinstance(future.exception(0), FutureOfParent)

    @property
    def is_busy(self) -> bool:
        """Whether it waits for ends, or is about to end."""
        return not self.over and (bool(self.pending) or self.submits_left == 0)

    @property
    def pending(self) -> set[int]:
        """Accepted tasks whose futures have no outcome."""
        return set(self.state.futures)

    def _hello(self) -> Script:
        yield Connect()
        greeting = yield Call("broker", "hello", ({**HELLO, "role": "client", "session": self.session},))
        self.epoch = greeting["epoch"]
        self.durable = greeting["durable"]
        yield from self._ask_about([key for key in self.pending if key >> 40 != self.epoch])

    def _ask_about(self, keys: Sequence[int]) -> Script:
        """What has become of tasks that another master had taken?"""
        if not self.durable:
            for key in keys:
                self.heard.setdefault(key, "lost with the master")
            for future in self.state.lose(keys):
                future.fail(LookupError("it was lost with the master"))
            return
        yield from self._watch(keys)

    def _watch(self, keys: Sequence[int]) -> Script:
        """How have these tasks ended, or how do they end?"""
        left = list(keys)
        while left:
            rows = yield Call("broker", "watch", (left,))
            left = [key for key, state, *_ in rows if state == LATER]
            for row in rows:
                if row[0] in self.pending and row[1] != LATER:
                    self._hear(*row)

    def _submit(self, actor: Actor) -> Script:
        dice = self.world.dice
        self.look_at_inherited()
        yield from self._ask_for_adopted(actor)
        while self.submits_left != 0:
            yield Sleep(dice.random() * (0.02 if dice.random() < 0.97 else 5.0))
            if self.world.calm or len(self.pending) > 30:
                yield Sleep(0.5)
                continue
            self.number += 1
            self.submits_left = None if self.submits_left is None else self.submits_left - 1
            bodies = [dice.choice(TASK_KINDS) + b" %d" % dice.getrandbits(30) for _ in range(dice.choice((1, 1, 3, 8)))]
            yield from (self._send_together if dice.random() < 0.1 else self._send)(actor, bodies)
        yield from self._say_goodbye(actor)

    def _ask_for_adopted(self, actor: Actor) -> Script:
        """By their ids, as a forked program does that wants to know how tasks of its parent end."""
        if self.adopted:
            yield Sleep(self.world.dice.choice((0.0, 0.01, 3.0)))
        while asked := sorted(self.adopted & self.pending):
            try:
                if actor.wire is None or not actor.wire.whole:
                    yield from self._hello()
                yield from self._watch([key for key in asked if key >> 40 == self.epoch])
                break
            except Lost:
                yield Sleep(self.world.dice.random())

    def _say_goodbye(self, actor: Actor) -> Script:
        """The program ends: all that it has submitted is accepted, and it asks for nothing more."""
        self.look_at_inherited()
        self.over = True
        try:
            if actor.wire is not None and actor.wire.whole:
                yield Call("broker", "goodbye")
        except Lost:
            pass
        self.actors[1].kill(heard_s=0.0, arrives=True)

    def _send(self, actor: Actor, bodies: list[bytes]) -> Script:
        dice = self.world.dice
        half = dice.randrange(len(bodies) + 1)
        envelopes = [self._envelope() for _ in "ab"]
        whens = [self._when() for _ in "ab"]
        mores = [self._more(half), self._more(len(bodies) - half)]
        counts = ((0, half), (1, len(bodies) - half))
        runs = [(index, count, whens[index], mores[index]) for index, count in counts if count]
        sent_at = self.world.at
        answer = yield from self._sent(actor, envelopes, runs, bodies)
        if answer is None:
            return
        first = answer[1]
        taken = {index for index, *_ in (answer[2] if answer[2:] else ())}
        assert not taken or any(more and more[2] for more in mores)
        keys = [first + index for index in range(len(bodies)) if index not in taken]
        for key in keys:
            self._accept(key, bodies[key - first], sent_at, whens[0 if key - first < half else 1])
        self._await(first, taken)
        yield from self._taken(actor, keys)

    def _send_together(self, actor: Actor, bodies: list[bytes]) -> Script:
        """A chain, a group, or anything between: of those that come before others this client is told nothing."""
        dice = self.world.dice
        runs: list[tuple[Any, ...]] = []
        before: set[int] = set()
        whens = [self._when() for _ in bodies]
        for index, when in enumerate(whens):
            key, at_once, *rest = self._more(2) or (None, None, None, None, "reject")
            after: tuple[Any, ...] = ()
            if index and dice.random() < 0.7:
                first = dice.randrange(index)
                size = dice.randrange(index - first + 1)
                before.update(range(first, first + size))
                after = ((first, size, dice.choice(("fail", "fail", "cancel", "run")), False),)
            runs.append((0, 1, when, (key, at_once, *rest, *after)))
        sent_at = self.world.at
        answer = yield from self._sent(actor, [self._envelope()], runs, bodies)
        if answer is None:
            return
        told = [index for index in range(len(bodies)) if index not in before]
        for index in told:
            self._accept(answer[1] + index, bodies[index], sent_at, whens[index])
        self._await(answer[1], before)
        yield from self._taken(actor, [answer[1] + index for index in told])

    def _sent(
        self, actor: Actor, envelopes: Sequence[Any], runs: Sequence[Any], bodies: list[bytes]
    ) -> Generator[Any, Any, Any]:
        """Submit until there is an answer; returns it, None where it is that nothing was taken."""
        wait_s = self.world.dice.choice((0.0, 0.5, 20.0))
        self.sending = [self.process.future() for _ in bodies]
        self.state.begin(self.number, len(bodies))
        while True:
            try:
                if actor.wire is None or not actor.wire.whole:
                    yield from self._hello()
                answer = yield Call("broker", "submit", (self.number, envelopes, runs, bodies, wait_s))
            except Lost:
                yield Sleep(self.world.dice.random())
                continue
            except RemoteRefusal as exc:
                assert "unique key twice" in str(exc), exc  # noqa: PT017 - an actor, not a test
                self.state.refuse(self.number)
                return None
            if answer[0]:
                return answer
            assert answer[1] in ("QUEUE_FULL", "STORE_REFUSED"), answer
            self.state.refuse(self.number)
            return None

    def _await(self, first: int, without: AbstractSet[int]) -> None:
        """The answer was read: await these tasks but some, and settle those whose ends came before it."""
        self._settle(self.state.take(self.number, self.sending, first, dict.fromkeys(without)))
        self.state.accept(self.number)

    def _settle(self, ended: list[tuple[TaskFuture[Any], TaskEnd]]) -> None:
        futures = [future for future, _ in ended]
        assert not any(future.has_ended for future in futures), "a future is settled once"
        assert len(set(futures)) == len(futures)
        settle_all(ended)
        assert all(future.has_ended for future in futures)
        self.settled.extend(futures)
        self.state.end(ended)

    def _accept(self, key: int, body: bytes, sent_at: float, when: tuple[Any, ...] | None) -> None:
        """The master has taken a task."""
        assert key not in self.accepted, "a key is given once"
        self.accepted[key] = body
        self.sent_at[key] = sent_at
        if when is not None and when[2] is not None:
            self.may_expire.add(key)

    def _taken(self, actor: Actor, keys: list[int]) -> Script:
        """Whose answer it was, and whether one still wants them."""
        dice = self.world.dice
        if keys and keys[0] >> 40 != self.epoch:
            yield from self._settle_stale(actor, keys)
        if dice.random() < 0.1:
            yield from self._cancel([key for key in keys if dice.random() < 0.5])

    def _envelope(self) -> tuple[Any, ...]:
        dice = self.world.dice
        known = (dice.choice(QUEUES), dice.choice(NAMES), dice.choice((None, 9)))
        if dice.random() < 0.1:
            return (*known, None, None, None, None, ("gpu",))
        return (*known, None, None, None, None, None, dice.choice((2, 3))) if dice.random() < 0.1 else known

    def _more(self, count: int) -> tuple[Any, ...] | None:
        """Mostly nothing; else a key that others have too."""
        dice = self.world.dice
        if count == 1 and dice.random() < 0.2:
            conflict = dice.choice(("reject", "return", "replace"))
            return None, None, dice.choice("xyz"), dice.choice((None, None, 3.0)), conflict
        turn = dice.choice(list(TURNS))
        return (turn, TURNS[turn], None, None, "reject") if dice.random() < 0.3 else None

    def _cancel(self, keys: list[int]) -> Script:
        """Change one's mind; whether that was heard does not matter."""
        dice = self.world.dice
        yield Sleep(dice.choice((0.0, 0.01, 5.0)))
        self.world.cancelled.update(keys)
        try:
            yield Call("broker", "cancel", (keys, dice.random() < 0.5))
        except Lost:
            pass
        except RemoteRefusal as exc:
            expect(exc)

    def _when(self) -> tuple[float | None, float | None, float | None] | None:
        """Mostly at once; else later, and sometimes only for a while."""
        dice = self.world.dice
        if dice.random() < 0.8:
            return None
        eta = self.world.at + self.world.wall_s + 2 if dice.random() < 0.2 else None
        return dice.choice((None, 0.1, 5.0)), eta, dice.choice((None, 0.01, 3.0))

    def _settle_stale(self, actor: Actor, keys: list[int]) -> Script:
        """The answer came from a master that has been restarted meanwhile: ask the present one, until it answers."""
        while any(key in self.pending for key in keys):
            try:
                if actor.wire is None or not actor.wire.whole:
                    yield from self._hello()
                yield from self._ask_about([key for key in keys if key in self.pending])
                break
            except Lost:
                yield Sleep(self.world.dice.random())

    def _collect(self, actor: Actor) -> Script:
        number, epoch = 0, 0
        while True:
            try:
                if actor.wire is None or not actor.wire.whole:
                    yield from self._hello()
                    if epoch != self.epoch:
                        number, epoch = 0, self.epoch
                number, rows = yield Call("broker", "results", (number, 20.0))
            except Lost:
                yield Sleep(self.world.dice.random())
                continue
            for row in rows:
                self._hear(*row)

    def _hear(self, key: int, state: int, body: bytes | None, causes: list[str] | None) -> None:
        self._settle(self.state.receive([(key, state, body, causes)]))
        if self.heard.get(key) == ENDS[GONE]:
            del self.heard[key]  # what was on its way all the time has come after all
        if key in self.heard:
            # Both connections may have asked a restarted master about it: then it is told twice, and the same.
            known = self.durable or key in self.adopted  # whose answer and whose push may both have come
            assert known, f"{key:x} has ended twice: {self.heard[key]}, {state}"
            same = self.heard[key] == ENDS[state] or key in self.world.requeued
            assert same, f"{key:x} has ended in two ways: {self.heard[key]}, {state}"
            return
        sent = self.accepted.get(key)
        if state == GONE:
            assert self.durable or key in self.adopted
            early = self.world.at - self.sent_at[key] < TTL_S and self.world.set_at < self.sent_at[key]
            assert not early or key in self.world.purged, "it is gone before its time"
            self.heard[key] = ENDS[state]
            return
        if state == SUCCEEDED:
            assert body is not None
            assert sent is None or body == result_of(sent)
            assert not body.startswith(tuple(map(result_of, DEADLY))), "its answer was never out"
        elif state == EXPIRED:
            assert sent is None or key in self.may_expire
        elif state == CANCELLED:
            by_others = causes is None or causes[-1] == REPLACED or causes[-1].startswith("TaskBefore: ")
            assert sent is None or sent.startswith(b"discard") or key in self.world.cancelled or by_others
            assert by_others or (causes and causes[-1] in ("discarded", "by its client"))
        else:
            assert state == DEAD
            assert causes, "whoever is dead was killed by something"
        self.heard[key] = ENDS[state]


class Worker:
    """A supervisor and its executors."""

    def __init__(self, world: World, name: str, *, universal: bool = False) -> None:
        dice = world.dice
        self.world = world
        self.name = name
        self.queues = None if universal else dice.choice((None, None, ["q"], ["q", "r", "work"]))
        self.names = NAMES if universal else dice.choice((NAMES, NAMES, ("f",)))
        self.plain = universal or dice.random() < 0.7
        self.labels = ["gpu"] if universal or dice.random() < 0.5 else []
        self.exited: list[dict[str, Any]] = []
        self.executors: dict[int, Executor] = {}
        self.lease_since = self.lease_until = 0.0
        """What was asked for since then is given to nobody else until then, as the supervisor knows."""
        self._numbers = 0
        self.supervisor = Actor(world, f"{name} supervises", self._supervise)
        for _ in range(dice.randint(1, SLOTS)):
            self.spawn()

    def spawn(self) -> None:
        """Start an executor."""
        self._numbers += 1
        self.executors[self._numbers] = Executor(self, self._numbers)

    def lose(self, executor: Executor, cause: str) -> None:
        """An executor is killed: the supervisor says so, and starts another."""
        if self.executors.pop(executor.index, None) is None:
            return  # its worker has died meanwhile
        dice = self.world.dice
        begun, running = executor.blame[:-1], executor.blame[-1] if executor.blame else None
        # A child of the task may keep the socket open for long after.
        executor.actor.kill(heard_s=dice.choice((0.0, 0.0, 0.5, 50.0)), arrives=dice.random() < 0.5)
        told = {"begun": begun, "unexplained": running is None}
        self.exited.append({"index": executor.index, "cause": cause, "kind": "signal", "running": running, **told})
        self.world.later(dice.choice((0.0, 0.0, 0.3)), self.supervisor.wake)
        self.world.later(dice.random(), self._replace)

    def _stop(self, delivery: tuple[int, int]) -> None:
        """End the executor that runs this task."""
        for executor in list(self.executors.values()):
            if executor.running == delivery:
                self.lose(executor, "its task was stopped")

    def _replace(self) -> None:
        if self.supervisor.alive:
            self.spawn()

    def freeze(self, seconds: float) -> None:
        """Stop everything for a while, as SIGSTOP does."""
        for actor in self.actors:
            actor.frozen_until = self.world.at + seconds

    @property
    def actors(self) -> list[Actor]:
        """All its processes."""
        return [self.supervisor, *(executor.actor for executor in self.executors.values())]

    def kill(self, *, heard_s: float, arrives: bool) -> None:
        """End all of it at once."""
        for actor in self.actors:
            actor.kill(heard_s=heard_s, arrives=arrives)
        self.executors.clear()

    @property
    def _holds(self) -> list[tuple[int, int, int]]:
        return [(one.index, *held) for one in self.executors.values() for held in one.holds]

    def _supervise(self, actor: Actor) -> Script:
        info = {**HELLO, "role": "worker", "session": self.name, "queues": self.queues, "plain": self.plain}
        info["labels"] = self.labels
        while True:
            try:
                yield Connect()
                said_at = self.world.at
                yield Call("broker", "hello", ({**info, "tasks": True, "slots": SLOTS, "holds": self._holds},))
                self.lease_since, self.lease_until = said_at, said_at + LEASE_S
                while True:
                    said, said_at = list(self.exited), self.world.at
                    answer = yield Call("broker", "heartbeat", ({"exited": said, "busy": 1, "slots": SLOTS},), 10.0)
                    for stopped in answer["abort"]:
                        self._stop(stopped)
                    del self.exited[: len(said)]
                    self.lease_until = said_at + LEASE_S
                    yield Sleep(0.0 if self.exited else 10.0)
            except (Lost, RemoteRefusal):
                yield Sleep(self.world.dice.random())


class Executor:
    """One slot of a worker."""

    def __init__(self, worker: Worker, index: int) -> None:
        self.worker = worker
        self.index = index
        self.running: tuple[int, int] | None = None
        self.actor = Actor(worker.world, f"{worker.name}/{index}", self._run)
        self._begun: list[tuple[int, int]] = []
        """Of the present batch, what has ended or runs, if it is not settled."""
        self._settled: list[Any] = []
        self._pending: list[Any] = []
        self._envelopes: Sequence[Any] = ()
        self._befores: dict[int, tuple[int, bool]] = {}
        self._fenced: Sequence[int] = ()
        self._leased_at = 0.0

    @property
    def holds(self) -> list[tuple[int, int]]:
        """All that it has to answer for, as its page has it."""
        running = [] if self.running is None else [self.running]
        return [*running, *((row[0], row[1]) for row in (*self._pending, *self._settled))]

    @property
    def blame(self) -> list[tuple[int, int]]:
        """By which tasks it may have died, the likeliest last, as its page has it."""
        return self._begun if self.running is None else [self.running]

    @property
    def answered(self) -> set[int]:
        """Tasks that it has run, or will not run, and for which it has an answer that the master has not heard."""
        return {row[0] for row in self._settled}

    @property
    def runs_fenced(self) -> bool:
        """Whether it runs something that must end with its lease."""
        return self.running is not None and self.running[0] in self._fenced

    def _end_with_lease(self, running: tuple[int, int]) -> None:
        """The lease is over, unless it was renewed: it ends, though nothing of it may happen otherwise (SIGSTOP)."""
        world, until = self.worker.world, self.worker.lease_until
        if self.running != running or not self.actor.alive:
            return
        if world.at >= until:
            self.worker.lose(self, "its lease was over")
            self.running = None
        else:
            world.later(until - world.at, lambda: self._end_with_lease(running))

    def _run(self, actor: Actor) -> Script:
        dice = self.worker.world.dice
        while True:
            try:
                yield Connect()
                holds = [row[:2] for row in self._settled]
                info = {**HELLO, "role": "executor", "session": self.worker.name, "index": self.index, "holds": holds}
                yield Call("broker", "hello", (info,))
                while True:
                    yield from self._exchange(dice.choice((1, 2, 5)), 10.0)
                    yield from self._work()
            except Lost:
                self._release()
                yield Sleep(dice.random() * 0.5)

    def _exchange(self, want: int, wait_s: float) -> Script:
        asked_at = self.worker.world.at
        answer = yield Call("broker", "exchange", (self._settled, want, wait_s), 30.0)
        self._settled, self._begun = [], []
        envelopes, rows, *more = answer
        assert not more or all(cursor.startswith(b"%d " % key) for key, cursor in more[0].items())
        assert len(rows) <= want
        self._befores = more[1] if more[1:] else {}
        self._fenced = more[3] if more[3:] else ()
        if rows:
            self._envelopes, self._pending, self._leased_at = envelopes, list(rows), asked_at
            if any(row[4].startswith(b"eats") for row in rows if envelopes[row[3]][2] != "plain"):
                yield from self._die()

    def _die(self) -> Script:
        """Be killed by what it has been given."""
        self.worker.world.later(0.0, lambda: self.worker.lose(self, "killed by SIGKILL"))
        yield Sleep(1e9)

    def _work(self) -> Script:
        dice = self.worker.world.dice
        while self._pending:
            if dice.random() < 0.02:
                break
            row = self._pending.pop(0)
            worker = self.worker
            ours = worker.lease_since <= self._leased_at and worker.world.at < worker.lease_until
            if row[0] in self._fenced and not ours:
                self._settled.append((row[0], row[1], 2, None, 0.0, ""))
                yield Sleep(0.25)
                continue
            self.running = (row[0], row[1])
            self._begun.append(self.running)
            if self.runs_fenced:
                self._end_with_lease(self.running)
            if row[0] in self._befores:
                yield from self._ask_before(row[0], row[1], self._befores[row[0]][0])
            long = dice.random() < (0.1 if self.runs_fenced else 0.01)
            yield Sleep(dice.random() * (40.0 if long else 0.01))
            answer = self._outcome(row)
            if answer is None:
                yield from self._die()
            self.running = None
            self._settled += [*self._notes(row), answer]
            if row[4].startswith(b"late"):
                yield from self._die()
            if self._pending and dice.random() < 0.1:
                yield from self._exchange(0, 0.0)
        self._release()

    def _ask_before(self, key: int, delivery: int, size: int) -> Script:
        """How those have ended that come before a task."""
        ends: list[Any] = []
        try:
            while len(ends) < size:
                ends += yield Call("broker", "before", (key, delivery, len(ends)))
        except RemoteRefusal as exc:
            assert "is not leased by that delivery" in str(exc), exc  # noqa: PT017 - an actor, not a test
            return
        assert len(ends) == size
        assert all(body.startswith(b"result of ") for good, body, _ in ends if good)

    def _notes(self, row: Any) -> list[Any]:
        """What a task has told of itself while it ran: parts of a stream, a cursor."""
        dice = self.worker.world.dice
        if self._envelopes[row[3]][2] == "plain" or dice.random() < 0.8:
            return []
        key, delivery = row[:2]
        parts = [
            (key, delivery, 10, PART_NUMBER.pack(n) + b"%d of %d" % (n, key), 0.0, "") for n in range(dice.randrange(4))
        ]
        return [*parts, (key, delivery, 9, b"%d %d" % (key, delivery), 0.0, "")]

    def _release(self) -> None:
        self._settled += [(row[0], row[1], 2, None, 0.0, "") for row in self._pending]
        self._pending = []

    def _outcome(self, row: Any) -> tuple[Any, ...] | None:
        """The answer to one task; None if it kills its executor."""
        key, delivery, _, index, payload = row
        _, name, kind, _ = self._envelopes[index]
        body: bytes
        body, number = pickle.loads(payload) if kind == "plain" else (payload, 0)
        if kind != "plain" and name not in self.worker.names:
            return (key, delivery, 4, None, 0.0, "")
        if body.startswith(b"poison"):
            return None
        if body.startswith(b"bad") or (body.startswith(b"flaky") and self.worker.world.dice.random() < 0.5):
            after = self.worker.world.dice.choice(((), (), (0.2,)))
            return (
                key,
                delivery,
                self.worker.world.dice.choice((1, 1, 3, 5)),
                b"error",
                0.01,
                "ValueError: no",
                *after,
            )
        if body.startswith(b"discard"):
            return (key, delivery, 7, None, 0.01, "discarded")
        if body.startswith(b"snooze") and self.worker.world.dice.random() < 0.7:
            return (key, delivery, 6, None, 0.01, "", self.worker.world.dice.choice((0.0, 0.5, 3.0)))
        value = pickle.dumps((b"result", number)) if kind == "plain" else result_of(body)
        return (key, delivery, 0, value, 0.01, "")


class Plain:
    """Programs of the standard library, and what they know of each other's items."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.put: dict[int, bytes] = {}
        """Items whose put was answered."""
        self.taken: Counter[int] = Counter()
        """Items that reached a collector."""
        self.epoch = 0
        self.collecting = 0
        """How often a collector may have lost a result with its connection."""
        self._numbers = 0

    def producer(self, actor: Actor) -> Script:
        """Puts items."""
        dice = self.world.dice
        while True:
            try:
                yield Connect()
                while True:
                    yield Sleep(dice.random() * (0.02 if dice.random() < 0.97 else 5.0))
                    if self.world.calm:
                        yield Sleep(0.5)
                        continue
                    self._numbers += 1
                    number, kind, epoch = self._numbers, dice.choice(KINDS), self.epoch
                    args = ((kind, number), *dice.choice(((), (False,), (True, 1.0))))
                    try:
                        yield Call("work", "put", args)
                    except standard.Full:
                        continue
                    except RemoteRefusal as exc:
                        expect(exc)
                        continue
                    if epoch == self.epoch:
                        self.put[number] = kind
            except Lost:
                yield Sleep(dice.random())

    def worker(self, actor: Actor) -> Script:
        """Takes items and puts results."""
        dice = self.world.dice
        while True:
            try:
                yield Connect()
                while True:
                    try:
                        item = yield Call("work", "get", dice.choice(((), (True, 2.0), (False,))))
                    except standard.Empty:
                        yield Sleep(dice.random() * 0.5)
                        continue
                    yield Sleep(dice.random() * (0.02 if dice.random() < 0.98 else 60.0))
                    if item[0].startswith((b"poison", b"bad")):
                        return
                    yield Call("result", "put", ((b"result", item[1]),))
            except (Lost, RemoteRefusal) as exc:
                expect(exc)
                yield Sleep(dice.random())
                if isinstance(exc, RemoteRefusal):
                    return  # as the program would: with an exception

    def collector(self, actor: Actor) -> Script:
        """Collects results."""
        while True:
            try:
                yield Connect()
                while True:
                    try:
                        _, number = yield Call("result", "get", (True, 5.0))
                        self.taken[number] += 1
                    except standard.Empty:
                        pass
            except Lost:
                self.collecting += 1
                yield Sleep(self.world.dice.random())
