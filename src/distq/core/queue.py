"""One queue: its ready tasks in order, how many it has of each state, and what it is allowed to give out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import count, islice
from typing import Final

from distq.core.concurrency_keys import ConcurrencyKeys
from distq.core.envelope import NO_LABELS, Envelope
from distq.core.policy import OPEN, Policy, RateWindow
from distq.core.ready_list import Offer, PriorityList
from distq.core.states import DEAD, DELAYED, HELD, LEASED, LIVE_STATES, READY, STATE_NAMES
from distq.core.task import Task

WORK: Final = "work"
RESULT: Final = "result"
"""Role of a plain queue whose `get` settles at once; taken from a work queue an item is leased."""


EMPTY_LISTS_KEPT: Final = 1_000
"""Maximum empty lanes of a queue; beyond it they go when their last task does."""
LISTS_PER_TIDY: Final = 1_000
"""Maximum lanes of a queue that are looked at for its oldest task, the lanes made first foremost."""
QUEUES_PER_PART: Final = 200
"""Maximum queues that a page about all queues describes at once, a few milliseconds of work."""
STALE_OFFERS: Final = 64
"""Maximum offers beyond one a lane; more are old ones that a better one has replaced, and are cleared away."""


class Eligibility:
    """Which ready lists the connected workers may take from; lists that no worker may take from are set aside."""

    __slots__ = ("generation", "may_take", "set_aside")

    def __init__(self) -> None:
        self.generation = 0
        """Grows when a worker connects, or may take more than before."""
        self.may_take: Callable[[Queue, PriorityList], bool] = lambda queue, ready_list: True  # noqa: ARG005
        """Whether a connected worker may take from a ready list of a queue; without workers' names, always."""
        self.set_aside: dict[Queue, None] = {}
        """Queues that have lists set aside."""


