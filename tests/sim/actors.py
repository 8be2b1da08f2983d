"""The peers of the simulated master: clients, workers with their executors, and standard-library programs."""

from __future__ import annotations

import pickle
import queue as standard
from collections import Counter, deque
from collections.abc import Generator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

from tests.sim.master import LEASE_S, TTL_S
from tests.sim.world import Actor, Call, Connect, ConnectionLost, Script, Sleep, World

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
"""Tasks that kill their executor: while they run (poison), after they have returned and before the settle is sent
(late), and immediately when their batch is leased (eats)."""
TASK_KINDS: Final = (*KINDS, b"snooze", b"snooze", b"discard", b"late", b"eats")
"""What tasks do; plain items have only the kinds of KINDS."""
END_NAMES: Final = {
    SUCCEEDED: "succeeded",
    DEAD: "dead",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
    GONE: "gone after its TTL",
}
CONCURRENCY: Final = {"loud": 1, "quiet": 1, "two": 2}
"""Concurrency keys, and the maximum tasks of each in flight."""
SLOTS: Final = 3
"""Number of slots of each worker; some workers have fewer executors."""
REPLACED: Final = "replaced by a newer submit"
HELLO: Final = {"protocol": [1, 1], "version": "sim"}


def result_of(body: bytes) -> bytes:
    """The result of a task with these arguments."""
    return b"result of " + body


def expect(error: ConnectionLost | RemoteRefusal) -> None:
    """Check that the master refused a program only what the store could not store."""
    if isinstance(error, RemoteRefusal) and "the disk is full" not in str(error):
        raise AssertionError(str(error))


class Process:
    """The part of a client that the futures of one process use."""

    def __init__(self, *, disowned: bool = False) -> None:
        self.disowned = disowned
        """Whether a fork has copied this object from the parent process."""

    def lead(self, _future: object, timeout_s: float | None) -> float | None:
        """Return the whole timeout, as if another thread read the results."""
        return timeout_s

    def future(self) -> TaskFuture[Any]:
        """A new future for a submit."""
        return TaskFuture(cast("Reader", self))


def copied_by_fork(future: TaskFuture[Any]) -> TaskFuture[Any]:
    """The future in the memory of a forked child; a program cannot copy one."""
    copied = object.__new__(type(future))
    vars(copied).update(vars(future))
    return copied


