"""The broker: one cycle at a time, it lets the ledger decide, the store keep, and then answers.

    gather ▸ decide ▸ commit ▸ apply ▸ reply

While a commit runs, calls are only gathered; nothing is decided, so there is nothing in flight that a
decision could overlook. Everything that arrived meanwhile shares the next commit.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from distq.core.deadlines import Deadlines
from distq.core.ports import Clock, CommitRefused, Row, Store
from distq.core.queue import WORK, Queue
from distq.core.states import LEASED
from distq.core.task import Task
from distq.master.cycle.decisions import Decisions
from distq.master.cycle.lease_replies import LeaseReplies
from distq.master.cycle.long_polls import WaitingRequests
from distq.master.cycle.payload_reads import REPLY_BYTES_MAX, Then, read_payloads
from distq.master.cycle.request_guard import RequestGuard
from distq.master.cycle.requests import REFUSED_PAUSE_S, LeaseRequest, Request, fitting

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.master.cycle.busy_poll import BusyPoll


FORGOTTEN_MAX: Final = 1_000
"""So many waits that have ended may stand among the deadlines before they are cleared away."""

Note = Callable[[str, Task, str], None]
"""Told what the ledger noted: an event in the past tense, the task, the cause."""


class Broker:
    """The only one that changes the ledger."""

    def __init__(self, ledger: Ledger, store: Store, clock: Clock, note: Note) -> None:
        self.ledger = ledger
        self.note = note
        self.store = store
        self.clock = clock
        self.draining = False
        """Whether nothing is leased any more; settles and submits go on."""
        self.push: Callable[[], None] = lambda: None
        """Sends what has ended to the clients that wait for it; set by who keeps their sessions."""
        self.timer: Callable[[float], None] = lambda _: None
        """Has a cycle run at that moment at the latest; set by who has a loop (`alarm.LoopAlarm`)."""
        self.busy_poll: BusyPoll | None = None
        """How it waits for the next request, if it does not sleep at once; set by who has a processor to spend."""
        self.committed: Callable[[float], None] = lambda _: None
        """Told how many seconds each commit took."""
        self.reply_bytes_max = REPLY_BYTES_MAX
        """Bodies of one reply have at most so many bytes, but for one alone; fewer where frames are small."""
        self.cycles = 0
        self.refusals = 0
        """Commits that the store refused."""
        self._inbox: list[Request] = []
        self._long_polls = WaitingRequests()
        self._blocked: dict[Queue, dict[Request, int]] = {}
        """Requests that wait for room (so much), by queue ..."""
        self._join_waits: dict[Queue, dict[Request, int]] = {}
        """... and those that wait for its last task to end."""
        self._with_patience: dict[Request, None] = {}
        """Who waits until a moment."""
        self._patience: Deadlines[Request] = Deadlines()
        self._instants: Deadlines[Request] = Deadlines(lambda _, request: request.holds)
        self._due_at = 0.0
        """Before that moment neither of those nor anything in the ledger is due."""
        self._sleeper: asyncio.Future[None] | None = None
        self._is_woken = False
        """Whether `wake` was called since the last cycle began."""
        self._lease_replies = LeaseReplies(self)
        self._decisions = Decisions(self)
        self.guard = RequestGuard(self)
        self.follow_clock: Callable[[], None] = lambda: None
        """Follows the machine's clock before a cycle reads the time; set by the composition root (`clock.Follower`)."""
        self._stopped = False
        self._quiet = asyncio.Event()

    # -- asking --------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Have the next cycle handle a request."""
        self._inbox.append(request)
        self.wake()

    def ask_again(self, request: Request) -> None:
        """Have the next cycle decide the rest of a request; it comes when there is one anyway."""
        self._inbox.append(request)

    def ask_at(self, at: float, request: Request) -> None:
        """Have the cycle handle a request at that moment (seconds of the broker's clock)."""
        self._instants.add(at, request, clear=True)
        self._due_at = min(self._due_at, at)
        self.timer(at)

    def wake(self) -> None:
        """Run a cycle as soon as what is readable now was read."""
        self._is_woken = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def drain(self) -> None:
        """Lease nothing more; returns when nothing is leased.

        Workers that wait are answered once, so that they know that what they have settled was heard.
        """
        self.draining = True
        now = self.clock.now()
        for take in self._long_polls.all():
            if take.may_come_back:
                self.expire(take, now)
        self.wake()
        await self._quiet.wait()

    def stop(self) -> None:
        """End `run` after the cycle that runs now."""
        self._stopped = True
        self.wake()

    # -- waiting -------------------------------------------------------------------------------

    def park(self, take: LeaseRequest, queues: tuple[Queue, ...] | None) -> None:
        """Let a take wait for tasks of these queues (None: of every work queue) until its `until`."""
        self._long_polls.add(take, queues)
        self._wait(take)

    def park_until_room(self, request: Request, queue: Queue, room: int = 1) -> None:
        """Let a request wait until the queue has room for so many; it is decided anew then."""
        request.place = self._blocked.setdefault(queue, {})
        request.place[request] = room
        self._wait(request)

    def park_until_end(self, request: Request, queue: Queue) -> None:
        """Let a request wait until the queue has no live task."""
        request.place = self._join_waits.setdefault(queue, {})
        request.place[request] = 0
        self._wait(request)

    def park_idle(self, request: Request) -> None:
        """Let a request wait for whoever keeps it, until its `until`."""
        self._wait(request)

    def forget(self, request: Request) -> None:
        """Whoever waited has gone, or is to be answered."""
        if not request.parked:
            return
        request.parked = False
        self._with_patience.pop(request, None)
        if request.place is not None:
            del request.place[request]
            request.place = None
        elif isinstance(request, LeaseRequest):
            self._long_polls.remove(request)

    def _wait(self, request: Request) -> None:
        request.parked = True
        if request.until is not None:
            self._with_patience[request] = None
            self._patience.add(request.until, request)
            if len(self._patience) > 2 * len(self._with_patience) + FORGOTTEN_MAX:
                self._patience = Deadlines()
                for waiting in self._with_patience:
                    assert waiting.until is not None
                    self._patience.add(waiting.until, waiting)
            self.timer(request.until)

    # -- the cycle -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run cycles until `stop`. Raises what the store raises, except Refused."""
        while not self._stopped:
            if self._inbox:
                await asyncio.sleep(0)  # what the sockets have brought meanwhile shares the next commit
            elif not self._is_woken:
                await self._rest()
            self._is_woken = False
            await self.cycle()

    async def _rest(self) -> None:
        """Wait for something to do."""
        vigil = self.busy_poll
        if vigil is not None:
            await vigil.keep(lambda: self._is_woken)
        if not self._is_woken:
            self._sleeper = asyncio.get_running_loop().create_future()
            await self._sleeper
            self._sleeper = None
        if vigil is not None:
            vigil.over()

    async def cycle(self) -> None:
        """Gather, decide, commit, apply, reply: once."""
        self.follow_clock()
        now = self.clock.now()
        self.cycles += 1
        gathered, self._inbox = self._inbox, []
        if self._due_at <= now:
            gathered.extend(request for _, request in self._instants.due(now))
        fit = fitting(gathered, self.store.limits)
        if fit < len(gathered):
            self._inbox, gathered = gathered[fit:], gathered[:fit]
        decided = [request for request in gathered if self._decisions.decide(request, now)]
        ledger = self.ledger
        swept = self._decisions.sweep(now) if self._due_at <= now else True
        ledger.store_leases()
        refused = None
        if ledger.changed or self._decisions.rows:
            batch, decided = self._decisions.batch(decided, now)
            refused = await self._commit(batch, now)
        if refused is not None:
            decided, refused = await self._commit_ends(decided, refused, now)
        await self._lease_replies.committed(refused, now)
        # Results and tasks first: somebody waits for them, while who has submitted does not wait for the answer.
        try:
            self.push()
        except Exception as exc:  # noqa: BLE001 - see guard
            self.guard.note("push", exc)
        self._serve(now)
        for request in decided:
            self._answer(request, refused, now)
        if ledger.registry.costly:
            self._serve(now)  # what stood behind a heavy task that one of those has taken
        if self._lease_replies.has_reads:
            await self._lease_replies.fetched(now)
        self._admit_parked(now)
        self._expire(now)
        self._arm_next(now + REFUSED_PAUSE_S if refused is not None or not swept else 0.0)
        if self.draining and not self.leased:
            self._quiet.set()

    async def _commit(self, batch: dict[int, Row], now: float) -> CommitRefused | None:
        ledger = self.ledger
        if ledger.pending.unread:
            unread, ledger.pending.unread = ledger.pending.unread, []
            await read_payloads(ledger, self.store, unread)
            batch = self._decisions.packed(now)
        self._decisions.clear()
        began = self.clock.now()
        try:
            await self.store.commit(batch)
        except CommitRefused as exc:
            ledger.forget()
            self.refusals += 1
            return exc
        finally:
            self.committed(self.clock.now() - began)
        ledger.apply(now)
        faults, ledger.state.faults = ledger.state.faults, []
        for fault in faults:
            self.guard.note("apply", fault)
        noted, ledger.state.operator_events = ledger.state.operator_events, []
        for event, task, cause in noted:
            try:
                self.note(event, task, cause)
            except Exception as exc:  # noqa: BLE001 - see guard
                self.guard.note("note", exc)
        return None

    def _answer(self, request: Request, refused: CommitRefused | None, now: float) -> None:
        try:
            if refused is None:
                request.answer(self, now)
            else:
                request.put_back(self, refused, now)
        except Exception as exc:  # noqa: BLE001 - see guard
            self.guard.failed(request, exc, "answer", now)

    def expire(self, request: Request, now: float) -> None:
        """A request has waited for long enough."""
        self.forget(request)
        try:
            request.expire(self, now)
        except Exception as exc:  # noqa: BLE001 - see guard
            self.guard.failed(request, exc, "answer", now)

    async def _commit_ends(
        self, decided: list[Request], refused: CommitRefused, now: float
    ) -> tuple[list[Request], CommitRefused | None]:
        """After a refusal: what only ends tasks is decided and committed alone; what brings more is put back.

        A store that is full takes that, and makes room by it.
        """
        ends = [request for request in decided if request.only_ends]
        if len(ends) == len(decided):
            return decided, refused
        for request in decided:
            if not request.only_ends:
                self._answer(request, refused, now)
        decided = [request for request in ends if self._decisions.decide(request, now)]
        self._decisions.sweep(now)
        if not self.ledger.changed:
            return decided, None
        batch, decided = self._decisions.batch(decided, now)
        return decided, await self._commit(batch, now)

    def _serve(self, now: float) -> None:
        """Give ready tasks to those who wait."""
        ledger = self.ledger
        if self.draining:
            return
        for queue in ledger.leasing.offering():
            if queue.policy.limits and not queue.allowance(now):
                continue
            served: list[tuple[LeaseRequest, list[Task]]] = []
            try:
                self._long_polls.lease(ledger, queue, served, now)
            except Exception as exc:  # noqa: BLE001 - see guard
                self.guard.note("serve", exc)
            for take, tasks in served:
                self.forget(take)
                self._lease_replies.give(take, tasks, now)

    def lease(self, take: LeaseRequest, queues: tuple[Queue, ...] | None, now: float) -> bool:
        """Give a take what is ready at once; False if there is nothing for it."""
        if self.draining:
            return False
        ready = self.ledger.state.ready_queues
        if not ready:
            return False
        served = [queue for queue in ready if queue.role == WORK] if queues is None else queues
        tasks = self.ledger.leasing.lease(take.holder, served, take.wanted, take.want, now)
        if tasks:
            self._lease_replies.give(take, tasks, now)
        return bool(tasks)

    def read(self, request: Request, keys: Sequence[int], then: Then, bytes_max: int | None = None) -> None:
        """Have the present or the next cycle read bodies from the store for a request, and hand them to `then`."""
        bytes_max = None if bytes_max is None else min(bytes_max, self.reply_bytes_max)
        self._lease_replies.read(request, keys, then, bytes_max)

    def keep_row(self, key: int, row: Row) -> None:
        """Have the next commit keep a row that is no task (its key is negative)."""
        self._decisions.keep(key, row)

    def fetch(self, task: Task) -> None:
        """Have the present or the next cycle read a task's payload."""
        self._lease_replies.fetch(task)

    def _admit_parked(self, now: float) -> None:
        """Bring back who waited for room where there is some, and who waited for an end that has come."""
        if not (self._blocked or self._join_waits):
            return
        for queue, blocked in list(self._blocked.items()):
            room = queue.room
            while blocked:
                request, needed = next(iter(blocked.items()))
                if needed > room:
                    break
                room -= needed
                self.forget(request)
                self._inbox.append(request)
        for queue, joins in self._join_waits.items():
            for request in () if queue.live else list(joins):
                self.forget(request)
                self._answer(request, None, now)
        for places in (self._blocked, self._join_waits):
            for queue in [queue for queue, requests in places.items() if not requests]:
                del places[queue]

    def _expire(self, now: float) -> None:
        for _, request in self._patience.due(now):
            if request.parked and request.until is not None and request.until <= now:
                self.expire(request, now)

    # -- time ----------------------------------------------------------------------------------

    def shift(self, by_s: float) -> None:
        """The clock was set by so much: durations end when they would have, dates come by the clock as it is now."""
        moments, waiting = self._instants, {*self._inbox, *self._with_patience}
        for request in waiting | {one for one in moments.things() if not one.follows_wall_clock}:
            request.shift(by_s)
        moments.shift(by_s, lambda request: not request.follows_wall_clock)
        self._patience.shift(by_s, lambda _: True)
        self.ledger.sweeper.shift_clock(by_s)
        self._due_at = -math.inf
        self.wake()

    def _arm_next(self, not_before: float) -> None:
        at = self.ledger.sweeper.next_deadline()
        own = self._instants.next_at()
        if at is None or (own is not None and own < at):
            at = own
        self._due_at = math.inf if at is None else at
        patience = self._patience.next_at()
        if at is None or (patience is not None and patience < at):
            at = patience
        if at is not None:
            self.timer(max(at, not_before))

    @property
    def leased(self) -> int:
        """Tasks that somebody holds now."""
        return sum(queue.counts[LEASED] for queue in self.ledger.registry.queues.values())
