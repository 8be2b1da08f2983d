"""A queue: its ready tasks in order, its counts by state, and the tasks that its policy lets it lease."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import count, islice
from typing import Final, Generic

from distq.core.concurrency_keys import ConcurrencyKeys
from distq.core.option_values import NO_LABELS
from distq.core.policy import OPEN, Policy, RateWindow
from distq.core.ready_list import ListedEnvelope, Offer, PriorityList, TaskT
from distq.core.states import DEAD, DELAYED, HELD, LEASED, LIVE_STATES, READY, STATE_NAMES

WORK: Final = "work"
RESULT: Final = "result"
"""Role of a plain queue whose `get` settles the item immediately; `get` on a work queue leases it."""


EMPTY_LISTS_KEPT: Final = 1_000
"""Maximum empty ready lists of a queue; beyond it a list is dropped with its last task."""
LISTS_PER_TIDY: Final = 1_000
"""Maximum ready lists of a queue that are searched for its oldest task, the oldest lists first."""
QUEUES_PER_PART: Final = 200
"""Maximum queues in one part of a page about all queues, a few milliseconds of work."""
STALE_OFFERS: Final = 64
"""Maximum offers in the heap beyond two for each list; above it the queue removes replaced offers to save memory."""


class Eligibility(Generic[TaskT]):
    """Which ready lists the connected workers may take from; lists that no worker may take from are set aside."""

    __slots__ = ("generation", "may_take", "set_aside")

    def __init__(self) -> None:
        self.generation = 0
        """Grows when a worker connects, or may take more than before."""
        self.may_take: Callable[[Queue[TaskT], PriorityList[TaskT]], bool] = lambda queue, ready_list: True  # noqa: ARG005
        """Whether a connected worker may take from a ready list of a queue; without workers' names, always."""
        self.set_aside: dict[Queue[TaskT], None] = {}
        """Queues that have lists set aside."""