class Client:
    """One client session, which submits on one connection and collects results on another.

    It uses the futures of distq's client, and the client's state machine, which decides which ends settle them.
    """

    def __init__(self, world: World, session: str) -> None:
        self.world = world
        self.session = session
        self.epoch = 0
        self.durable = False
        self.sent_at: dict[int, float] = {}
        """When each task was sent for the first time, by key."""
        self.accepted: dict[int, bytes] = {}
        """Bodies of the tasks that the master has accepted, by key."""
        self.may_expire: set[int] = set()
        self.known_ends: dict[int, str] = {}
        """How each task has ended, by key."""
        self.number = 0
        self.state: ClientState[TaskFuture[Any]] = ClientState()
        self.process = Process()
        self.newest: list[TaskFuture[Any]] = []
        """Futures of the newest submit."""
        self.settled: deque[TaskFuture[Any]] = deque(maxlen=5)
        """Futures that were settled last."""
        self.inherited: list[tuple[TaskFuture[Any], bool]] = []
        """Futures that a fork has copied from the parent process, and whether they had ended before the fork."""
        self.adopted: set[int] = set()
        """Tasks of the parent process that this process watches by their ids."""
        self.submits_left: int | None = None
        """Number of submits after which the client ends in order, None for never."""
        self.ended = False
        """Whether the client has ended in order."""
        self.actors = [
            Actor(world, f"{session} submits", self._submit),
            Actor(world, f"{session} collects", self._collect),
        ]

    def fork(self, session: str) -> Client:
        """A child process, with copies of the parent's futures and a session of its own."""
        child = Client(self.world, session)
        child.submits_left = self.world.rng.choice((0, 1, 3, None))
        copied = Process(disowned=True)
        known = self.state
        others = [future for futures in known.duplicates.values() for future in futures]
        for future in dict.fromkeys((*known.futures.values(), *others, *self.newest, *self.settled)):
            child.inherited.append((copied_by_fork(future), future.has_ended))
            child.inherited[-1][0]._reader = cast("Reader", copied)
        for key in known.futures.keys() & self.accepted.keys():
            if self.world.rng.random() < 0.3:
                child.adopted.add(key)
                child.accepted[key], child.sent_at[key] = self.accepted[key], self.sent_at[key]
                child.state.adopt(child.process.future(), key)
        child.may_expire = self.may_expire & child.adopted
        return child

    def check_inherited(self) -> None:
        """Check that futures that ended before the fork have outcomes, and all others of the parent raise."""
        for future, had_ended in self.inherited:
            assert future.done()
            if not had_ended:
                assert isinstance(future.exception(0), FutureOfParent)

    @property
    def is_busy(self) -> bool:
        """Whether the client waits for the ends of tasks, or is about to end."""
        return not self.ended and (bool(self.pending) or self.submits_left == 0)

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
        """Find out the ends of tasks that another master has accepted."""
        if not self.durable:
            for key in keys:
                self.known_ends.setdefault(key, "lost with the master")
            for future in self.state.lose(keys):
                future.fail(LookupError("the task was lost with the master"))
            return
        yield from self._watch(keys)

    def _watch(self, keys: Sequence[int]) -> Script:
        """Watch these tasks, and receive the ends of those that have ended."""
        left = list(keys)
        while left:
            rows = yield Call("broker", "watch", (left,))
            left = [key for key, state, *_ in rows if state == LATER]
            for row in rows:
                if row[0] in self.pending and row[1] != LATER:
                    self._receive_end(*row)

    def _submit(self, actor: Actor) -> Script:
        rng = self.world.rng
        self.check_inherited()
        yield from self._ask_for_adopted(actor)
        while self.submits_left != 0:
            yield Sleep(rng.random() * (0.02 if rng.random() < 0.97 else 5.0))
            if self.world.fault_free or len(self.pending) > 30:
                yield Sleep(0.5)
                continue
            self.number += 1
            self.submits_left = None if self.submits_left is None else self.submits_left - 1
            bodies = [rng.choice(TASK_KINDS) + b" %d" % rng.getrandbits(30) for _ in range(rng.choice((1, 1, 3, 8)))]
            yield from (self._send_dependencies if rng.random() < 0.1 else self._send)(actor, bodies)
        yield from self._end_session(actor)

    def _ask_for_adopted(self, actor: Actor) -> Script:
        """Watch tasks of the parent process by their ids, as a forked program may do."""
        if self.adopted:
            yield Sleep(self.world.rng.choice((0.0, 0.01, 3.0)))
        while keys := sorted(self.adopted & self.pending):
            try:
                if actor.connection is None or not actor.connection.intact:
                    yield from self._hello()
                yield from self._watch([key for key in keys if key >> 40 == self.epoch])
                break
            except ConnectionLost:
                yield Sleep(self.world.rng.random())

    def _end_session(self, actor: Actor) -> Script:
        """End the program: all its submits have been answered, and it makes no further call."""
        self.check_inherited()
        self.ended = True
        try:
            if actor.connection is not None and actor.connection.intact:
                yield Call("broker", "goodbye")
        except ConnectionLost:
            pass
        self.actors[1].kill(noticed_in_s=0.0, arrives=True)

    def _send(self, actor: Actor, bodies: list[bytes]) -> Script:
        rng = self.world.rng
        half = rng.randrange(len(bodies) + 1)
        envelopes = [self._envelope() for _ in "ab"]
        whens = [self._when() for _ in "ab"]
        constraints = [self._constraints(half), self._constraints(len(bodies) - half)]
        counts = ((0, half), (1, len(bodies) - half))
        runs = [(index, count, whens[index], constraints[index]) for index, count in counts if count]
        sent_at = self.world.at
        answer = yield from self._submit_until_answered(actor, envelopes, runs, bodies)
        if answer is None:
            return
        first = answer[1]
        taken = {index for index, *_ in (answer[2] if answer[2:] else ())}
        assert not taken or any(fields and fields[2] for fields in constraints)
        keys = [first + index for index in range(len(bodies)) if index not in taken]
        for key in keys:
            self._accept(key, bodies[key - first], sent_at, whens[0 if key - first < half else 1])
        self._await(first, taken)
        yield from self._follow_up(actor, keys)

    def _send_dependencies(self, actor: Actor, bodies: list[bytes]) -> Script:
        """Submit tasks of which some depend on others; the client receives no ends of dependencies."""
        rng = self.world.rng
        runs: list[tuple[Any, ...]] = []
        upstream: set[int] = set()
        whens = [self._when() for _ in bodies]
        for index, when in enumerate(whens):
            key, limit, *rest = self._constraints(2) or (None, None, None, None, "reject")
            depends_on: tuple[Any, ...] = ()
            if index and rng.random() < 0.7:
                first = rng.randrange(index)
                size = rng.randrange(index - first + 1)
                upstream.update(range(first, first + size))
                depends_on = ((first, size, rng.choice(("fail", "fail", "cancel", "run")), False),)
            runs.append((0, 1, when, (key, limit, *rest, *depends_on)))
        sent_at = self.world.at
        answer = yield from self._submit_until_answered(actor, [self._envelope()], runs, bodies)
        if answer is None:
            return
        announced = [index for index in range(len(bodies)) if index not in upstream]
        for index in announced:
            self._accept(answer[1] + index, bodies[index], sent_at, whens[index])
        self._await(answer[1], upstream)
        yield from self._follow_up(actor, [answer[1] + index for index in announced])

    def _submit_until_answered(
        self, actor: Actor, envelopes: Sequence[Any], runs: Sequence[Any], bodies: list[bytes]
    ) -> Generator[Any, Any, Any]:
        """Submit until the master answers; returns the answer, None for a refusal."""
        wait_s = self.world.rng.choice((0.0, 0.5, 20.0))
        self.newest = [self.process.future() for _ in bodies]
        self.state.begin(self.number, len(bodies))
        while True:
            try:
                if actor.connection is None or not actor.connection.intact:
                    yield from self._hello()
                answer = yield Call("broker", "submit", (self.number, envelopes, runs, bodies, wait_s))
            except ConnectionLost:
                yield Sleep(self.world.rng.random())
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
        """Wait for the ends of these tasks except `without`, and settle those whose ends came before the answer."""
        self._settle(self.state.take(self.number, self.newest, first, dict.fromkeys(without)))
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
        """Record that the master has accepted a task."""
        assert key not in self.accepted, "a key is given once"
        self.accepted[key] = body
        self.sent_at[key] = sent_at
        if when is not None and when[2] is not None:
            self.may_expire.add(key)

    def _follow_up(self, actor: Actor, keys: list[int]) -> Script:
        """Watch the tasks if another master answered since, and sometimes cancel some."""
        rng = self.world.rng
        if keys and keys[0] >> 40 != self.epoch:
            yield from self._settle_stale(actor, keys)
        if rng.random() < 0.1:
            yield from self._cancel([key for key in keys if rng.random() < 0.5])

    def _envelope(self) -> tuple[Any, ...]:
        rng = self.world.rng
        known = (rng.choice(QUEUES), rng.choice(NAMES), rng.choice((None, 9)))
        if rng.random() < 0.1:
            return (*known, None, None, None, None, ("gpu",))
        return (*known, None, None, None, None, None, rng.choice((2, 3))) if rng.random() < 0.1 else known

    def _constraints(self, count: int) -> tuple[Any, ...] | None:
        """Usually no constraints, otherwise a key that other tasks share."""
        rng = self.world.rng
        if count == 1 and rng.random() < 0.2:
            conflict = rng.choice(("reject", "return", "replace"))
            return None, None, rng.choice("xyz"), rng.choice((None, None, 3.0)), conflict
        concurrency_key = rng.choice(list(CONCURRENCY))
        return (concurrency_key, CONCURRENCY[concurrency_key], None, None, "reject") if rng.random() < 0.3 else None

    def _cancel(self, keys: list[int]) -> Script:
        """Cancel tasks; the cancel may be lost with its connection."""
        rng = self.world.rng
        yield Sleep(rng.choice((0.0, 0.01, 5.0)))
        self.world.cancelled.update(keys)
        try:
            yield Call("broker", "cancel", (keys, rng.random() < 0.5))
        except ConnectionLost:
            pass
        except RemoteRefusal as exc:
            expect(exc)

    def _when(self) -> tuple[float | None, float | None, float | None] | None:
        """Usually no times, otherwise a delay or an eta, and sometimes an expiry."""
        rng = self.world.rng
        if rng.random() < 0.8:
            return None
        eta = self.world.at + self.world.wall_offset_s + 2 if rng.random() < 0.2 else None
        return rng.choice((None, 0.1, 5.0)), eta, rng.choice((None, 0.01, 3.0))

    def _settle_stale(self, actor: Actor, keys: list[int]) -> Script:
        """Ask the present master about tasks that a former master accepted, until it answers."""
        while any(key in self.pending for key in keys):
            try:
                if actor.connection is None or not actor.connection.intact:
                    yield from self._hello()
                yield from self._ask_about([key for key in keys if key in self.pending])
                break
            except ConnectionLost:
                yield Sleep(self.world.rng.random())

    def _collect(self, actor: Actor) -> Script:
        number, epoch = 0, 0
        while True:
            try:
                if actor.connection is None or not actor.connection.intact:
                    yield from self._hello()
                    if epoch != self.epoch:
                        number, epoch = 0, self.epoch
                number, rows = yield Call("broker", "results", (number, 20.0))
            except ConnectionLost:
                yield Sleep(self.world.rng.random())
                continue
            for row in rows:
                self._receive_end(*row)

    def _receive_end(self, key: int, state: int, body: bytes | None, causes: list[str] | None) -> None:
        self._settle(self.state.receive([(key, state, body, causes)]))
        if self.known_ends.get(key) == END_NAMES[GONE]:
            del self.known_ends[key]  # the end was on its way and has arrived
        if key in self.known_ends:
            # Both connections may have watched the task at a restarted master: it sends the same end twice.
            known = self.durable or key in self.adopted  # the answer and the push may both have come
            assert known, f"{key:x} has ended twice: {self.known_ends[key]}, {state}"
            same = self.known_ends[key] == END_NAMES[state] or key in self.world.requeued
            assert same, f"{key:x} has ended in two ways: {self.known_ends[key]}, {state}"
            return
        sent = self.accepted.get(key)
        if state == GONE:
            assert self.durable or key in self.adopted
            early = self.world.at - self.sent_at[key] < TTL_S and self.world.set_at < self.sent_at[key]
            assert not early or key in self.world.purged, "the task is gone before its TTL is over"
            self.known_ends[key] = END_NAMES[state]
            return
        if state == SUCCEEDED:
            assert body is not None
            assert sent is None or body == result_of(sent)
            assert not body.startswith(tuple(map(result_of, DEADLY))), "the executor died before it sent this result"
        elif state == EXPIRED:
            assert sent is None or key in self.may_expire
        elif state == CANCELLED:
            by_others = causes is None or causes[-1] == REPLACED or causes[-1].startswith("TaskBefore: ")
            assert sent is None or sent.startswith(b"discard") or key in self.world.cancelled or by_others
            assert by_others or (causes and causes[-1] in ("discarded", "by its client"))
        else:
            assert state == DEAD
            assert causes, "a dead letter has a cause"
        self.known_ends[key] = END_NAMES[state]


