"""Handles requests in cycles: the ledger decides, the store commits, the ledger applies, then the peers get replies.

    gather ▸ decide ▸ commit ▸ apply ▸ reply

While a commit runs, the broker gathers calls and decides nothing, so no decision can overlook a change that is not
committed yet. All calls that arrive during a commit share the next one.
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
from distq.master.cycle.payload_reads import REPLY_BYTES_MAX, ReadCallback, read_payloads
from distq.master.cycle.refused_commits import RefusedCommits
from distq.master.cycle.request_guard import RequestGuard
from distq.master.cycle.requests import REFUSED_PAUSE_S, LeaseRequest, Request, fitting

if TYPE_CHECKING:
    from distq.core.ledger import Ledger
    from distq.master.cycle.busy_poll import BusyPoll

FORGOTTEN_MAX: Final = 1_000
"""Maximum ended waits among the deadlines, besides as many as there are live ones; more would only use memory."""

Noted = Callable[[str, Task, str], None]
"""Logs an event of the ledger: its name, the task, the cause."""


class Broker:
    """Runs the cycle; no other code changes the ledger."""

    def __init__(self, ledger: Ledger, store: Store, clock: Clock, note: Noted) -> None:
        self.ledger = ledger
        self.note = note
        self.store = store
        self.clock = clock
        self.draining = False
        """Whether the master leases nothing more; it still settles and submits."""
        self.push: Callable[[], None] = lambda: None
        """Sends results and parts of streams to the clients that wait for them; set by the dispatcher."""
        self.timer: Callable[[float], None] = lambda _: None
        """Has a cycle run at an instant or earlier; set by the composition root (`timer.LoopTimer`)."""
        self.busy_poll: BusyPoll | None = None
        """Polls for the next request before the broker sleeps; None means that it sleeps immediately."""
        self.committed: Callable[[float], None] = lambda _: None
        """Receives the seconds that each commit took."""
        self.reply_bytes_max = REPLY_BYTES_MAX
        """Maximum bytes of the bodies in one reply; one larger body goes alone. Smaller where frames are small."""
        self.cycles = self.refusals = 0
        """Number of cycles, and of those whose decisions could not be packed or were refused by the store."""
        self._inbox: list[Request] = []
        self._long_polls = WaitingRequests()
        self._blocked: dict[Queue[Task], dict[Request, int]] = {}
        """Requests that wait for room, by queue, each with the number of tasks that it needs room for."""
        self._join_waits: dict[Queue[Task], dict[Request, int]] = {}
        """Requests that wait for the end of a queue's last task, by queue."""
        self._with_deadline: dict[Request, None] = {}
        """Waiting requests that have an `until`."""
        self._wait_ends: Deadlines[Request] = Deadlines()
        """The `until` of each of them, and of some ended waits."""
        self.instants: Deadlines[Request] = Deadlines(lambda _, request: request.holds)
        """Requests that a cycle handles at an instant."""
        self.due_at = 0.0
        """The earliest instant at which one of those, or anything in the ledger, is due."""
        self.sleeper: asyncio.Future[None] | None = None
        """Pending while no cycle runs and no request waits for one."""
        self._is_woken = False
        """Whether `wake` was called since the last cycle started."""
        self._lease_replies = LeaseReplies(self)
        self._decisions = Decisions(self)
        self.refused = RefusedCommits(self, self._decisions, self._commit, self._answer)
        self.guard = RequestGuard(self)
        self.follow_clock: Callable[[], None] = lambda: None
        """Follows the machine's clock before a cycle reads the time; set by the composition root (`ClockWatcher`)."""
        self._stopped = False
        self._quiet = asyncio.Event()

    # -- asking --------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Have the next cycle handle a request."""
        self._inbox.append(request)
        self.wake()

    def ask_again(self, request: Request) -> None:
        """Have the next cycle decide the rest of a request, without waking that cycle."""
        self._inbox.append(request)

    def ask_at(self, at: float, request: Request) -> None:
        """Have a cycle handle a request at an instant (seconds of the broker's clock)."""
        self.instants.add(at, request, clear=True)
        self.due_at = min(self.due_at, at)
        self.timer(at)

    def wake(self) -> None:
        """Run a cycle as soon as the event loop has read the calls that have arrived."""
        self._is_woken = True
        if self.sleeper is not None and not self.sleeper.done():
            self.sleeper.set_result(None)

    async def drain(self) -> None:
        """Lease nothing more; returns when no task is leased.

        Executors that wait for tasks get one early reply, which confirms what they have settled.
        """
        self.draining = True
        now = self.clock.now()
        for request in self._long_polls.all():
            if request.may_come_back:
                self.expire(request, now)
        self.wake()
        await self._quiet.wait()

    def stop(self) -> None:
        """End `run` after the present cycle."""
        self._stopped = True
        self.wake()

    # -- waiting -------------------------------------------------------------------------------

    def park(self, request: LeaseRequest, queues: tuple[Queue[Task], ...] | None) -> None:
        """Let a request wait for tasks of these queues (None: of every work queue) until its `until`."""
        self._long_polls.add(request, queues)
        self.park_idle(request)

    def park_until_room(self, request: Request, queue: Queue[Task], room: int = 1) -> None:
        """Let a request wait until the queue has room for `room` tasks; then a cycle decides it anew."""
        request.wait_list = self._blocked.setdefault(queue, {})
        request.wait_list[request] = room
        self.park_idle(request)

    def park_until_end(self, request: Request, queue: Queue[Task]) -> None:
        """Let a request wait until the queue has no live task."""
        request.wait_list = self._join_waits.setdefault(queue, {})
        request.wait_list[request] = 0
        self.park_idle(request)

    def park_idle(self, request: Request) -> None:
        """Let a request wait until its `until`, or until the code that keeps it answers it."""
        request.parked = True
        if request.until_at is not None:
            self._with_deadline[request] = None
            self._wait_ends.add(request.until_at, request)
            if len(self._wait_ends) > 2 * len(self._with_deadline) + FORGOTTEN_MAX:
                self._wait_ends = Deadlines()
                for waiting in self._with_deadline:
                    self._wait_ends.add(waiting.until_at or 0.0, waiting)
            self.timer(request.until_at)

    def forget(self, request: Request) -> None:
        """End the wait of a request, because its peer has gone or is answered now."""
        if not request.parked:
            return
        request.parked = False
        self._with_deadline.pop(request, None)
        if request.wait_list is not None:
            del request.wait_list[request]
            request.wait_list = None
        elif isinstance(request, LeaseRequest):
            self._long_polls.remove(request)

    # -- the cycle -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run cycles until `stop`. Raises what the store raises, except CommitRefused."""
        while not self._stopped:
            if self._inbox:
                await asyncio.sleep(0)  # calls that have arrived meanwhile share the next commit
            elif not self._is_woken:
                await self._rest()
            self._is_woken = False
            await self.cycle()

    async def _rest(self) -> None:
        """Wait until `wake` is called."""
        busy_poll = self.busy_poll
        if busy_poll is not None:
            await busy_poll.poll(lambda: self._is_woken)
        if not self._is_woken:
            self.sleeper = asyncio.get_running_loop().create_future()
            await self.sleeper
            self.sleeper = None
        if busy_poll is not None:
            busy_poll.rest_ended()

    async def cycle(self) -> None:
        """Run one cycle: gather, decide, commit, apply, reply."""
        self.follow_clock()
        now = self.clock.now()
        self.cycles += 1
        gathered = self._gathered(now)
        decided = [request for request in gathered if self._decisions.decide(request, now)]
        ledger = self.ledger
        swept = self._decisions.sweep(now) if self.due_at <= now and self.refused.sweep_at <= now else True
        ledger.store_leases()
        refused = None
        if ledger.changed or self._decisions.rows:
            batch, decided = self._decisions.batch(decided, now)
            refused = await self._commit(batch, now)
        if refused is None:
            await self._lease_replies.committed(None, now)
        else:
            self.refusals += 1
            decided, members = [], self._withdrawn(decided, gathered)
            await self.refused.separate(members, refused, now, self._lease_replies.committed)
        # Results and tasks first: peers wait for them, while a client goes on before its submit is answered.
        try:
            self.push()
        except Exception as exc:  # noqa: BLE001 - see guard
            self.guard.note("push", exc)
        self._serve(now)
        for request in decided:
            self._answer(request, None, now)
        if ledger.registry.costly:
            self._serve(now)  # an answer may have leased a costly task, which kept the tasks behind it waiting
        if self._lease_replies.has_reads:
            await self._lease_replies.fetched(now)
        self._admit_parked(now)
        self._expire(now)
        if self.refused.groups and refused is None:
            await self.refused.go_on(now)
        self._arm_next(self.refused.sweep_at if swept else now + REFUSED_PAUSE_S)
        if self.draining and not self.leased:
            self._quiet.set()

    def _gathered(self, now: float) -> list[Request]:
        """The requests of the cycle, as many as one commit takes."""
        gathered, self._inbox = self._inbox, []
        if self.due_at <= now:
            gathered.extend(request for _, request in self.instants.due(now))
        fit = fitting(gathered, self.store.limits)
        if fit < len(gathered):
            self._inbox, gathered = gathered[fit:], gathered[:fit]
        return self.refused.take_suspects(gathered) if self.refused.suspects else gathered

    async def _commit(self, batch: dict[int, Row], now: float) -> CommitRefused | None:
        ledger = self.ledger
        if ledger.pending.unread:
            unread, ledger.pending.unread = ledger.pending.unread, []
            await read_payloads(ledger, self.store, unread)
            batch = self._decisions.packed(now)
        self._decisions.clear()
        started_at = self.clock.now()
        try:
            await self.store.commit(batch)
        except CommitRefused as exc:
            ledger.forget()
            return exc
        finally:
            self.committed(self.clock.now() - started_at)
        ledger.apply(now)
        faults, ledger.state.faults = ledger.state.faults, []
        for fault in faults:
            self.guard.note("apply", fault)
        events, ledger.state.operator_events = ledger.state.operator_events, []
        for event, task, cause in events:
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
        """End the wait of a request because its time is over."""
        self.forget(request)
        try:
            request.expire(self, now)
        except Exception as exc:  # noqa: BLE001 - see guard
            self.guard.failed(request, exc, "answer", now)

    def _withdrawn(self, decided: list[Request], gathered: list[Request]) -> list[Request]:
        """The gathered requests with decisions in the refused commit; those that ask again leave the inbox."""
        asked = {*decided, *self._inbox}
        members = [request for request in gathered if request in asked]
        known = set(members)
        self._inbox = [request for request in self._inbox if request not in known]
        return members

    def _serve(self, now: float) -> None:
        """Lease ready tasks to the requests that wait for them."""
        ledger = self.ledger
        if self.draining or not self._long_polls:
            return
        for queue in self._long_polls.wanted(ledger.leasing.offering()):
            if queue.policy.limits and not queue.allowance(now):
                continue
            served: list[tuple[LeaseRequest, list[Task]]] = []
            try:
                self._long_polls.lease(ledger, queue, served, now)
            except Exception as exc:  # noqa: BLE001 - see guard
                self.guard.note("serve", exc)
            for request, tasks in served:
                self.forget(request)
                self._lease_replies.give(request, tasks, now)

    def lease(self, request: LeaseRequest, queues: tuple[Queue[Task], ...] | None, now: float) -> bool:
        """Lease ready tasks to a request immediately; False if there are none for it."""
        if self.draining:
            return False
        ready = self.ledger.state.ready_queues
        if not ready:
            return False
        served = [queue for queue in ready if queue.role == WORK] if queues is None else queues
        tasks = self.ledger.leasing.lease(request.holder, served, request.wanted, request.want, now)
        if tasks:
            self._lease_replies.give(request, tasks, now)
        return bool(tasks)

    def read(self, request: Request, keys: Sequence[int], callback: ReadCallback, bytes_max: int | None = None) -> None:
        """Have the present or the next cycle read bodies from the store for a request, and pass them to `callback`."""
        bytes_max = None if bytes_max is None else min(bytes_max, self.reply_bytes_max)
        self._lease_replies.read(request, keys, callback, bytes_max)

    def keep_row(self, row_key: int, row: Row) -> None:
        """Have the next commit store a row that is no task (its key is negative); None deletes it."""
        self._decisions.keep(row_key, row)

    def fetch(self, task: Task) -> None:
        """Have the present or the next cycle read a task's payload into memory."""
        self._lease_replies.fetch(task)

    def _admit_parked(self, now: float) -> None:
        """End the waits for room in queues that have some, and for the end of queues that have ended."""
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
        for waits in (self._blocked, self._join_waits):
            for queue in [queue for queue, requests in waits.items() if not requests]:
                del waits[queue]

    def _expire(self, now: float) -> None:
        for _, request in self._wait_ends.due(now):
            if request.parked and request.until_at is not None and request.until_at <= now:
                self.expire(request, now)

    # -- time ----------------------------------------------------------------------------------

    def shift(self, by_s: float) -> None:
        """Follow a clock that was set: durations keep their length, and dates are due by the new time."""
        self.shift_waits(by_s, lambda request: not request.follows_wall_clock)
        self.ledger.sweeper.shift_clock(by_s)

    def shift_waits(self, by_s: float, concerns: Callable[[Request], bool]) -> None:
        """Let the waits of peers, and of the requests that `concerns` selects, keep their length."""
        self.refused.shift(by_s)
        for request in dict.fromkeys([*self._inbox, *self._with_deadline, *filter(concerns, self.instants.things())]):
            request.shift(by_s)
        self.instants.shift(by_s, concerns)
        self._wait_ends.shift(by_s, lambda _: True)
        self.due_at = -math.inf
        self.wake()

    def _arm_next(self, not_before: float) -> None:
        at = self.ledger.sweeper.next_deadline()
        request_at = self.instants.next_at()
        if at is None or (request_at is not None and request_at < at):
            at = request_at
        self.due_at = math.inf if at is None else at
        wait_end_at = self._wait_ends.next_at()
        if at is None or (wait_end_at is not None and wait_end_at < at):
            at = wait_end_at
        if at is not None:
            self.timer(max(at, not_before))

    @property
    def leased(self) -> int:
        """Number of tasks that are leased now."""
        return sum(queue.counts[LEASED] for queue in self.ledger.registry.queues.values())