class Queue(Generic[TaskT]):
    """A named queue."""

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
        self,
        name: str,
        capacity: int,
        role: str = WORK,
        base: Policy = OPEN,
        eligibility: Eligibility[TaskT] | None = None,
    ) -> None:
        self.name = name
        self.role = role
        self.permanent = False
        """Whether it stays while it is empty: standard-library programs call it by its getter."""
        self.envelopes = 0
        """Number of its envelopes, of known tasks or recent submits."""
        self.base = base.overridden_by(Policy(capacity=capacity))
        """Its policy by the settings."""
        self.is_lasting = False
        """Whether tasks, workers or plain items need it, not only an operator's policy."""
        self.own = OPEN
        """Its policy by an operator, which overrides the settings."""
        self.policy = OPEN
        """Its policy by both."""
        self.policy_key: int | None = None
        """The key of its stored policy, None if none is stored."""
        self.rate_window: RateWindow | None = None
        self.capacity = 0
        """Maximum live tasks and dead letters."""
        self.concurrency_keys: ConcurrencyKeys[TaskT] = ConcurrencyKeys()
        self.unique: dict[str, TaskT] = {}
        """The task that has each unique key, or had it last."""
        self.replaced: dict[str, list[TaskT]] = {}
        """By unique key, tasks that ran when another task replaced them; a task that ends later gets the key again."""
        self.counts = [0] * len(STATE_NAMES)
        """Number of its tasks by state."""
        self.ready_lists: dict[tuple[str, frozenset[str], int], PriorityList[TaskT]] = {}
        """Ready lists by the tasks' name, required labels and cost."""
        self.offers: list[Offer[TaskT]] = []
        """A heap of its lists' offers: one valid entry for each list that has a task and is not paused or set aside."""
        self.set_aside: dict[str, list[PriorityList[TaskT]]] = {}
        """Lists that no connected worker may take from, by task name; leases skip them until they are readmitted."""
        self._eligibility = Eligibility() if eligibility is None else eligibility
        self._numbers = count()
        self.orphaned_count = 0
        """Number of its ended tasks that executors may still run (`OrphanedRuns`)."""
        self.reserved = 0
        """Number of tasks that were submitted in the present cycle and are not yet applied."""
        self.mean_run_s: float | None = None
        """Moving average of the run times of successful attempts, None before the first."""
        self.gets = 0
        """Number of plain items that were taken."""
        self.done = 0
        """Number of `task_done` calls for them, as `queue.Queue` counts."""
        self.set_policy(OPEN)

    def set_policy(self, own: Policy) -> None:
        """Apply an operator's policy."""
        self.own = own
        policy = own.overridden_by(self.base)
        if policy.rate != self.policy.rate:
            self.rate_window = None if policy.rate is None else RateWindow(policy.rate)
        self.policy = policy
        self.capacity = policy.capacity or 0
        for ready_list in self.ready_lists.values():
            paused, ready_list.paused = ready_list.paused, ready_list.name in policy.paused_names
            if paused and not ready_list.paused:
                self._offer(ready_list)

    def allowance(self, now: float) -> int:
        """Maximum tasks that one lease may take now: 1 with a concurrency limit, so that no leased task waits."""
        policy = self.policy
        if policy.paused:
            return 0
        if policy.running is not None and self.running >= policy.running:
            return 0
        most = sys.maxsize if policy.running is None else 1
        return most if self.rate_window is None else min(most, self.rate_window.allowance(now))

    def startable(self, now: float, within_s: float) -> int:
        """Number of tasks that its policy lets it lease in the next `within_s` seconds, if no running task ends."""
        policy = self.policy
        if policy.paused:
            return 0
        room = sys.maxsize if policy.running is None else max(policy.running - self.running, 0)
        return room if self.rate_window is None else min(room, self.rate_window.within(now, within_s))

    def unused(self, now: float) -> bool:
        """Whether a new queue of its name would be equal to it."""
        rate, window = self.policy.rate, self.rate_window
        spent = rate is not None and window is not None and window.allowance(now) < rate.tasks
        used = (
            self.envelopes or self.permanent or self.reserved or self.orphaned_count or self.concurrency_keys or spent
        )
        return not used and self.own == OPEN

    @property
    def may_bind_leases(self) -> bool:
        """Whether some of its tasks may be lease-bound (`Task.lease_bound`)."""
        return bool(self.concurrency_keys) or self.policy.running is not None

    @property
    def running(self) -> int:
        """Number of tasks that may run now."""
        return self.counts[LEASED] + self.orphaned_count

    @property
    def live(self) -> int:
        """Number of tasks that have not ended."""
        counts = self.counts
        return counts[READY] + counts[DELAYED] + counts[LEASED] + counts[HELD]

    @property
    def waiting(self) -> int:
        """Number of tasks without a holder: `queue.Queue.qsize` of a plain queue."""
        return self.counts[READY] + self.counts[DELAYED] + self.counts[HELD]

    @property
    def room(self) -> int:
        """Number of further tasks that it accepts; dead letters also count, so that their number is limited."""
        return self.capacity - self.live - self.counts[DEAD] - self.reserved

    def holder_of_unique(self, unique: str, now: float) -> TaskT | None:
        """The task that has a unique key, None if it is free."""
        task = self.unique.get(unique)
        if task is None or (for_s := task.constraints.unique_for_s) is None:
            return task  # the task has the key until its end
        return task if now < task.submitted_at + for_s else None

    def take_unique(self, task: TaskT) -> None:
        """Give a task its unique key, even while the task that had the key before continues to run."""
        unique_key = task.constraints.unique_key
        other = self.unique.get(unique_key)
        if other is not None and other is not task and other.state in LIVE_STATES:
            self.replaced.setdefault(unique_key, []).append(other)
        self.unique[unique_key] = task

    def release_unique(self, task: TaskT) -> None:
        """Release the unique key of a task."""
        unique_key = task.constraints.unique_key
        replaced = self.replaced.get(unique_key, [])
        if self.unique.get(unique_key) is task:
            del self.unique[unique_key]
            if replaced:
                self.unique[unique_key] = replaced.pop()
        elif task in replaced:
            replaced.remove(task)
        if not replaced:
            self.replaced.pop(unique_key, None)

    def ready_list(self, envelope: ListedEnvelope) -> PriorityList[TaskT]:
        """The ready list of an envelope's tasks, made at first use."""
        list_key = envelope.name, envelope.requires, envelope.cost
        ready_list = self.ready_lists.get(list_key)
        if ready_list is None:
            ready_list = self.ready_lists[list_key] = PriorityList(
                envelope.name, READY, envelope.requires, envelope.cost
            )
            ready_list.paused = envelope.name in self.policy.paused_names
        return ready_list

    def enqueue(self, task: TaskT) -> None:
        """Add a ready task at the end of its list."""
        ready_list = self.ready_list(task.envelope)
        ready_list.push(task)
        self._offer(ready_list)

    def enqueue_all(self, envelope: ListedEnvelope, tasks: Sequence[TaskT]) -> None:
        """Add ready tasks of one envelope at the end of their list."""
        ready_list = self.ready_list(envelope)
        ready_list.extend(tasks)
        self._offer(ready_list)

    def enqueue_first(self, task: TaskT) -> None:
        """Add a released task at the front of its list."""
        ready_list = self.ready_list(task.envelope)
        ready_list.push_front(task)
        self._offer(ready_list)

    def _offer(self, ready_list: PriorityList[TaskT]) -> None:
        """Offer the first task of a list."""
        if ready_list.aside or ready_list.paused:
            return
        task = ready_list.first()
        if task is None:
            self._emptied(ready_list)
            return
        at, old = -task.envelope.priority, ready_list.offer
        if old is None or (at, task.task_key) < old[:2]:
            ready_list.offer = offer = (at, task.task_key, next(self._numbers), ready_list)
            heappush(self.offers, offer)
            if len(self.offers) > 2 * len(self.ready_lists) + STALE_OFFERS:
                self._clear_offers()

    def _clear_offers(self) -> None:
        self.offers[:] = [offer for offer in self.offers if offer[3].offer is offer]
        heapify(self.offers)

    def _emptied(self, ready_list: PriorityList[TaskT]) -> None:
        ready_list.offer = None
        if len(self.ready_lists) > EMPTY_LISTS_KEPT:
            self.ready_lists.pop((ready_list.name, ready_list.requires, ready_list.cost), None)

    def take(
        self,
        wanted: Callable[[str], bool],
        want: int,
        labels: frozenset[str] = NO_LABELS,
        slots: int = 1,
        room: int = 1,
    ) -> list[TaskT]:
        """Take up to `want` ready tasks whose name is `wanted` and that need at most these `labels` and `slots`.

        The order is by priority, then by age. A lost task is taken alone: if its executor dies too, no other task can
        be the reason. A task with a cost above 1 is also taken alone; later tasks wait until there is `room` for it.
        """
        chosen: list[TaskT] = []
        passed: list[Offer[TaskT]] = []
        offers = self.offers
        while offers and len(chosen) < want:
            offer = offers[0]
            ready_list = offer[3]
            task = self._offered(offer)
            if task is None:
                continue
            if not (ready_list.requires <= labels and ready_list.cost <= slots and wanted(ready_list.name)):
                heappop(offers)
                if not self._set_aside(ready_list):
                    passed.append(offer)
                continue
            if (chosen and (task.lost or ready_list.cost > 1)) or ready_list.cost > room:
                break
            heappop(offers)
            ready_list.pop()
            chosen.append(task)
            alone = task.lost or ready_list.cost > 1
            if not alone:
                ready_list.pop_into(chosen, want, offers[0] if offers else None)
            ready_list.offer = None
            self._offer(ready_list)
            if alone:
                break
        for offer in passed:
            heappush(offers, offer)
        return chosen

    def _offered(self, offer: Offer[TaskT]) -> TaskT | None:
        """The task of the first offer, None if the offer was stale; a stale offer is removed or replaced."""
        ready_list = offer[3]
        task = None if ready_list.paused else ready_list.first()
        if (
            ready_list.offer is offer
            and task is not None
            and offer[1] == task.task_key
            and offer[0] == -task.envelope.priority
        ):
            return task
        heappop(self.offers)
        if ready_list.offer is offer:
            ready_list.offer = None
            self._offer(ready_list)
        return None

    def _set_aside(self, ready_list: PriorityList[TaskT]) -> bool:
        """Set a list aside if no connected worker may take from it; checked once for each generation of workers."""
        eligibility = self._eligibility
        if ready_list.examined == eligibility.generation:
            return False
        ready_list.examined = eligibility.generation
        if eligibility.may_take(self, ready_list):
            return False
        ready_list.aside, ready_list.offer = True, None
        self.set_aside.setdefault(ready_list.name, []).append(ready_list)
        eligibility.set_aside[self] = None
        return True

    def recheck_eligibility(self, envelope: ListedEnvelope) -> None:
        """Check again whether a worker may take tasks of this envelope: one has released a task of an unknown name."""
        self.ready_list(envelope).examined = -1

    def readmit(self, names: Iterable[str] | None = None) -> bool:
        """Offer lists that were set aside again, all or only lists of `names`; True if there was one."""
        lists: list[PriorityList[TaskT]] = []
        for name in list(self.set_aside) if names is None else names:
            lists += self.set_aside.pop(name, ())
        for ready_list in lists:
            ready_list.aside, ready_list.examined = False, -1
            self._offer(ready_list)
        return bool(lists)

    def tidy(self) -> None:
        """Drop lists that have no task."""
        for name, lists in list(self.set_aside.items()):
            self.set_aside[name] = [ready_list for ready_list in lists if ready_list.first() is not None]
            if not self.set_aside[name]:
                del self.set_aside[name]
        for ready_list in [ready_list for ready_list in self.ready_lists.values() if ready_list.first() is None]:
            ready_list.offer = None
            del self.ready_lists[ready_list.name, ready_list.requires, ready_list.cost]
        self._clear_offers()

    def oldest_submitted_at(self) -> float | None:
        """When the oldest of its ready tasks was submitted, None if none is ready."""
        if not self.counts[READY]:
            return None
        lists = islice(self.ready_lists.values(), LISTS_PER_TIDY)
        heads = [task.submitted_at for ready_list in lists if (task := ready_list.first()) is not None]
        return min(heads, default=None)


def parts(queues: Sequence[Queue[TaskT]]) -> Iterator[Sequence[Queue[TaskT]]]:
    """All queues in parts: at most QUEUES_PER_PART each, and a new part after LISTS_PER_TIDY ready lists."""
    start = list_count = 0
    for at, queue in enumerate(queues):
        if at - start == QUEUES_PER_PART or list_count >= LISTS_PER_TIDY:
            yield queues[start:at]
            start, list_count = at, 0
        list_count += len(queue.ready_lists)
    yield queues[start:]