class Worker:
    """A supervisor and its executors."""

    def __init__(self, world: World, name: str, *, universal: bool = False) -> None:
        rng = world.rng
        self.world = world
        self.name = name
        self.queues = None if universal else rng.choice((None, None, ["q"], ["q", "r", "work"]))
        self.names = NAMES if universal else rng.choice((NAMES, NAMES, ("f",)))
        self.plain = universal or rng.random() < 0.7
        self.labels = ["gpu"] if universal or rng.random() < 0.5 else []
        self.exited: list[dict[str, Any]] = []
        self.executors: dict[int, Executor] = {}
        self.lease_since = self.lease_until_at = 0.0
        """Tasks leased since the first instant have no other holder until the second, as the supervisor knows."""
        self._numbers = 0
        self.supervisor = Actor(world, f"{name} supervises", self._supervise)
        for _ in range(rng.randint(1, SLOTS)):
            self.spawn()

    def spawn(self) -> None:
        """Start an executor."""
        self._numbers += 1
        self.executors[self._numbers] = Executor(self, self._numbers)

    def lose(self, executor: Executor, cause: str) -> None:
        """Kill an executor; the supervisor reports the death and starts another."""
        if self.executors.pop(executor.index, None) is None:
            return  # the worker has died meanwhile
        rng = self.world.rng
        begun, running = executor.suspects[:-1], executor.suspects[-1] if executor.suspects else None
        # A child of the task may keep the socket open for long after.
        executor.actor.kill(noticed_in_s=rng.choice((0.0, 0.0, 0.5, 50.0)), arrives=rng.random() < 0.5)
        announced = {"begun": begun, "unexplained": running is None}
        self.exited.append({"index": executor.index, "cause": cause, "kind": "signal", "running": running, **announced})
        self.world.later(rng.choice((0.0, 0.0, 0.3)), self.supervisor.wake)
        self.world.later(rng.random(), self._replace)

    def _stop(self, delivery: tuple[int, int]) -> None:
        """Kill the executor that runs this task."""
        for executor in list(self.executors.values()):
            if executor.running == delivery:
                self.lose(executor, "its task was stopped")

    def _replace(self) -> None:
        if self.supervisor.alive:
            self.spawn()

    def freeze(self, seconds: float) -> None:
        """Stop all processes for `seconds`, as SIGSTOP does."""
        for actor in self.actors:
            actor.frozen_until = self.world.at + seconds

    @property
    def actors(self) -> list[Actor]:
        """All processes of the worker."""
        return [self.supervisor, *(executor.actor for executor in self.executors.values())]

    def kill(self, *, noticed_in_s: float, arrives: bool) -> None:
        """Kill all processes of the worker."""
        for actor in self.actors:
            actor.kill(noticed_in_s=noticed_in_s, arrives=arrives)
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
                sent_at = self.world.at
                yield Call("broker", "hello", ({**info, "tasks": True, "slots": SLOTS, "holds": self._holds},))
                self.lease_since, self.lease_until_at = sent_at, sent_at + LEASE_S
                while True:
                    reported, sent_at = list(self.exited), self.world.at
                    answer = yield Call("broker", "heartbeat", ({"exited": reported, "busy": 1, "slots": SLOTS},), 10.0)
                    for stopped in answer["abort"]:
                        self._stop(stopped)
                    del self.exited[: len(reported)]
                    self.lease_until_at = sent_at + LEASE_S
                    yield Sleep(0.0 if self.exited else 10.0)
            except (ConnectionLost, RemoteRefusal):
                yield Sleep(self.world.rng.random())