class Queue:
    """A named queue. `capacity` bounds its live tasks; `counts` is by state."""

    __slots__ = (
        "__weakref__",
        "_eligibility",
        "_numbers",
        "base",
        "capacity",
        "concurrency_keys",
        "counts",
        "done",
        "envelopes",
        "gets",
        "is_lasting",
        "mean_run_s",
        "name",
        "offers",
        "orphaned_count",
        "own",
        "permanent",
        "policy",
        "policy_key",
        "rate_window",
        "ready_lists",
        "replaced",
        "reserved",
        "role",
        "set_aside",
        "unique",
    )

    def __init__(
        self, name: str, capacity: int, role: str = WORK, base: Policy = OPEN, takers: Eligibility | None = None
    ) -> None:
        self.name = name
        self.role = role
        self.permanent = False
        """Whether it stays although nothing is in it: programs of the standard library ask for it by its getter."""
        self.envelopes = 0
        """Envelopes of it, of tasks that are there or came lately."""
        self.base = base.overridden_by(Policy(capacity=capacity))
        """Its policy as the settings have it, ..."""
        self.is_lasting = False
        """Whether more than what an operator has set keeps it: tasks, workers, plain items."""
        self.own = OPEN
        """... what an operator has changed of it, ..."""
        self.policy = OPEN
        """... and both together."""
        self.policy_key: int | None = None
        """Where the store has what an operator has changed, if it has."""
        self.rate_window: RateWindow | None = None
        self.capacity = 0
        self.concurrency_keys = ConcurrencyKeys()
        """Its concurrency keys."""
        self.unique: dict[str, Task] = {}
        """Who has each unique key, or had it last."""
        self.replaced: dict[str, list[Task]] = {}
        """By unique key, the tasks that ran when another one replaced them: one that outlives it has the key again."""
        self.counts = [0] * len(STATE_NAMES)
        self.ready_lists: dict[tuple[str, frozenset[str], int], PriorityList] = {}
        """By the task's name, what it requires, and how many slots it takes."""
        self.offers: list[Offer] = []
        """A heap of what its lanes offer: one valid entry for each that has a task and is not paused or set aside."""
        self.set_aside: dict[str, list[PriorityList]] = {}
        """Lanes that no connected worker may take out of, by name: nobody looks at them until one comes that may."""
        self._eligibility = Eligibility() if takers is None else takers
        self._numbers = count()
        self.orphaned_count = 0
        """Tasks that have ended and may still run, of those whose number is limited (`Lingering`)."""
        self.reserved = 0
        """Tasks decided in the present cycle and not yet applied."""
        self.mean_run_s: float | None = None
        """Moving average of how long a successful attempt runs, None until the first."""
        self.gets = 0
        """Plain items ever taken, and ..."""
        self.done = 0
        """... how many `task_done` calls answered them, as `queue.Queue` counts."""
        self.set_policy(OPEN)

    def set_policy(self, own: Policy) -> None:
        """Let what an operator has changed take effect."""
        self.own = own
        policy = own.overridden_by(self.base)
        if policy.rate != self.policy.rate:
            self.rate_window = None if policy.rate is None else RateWindow(policy.rate)
        self.policy = policy
        self.capacity = policy.capacity or 0
        for lane in self.ready_lists.values():
            paused, lane.paused = lane.paused, lane.name in policy.paused_names
            if paused and not lane.paused:
                self._offer(lane)

    def allowance(self, now: float) -> int:
        """How many tasks it may give out at once now; one by one where so many may run, or they would wait in line."""
        policy = self.policy
        if policy.paused:
            return 0
        if policy.running is not None and self.running >= policy.running:
            return 0
        most = sys.maxsize if policy.running is None else 1
        return most if self.rate_window is None else min(most, self.rate_window.allowance(now))

    def startable(self, now: float, within_s: float) -> int:
        """How many tasks its policy lets begin in the next `within_s` seconds, if none of those that run ends."""
        policy = self.policy
        if policy.paused:
            return 0
        room = sys.maxsize if policy.running is None else max(policy.running - self.running, 0)
        return room if self.rate_window is None else min(room, self.rate_window.within(now, within_s))

    def unused(self, now: float) -> bool:
        """Whether nothing is known of it that a new queue of its name would not know."""
        rate, window = self.policy.rate, self.rate_window
        spent = rate is not None and window is not None and window.allowance(now) < rate.tasks
        used = (
            self.envelopes or self.permanent or self.reserved or self.orphaned_count or self.concurrency_keys or spent
        )
        return not used and self.own == OPEN

    @property
    def fences(self) -> bool:
        """Whether some of its tasks may have to end with their leases (`Task.fenced`)."""
        return bool(self.concurrency_keys) or self.policy.running is not None

    @property
    def running(self) -> int:
        """Tasks that may run now."""
        return self.counts[LEASED] + self.orphaned_count

    @property
    def live(self) -> int:
        """Tasks that have not ended."""
        counts = self.counts
        return counts[READY] + counts[DELAYED] + counts[LEASED] + counts[HELD]

    @property
    def waiting(self) -> int:
        """Tasks that nobody holds: what `queue.Queue.qsize` counts."""
        return self.counts[READY] + self.counts[DELAYED] + self.counts[HELD]

    @property
    def room(self) -> int:
        """How many more tasks it takes; dead letters need room too, or they would grow without bound."""
        return self.capacity - self.live - self.counts[DEAD] - self.reserved

    def holder_of_unique(self, unique: str, now: float) -> Task | None:
        """The task that has a unique key, None if it is free."""
        task = self.unique.get(unique)
        if task is None or (for_s := task.constraints.unique_for_s) is None:
            return task  # it lets go of it at its end
        return task if now < task.submitted_at + for_s else None

    def take_unique(self, task: Task) -> None:
        """A task has its unique key from now on, also where the one that had it runs on."""
        key = task.constraints.unique_key
        other = self.unique.get(key)
        if other is not None and other is not task and other.state in LIVE_STATES:
            self.replaced.setdefault(key, []).append(other)
        self.unique[key] = task

    def release_unique(self, task: Task) -> None:
        """A task has its unique key no more."""
        key = task.constraints.unique_key
        replaced = self.replaced.get(key, [])
        if self.unique.get(key) is task:
            del self.unique[key]
            if replaced:
                self.unique[key] = replaced.pop()
        elif task in replaced:
            replaced.remove(task)
        if not replaced:
            self.replaced.pop(key, None)

    def ready_list(self, envelope: Envelope) -> PriorityList:
        """The lane of an envelope's tasks, made at first use."""
        key = envelope.name, envelope.requires, envelope.cost
        lane = self.ready_lists.get(key)
        if lane is None:
            lane = self.ready_lists[key] = PriorityList(envelope.name, READY, envelope.requires, envelope.cost)
            lane.paused = envelope.name in self.policy.paused_names
        return lane

    def enqueue(self, task: Task) -> None:
        """A ready task goes to the end of its line."""
        lane = self.ready_list(task.envelope)
        lane.push(task)
        self._offer(lane)

    def enqueue_all(self, envelope: Envelope, tasks: Sequence[Task]) -> None:
        """Ready tasks of one envelope go to the end of their line."""
        lane = self.ready_list(envelope)
        lane.extend(tasks)
        self._offer(lane)

    def enqueue_first(self, task: Task) -> None:
        """A task is first in line again."""
        lane = self.ready_list(task.envelope)
        lane.push_front(task)
        self._offer(lane)

    def _offer(self, lane: PriorityList) -> None:
        """Have a lane's first task among the offers."""
        if lane.aside or lane.paused:
            return
        task = lane.head()
        if task is None:
            self._emptied(lane)
            return
        at, old = -task.envelope.priority, lane.offer
        if old is None or (at, task.task_key) < old[:2]:
            lane.offer = offer = (at, task.task_key, next(self._numbers), lane)
            heappush(self.offers, offer)
            if len(self.offers) > 2 * len(self.ready_lists) + STALE_OFFERS:
                self._clear_offers()

    def _clear_offers(self) -> None:
        self.offers[:] = [offer for offer in self.offers if offer[3].offer is offer]
        heapify(self.offers)

    def _emptied(self, lane: PriorityList) -> None:
        lane.offer = None
        if len(self.ready_lists) > EMPTY_LISTS_KEPT:
            self.ready_lists.pop((lane.name, lane.requires, lane.cost), None)

    def take(
        self,
        wanted: Callable[[str], bool],
        want: int,
        labels: frozenset[str] = NO_LABELS,
        slots: int = 1,
        room: int = 1,
    ) -> list[Task]:
        """Take up to `want` ready tasks whose name is `wanted` and that require no other labels and no more `slots`.

        By priority, then by age. A task that was lost once comes alone: whoever dies next, only one task can have been
        the reason. One that takes several slots comes alone too, and what is behind it waits until there is `room`.
        """
        taken: list[Task] = []
        passed: list[Offer] = []
        offers = self.offers
        while offers and len(taken) < want:
            offer = offers[0]
            lane = offer[3]
            task = self._offered(offer)
            if task is None:
                continue
            if not (lane.requires <= labels and lane.cost <= slots and wanted(lane.name)):
                heappop(offers)
                if not self._set_aside(lane):
                    passed.append(offer)
                continue
            if (taken and (task.lost or lane.cost > 1)) or lane.cost > room:
                break
            heappop(offers)
            lane.pop()
            taken.append(task)
            alone = task.lost or lane.cost > 1
            if not alone:
                lane.pop_into(taken, want, offers[0] if offers else None)
            lane.offer = None
            self._offer(lane)
            if alone:
                break
        for offer in passed:
            heappush(offers, offer)
        return taken

    def _offered(self, offer: Offer) -> Task | None:
        """The task of the first offer, None if it was no true offer any more and is gone, or is put right."""
        lane = offer[3]
        task = None if lane.paused else lane.head()
        if (
            lane.offer is offer
            and task is not None
            and offer[1] == task.task_key
            and offer[0] == -task.envelope.priority
        ):
            return task
        heappop(self.offers)
        if lane.offer is offer:
            lane.offer = None
            self._offer(lane)
        return None

    def _set_aside(self, lane: PriorityList) -> bool:
        """Set a lane aside if no connected worker may take out of it; asked once for each generation of workers."""
        takers = self._eligibility
        if lane.examined == takers.generation:
            return False
        lane.examined = takers.generation
        if takers.may_take(self, lane):
            return False
        lane.aside, lane.offer = True, None
        self.set_aside.setdefault(lane.name, []).append(lane)
        takers.set_aside[self] = None
        return True

    def handed_back(self, envelope: Envelope) -> None:
        """A worker does not know the name: it is asked again whether another one does."""
        self.ready_list(envelope).examined = -1

    def readmit(self, names: Iterable[str] | None = None) -> bool:
        """Offer what was set aside again, all or of these names; whether there was something."""
        lanes: list[PriorityList] = []
        for name in list(self.set_aside) if names is None else names:
            lanes += self.set_aside.pop(name, ())
        for lane in lanes:
            lane.aside, lane.examined = False, -1
            self._offer(lane)
        return bool(lanes)

    def tidy(self) -> None:
        """Let go of lanes that have no task any more."""
        for name, lanes in list(self.set_aside.items()):
            self.set_aside[name] = [lane for lane in lanes if lane.head() is not None]
            if not self.set_aside[name]:
                del self.set_aside[name]
        for lane in [lane for lane in self.ready_lists.values() if lane.head() is None]:
            lane.offer = None
            del self.ready_lists[lane.name, lane.requires, lane.cost]
        self._clear_offers()

    def oldest_submitted_at(self) -> float | None:
        """When the task that is first in line was submitted, None if none is ready."""
        if not self.counts[READY]:
            return None
        lanes = islice(self.ready_lists.values(), LISTS_PER_TIDY)
        heads = [task.submitted_at for lane in lanes if (task := lane.head()) is not None]
        return min(heads, default=None)


def parts(queues: Sequence[Queue]) -> Iterator[Sequence[Queue]]:
    """All queues in parts of up to QUEUES_PER_PART, with fewer than LANES_LOOKED_AT lanes beside those of one queue."""
    start = lanes = 0
    for at, queue in enumerate(queues):
        if at - start == QUEUES_PER_PART or lanes >= LISTS_PER_TIDY:
            yield queues[start:at]
            start, lanes = at, 0
        lanes += len(queue.ready_lists)
    yield queues[start:]