class Executor:
    """One executor of a worker."""

    def __init__(self, worker: Worker, index: int) -> None:
        self.worker = worker
        self.index = index
        self.running: tuple[int, int] | None = None
        self.actor = Actor(worker.world, f"{worker.name}/{index}", self._run)
        self._begun: list[tuple[int, int]] = []
        """Tasks of the present batch that have ended or run, and are not settled yet."""
        self._settled: list[Any] = []
        self._pending: list[Any] = []
        self._envelopes: Sequence[Any] = ()
        self._dependencies: dict[int, tuple[int, bool]] = {}
        self._lease_bound: Sequence[int] = ()
        self._leased_at = 0.0

    @property
    def holds(self) -> list[tuple[int, int]]:
        """The leases that the executor holds, as its shared page lists them."""
        running = [] if self.running is None else [self.running]
        return [*running, *((row[0], row[1]) for row in (*self._pending, *self._settled))]

    @property
    def suspects(self) -> list[tuple[int, int]]:
        """The tasks that may have killed the executor, the likeliest last, as its shared page lists them."""
        return self._begun if self.running is None else [self.running]

    @property
    def answered(self) -> set[int]:
        """Tasks whose settle the executor has not sent yet."""
        return {row[0] for row in self._settled}

    @property
    def runs_lease_bound(self) -> bool:
        """Whether the executor runs a task that must end with its lease."""
        return self.running is not None and self.running[0] in self._lease_bound

    def _end_with_lease(self, running: tuple[int, int]) -> None:
        """Kill the executor when the lease of its task is over and not renewed, also while it is stopped by SIGSTOP."""
        world, until = self.worker.world, self.worker.lease_until_at
        if self.running != running or not self.actor.alive:
            return
        if world.at >= until:
            self.worker.lose(self, "its lease has ended")
            self.running = None
        else:
            world.later(until - world.at, lambda: self._end_with_lease(running))

    def _run(self, actor: Actor) -> Script:
        rng = self.worker.world.rng
        while True:
            try:
                yield Connect()
                holds = [row[:2] for row in self._settled]
                info = {**HELLO, "role": "executor", "session": self.worker.name, "index": self.index, "holds": holds}
                yield Call("broker", "hello", (info,))
                while True:
                    yield from self._exchange(rng.choice((1, 2, 5)), 10.0)
                    yield from self._work()
            except ConnectionLost:
                self._release()
                yield Sleep(rng.random() * 0.5)

    def _exchange(self, want: int, wait_s: float) -> Script:
        requested_at = self.worker.world.at
        answer = yield Call("broker", "exchange", (self._settled, want, wait_s), 30.0)
        self._settled, self._begun = [], []
        envelopes, rows, *fields = answer
        assert not fields or all(cursor.startswith(b"%d " % key) for key, cursor in fields[0].items())
        assert len(rows) <= want
        self._dependencies = fields[1] if fields[1:] else {}
        self._lease_bound = fields[3] if fields[3:] else ()
        if rows:
            self._envelopes, self._pending, self._leased_at = envelopes, list(rows), requested_at
            if any(row[4].startswith(b"eats") for row in rows if envelopes[row[3]][2] != "plain"):
                yield from self._die()

    def _die(self) -> Script:
        """Let a task kill the executor."""
        self.worker.world.later(0.0, lambda: self.worker.lose(self, "killed by SIGKILL"))
        yield Sleep(1e9)

    def _work(self) -> Script:
        rng = self.worker.world.rng
        while self._pending:
            if rng.random() < 0.02:
                break
            row = self._pending.pop(0)
            worker = self.worker
            is_within_lease = worker.lease_since <= self._leased_at and worker.world.at < worker.lease_until_at
            if row[0] in self._lease_bound and not is_within_lease:
                self._settled.append((row[0], row[1], 2, None, 0.0, ""))
                yield Sleep(0.25)
                continue
            self.running = (row[0], row[1])
            self._begun.append(self.running)
            if self.runs_lease_bound:
                self._end_with_lease(self.running)
            if row[0] in self._dependencies:
                yield from self._read_dependencies(row[0], row[1], self._dependencies[row[0]][0])
            long = rng.random() < (0.1 if self.runs_lease_bound else 0.01)
            yield Sleep(rng.random() * (40.0 if long else 0.01))
            answer = self._outcome(row)
            if answer is None:
                yield from self._die()
            self.running = None
            self._settled += [*self._notes(row), answer]
            if row[4].startswith(b"late"):
                yield from self._die()
            if self._pending and rng.random() < 0.1:
                yield from self._exchange(0, 0.0)
        self._release()

    def _read_dependencies(self, key: int, delivery: int, size: int) -> Script:
        """Read the results of a task's dependencies."""
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
        """Rows that a task has sent while it ran: parts of a stream, a cursor."""
        rng = self.worker.world.rng
        if self._envelopes[row[3]][2] == "plain" or rng.random() < 0.8:
            return []
        key, delivery = row[:2]
        parts = [
            (key, delivery, 10, PART_NUMBER.pack(n) + b"%d of %d" % (n, key), 0.0, "") for n in range(rng.randrange(4))
        ]
        return [*parts, (key, delivery, 9, b"%d %d" % (key, delivery), 0.0, "")]

    def _release(self) -> None:
        self._settled += [(row[0], row[1], 2, None, 0.0, "") for row in self._pending]
        self._pending = []

    def _outcome(self, row: Any) -> tuple[Any, ...] | None:
        """The settle of one task; None if the task kills its executor."""
        key, delivery, _, index, payload = row
        _, name, kind, _ = self._envelopes[index]
        body: bytes
        body, number = pickle.loads(payload) if kind == "plain" else (payload, 0)
        if kind != "plain" and name not in self.worker.names:
            return (key, delivery, 4, None, 0.0, "")
        if body.startswith(b"poison"):
            return None
        if body.startswith(b"bad") or (body.startswith(b"flaky") and self.worker.world.rng.random() < 0.5):
            depends_on = self.worker.world.rng.choice(((), (), (0.2,)))
            return (
                key,
                delivery,
                self.worker.world.rng.choice((1, 1, 3, 5)),
                b"error",
                0.01,
                "ValueError: no",
                *depends_on,
            )
        if body.startswith(b"discard"):
            return (key, delivery, 7, None, 0.01, "discarded")
        if body.startswith(b"snooze") and self.worker.world.rng.random() < 0.7:
            return (key, delivery, 6, None, 0.01, "", self.worker.world.rng.choice((0.0, 0.5, 3.0)))
        value = pickle.dumps((b"result", number)) if kind == "plain" else result_of(body)
        return (key, delivery, 0, value, 0.01, "")


class Plain:
    """Standard-library programs, and the items that they have put and collected."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.put: dict[int, bytes] = {}
        """Kinds of the items whose put was answered, by number."""
        self.taken: Counter[int] = Counter()
        """How often each item's result has reached a collector."""
        self.epoch = 0
        self.collecting = 0
        """Number of results that collectors may have lost with their connections."""
        self._numbers = 0

    def producer(self, actor: Actor) -> Script:
        """Put items."""
        rng = self.world.rng
        while True:
            try:
                yield Connect()
                while True:
                    yield Sleep(rng.random() * (0.02 if rng.random() < 0.97 else 5.0))
                    if self.world.fault_free:
                        yield Sleep(0.5)
                        continue
                    self._numbers += 1
                    number, kind, epoch = self._numbers, rng.choice(KINDS), self.epoch
                    args = ((kind, number), *rng.choice(((), (False,), (True, 1.0))))
                    try:
                        yield Call("work", "put", args)
                    except standard.Full:
                        continue
                    except RemoteRefusal as exc:
                        expect(exc)
                        continue
                    if epoch == self.epoch:
                        self.put[number] = kind
            except ConnectionLost:
                yield Sleep(rng.random())

    def worker(self, actor: Actor) -> Script:
        """Get items and put results."""
        rng = self.world.rng
        while True:
            try:
                yield Connect()
                while True:
                    try:
                        item = yield Call("work", "get", rng.choice(((), (True, 2.0), (False,))))
                    except standard.Empty:
                        yield Sleep(rng.random() * 0.5)
                        continue
                    yield Sleep(rng.random() * (0.02 if rng.random() < 0.98 else 60.0))
                    if item[0].startswith((b"poison", b"bad")):
                        return
                    yield Call("result", "put", ((b"result", item[1]),))
            except (ConnectionLost, RemoteRefusal) as exc:
                expect(exc)
                yield Sleep(rng.random())
                if isinstance(exc, RemoteRefusal):
                    return  # the program ends with this exception

    def collector(self, actor: Actor) -> Script:
        """Collect results."""
        while True:
            try:
                yield Connect()
                while True:
                    try:
                        _, number = yield Call("result", "get", (True, 5.0))
                        self.taken[number] += 1
                    except standard.Empty:
                        pass
            except ConnectionLost:
                self.collecting += 1
                yield Sleep(self.world.rng.random())
