"""The registry of queues, envelopes and counters: each is made at its first use and shared while it is used."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from distq.core import head
from distq.core.counters import COUNTED_MAX, OTHER, OTHERS_MAX, TaskCounters
from distq.core.dead_letters import DeadLetterLimits
from distq.core.errors import TooManyNames
from distq.core.key_tasks import NO_KEY, KeyTasks
from distq.core.option_values import NO_LABELS, PRIORITY_DEFAULT
from distq.core.plurals import counted
from distq.core.policy import OPEN, Policy
from distq.core.queue import Eligibility, Queue
from distq.core.retry import Backoff
from distq.core.task import Envelope, Task

RECENT_MAX: Final = 10_000
"""Maximum envelopes that are kept without tasks because clients used their options recently; more cost memory."""
TIDIED_PER_CALL: Final = 100
"""Maximum queues that are checked for an unused one when there are `queues_max`, so that a refusal is fast."""


class Defaults(NamedTuple):
    """The limits and defaults from the settings."""

    capacity: int = 10_000_000
    payload_bytes_max: int = 16 << 20
    max_deliveries: int = 5
    retries: int = 3
    result_ttl_s: float = 3600.0
    time_limit_s: float | None = None
    backoff: Backoff = Backoff()
    tasks_max: int = 20_000_000
    dead_letters: DeadLetterLimits = DeadLetterLimits()
    queues: Mapping[str, Policy] = MappingProxyType({})
    """The policies of single queues, by queue name."""
    queues_max: int = 10_000
    """Maximum queues at the same time, because each has its own series in the metrics."""
    tasks_per_queue_max: int | None = None
    """Maximum tasks and results of one queue; None: `tasks_max`."""
    tasks_per_key_max: int | None = None
    """Maximum tasks and results of the tasks that one key has submitted; None: no key is stored with a task."""
    schedules_max: int = 10_000
    schedules_per_queue_max: int | None = None
    """Maximum schedules that submit to one queue; None: `schedules_max`."""
    schedules_per_key_max: int | None = None
    """Maximum schedules that one key has made; None: `schedules_max`."""
    sessions_max: int = 100_000
    """Maximum client sessions, of about a kilobyte each."""
    sessions_per_key_max: int | None = None
    """Maximum client sessions of one key; None: `sessions_max`, which ends those of the key that has the most."""


LIMITS: Final = (
    "queues_max",
    "schedules_max",
    "schedules_per_key_max",
    "schedules_per_queue_max",
    "sessions_max",
    "sessions_per_key_max",
    "tasks_per_key_max",
    "tasks_per_queue_max",
)
"""The settings that limit what clients can make, in lower case, without their prefix."""


class RecentEnvelopes:
    """The envelopes that clients used recently, by the options that the clients sent (`words`)."""

    def __init__(self) -> None:
        self._young: dict[tuple[object, ...], Envelope] = {}
        self._old: dict[tuple[object, ...], Envelope] = {}

    def get(self, fields: tuple[object, ...]) -> Envelope | None:
        """The envelope that belongs to these options, None if no client used them recently."""
        envelope = self._young.get(fields)
        if envelope is None and self._old and (envelope := self._old.get(fields)) is not None:
            self.keep(fields, envelope)
        return envelope

    def keep(self, fields: tuple[object, ...], envelope: Envelope) -> None:
        """Remember the envelope of these options."""
        if len(self._young) >= RECENT_MAX // 2:
            self.discard_unused()
        self._young[fields] = envelope

    def discard_unused(self) -> None:
        """Forget the envelopes that no client has used since the last call."""
        self._old, self._young = self._young, {}


class Registry:
    """The registry of one master's queues, envelopes and counters.

    An envelope is dropped with its last task, unless a client used it recently. `discard_unused` then drops the queues
    and the counters that have no envelope.
    """

    def __init__(self, defaults: Defaults) -> None:
        self.queues: dict[str, Queue[Task]] = {}
        self.counters: dict[tuple[str, str], TaskCounters] = {}
        """Counters by queue and task name, in the order of their first use."""
        self.recent = RecentEnvelopes()
        self.eligibility: Eligibility[Task] = Eligibility()
        self.counters_of_gone = TaskCounters()
        """The sums of the counters that were dropped: tasks that were submitted and completed."""
        self.limits_met = dict.fromkeys(LIMITS, 0)
        """Number of times that each of these limits has refused or ended something."""
        self._defaults = defaults
        self._known: WeakValueDictionary[str, Queue[Task]] = WeakValueDictionary()
        """All queues that are still referenced: a worker may serve a queue that is no longer in `queues`."""
        self._envelopes: WeakValueDictionary[tuple[Any, ...], Envelope] = WeakValueDictionary()
        self.key_tasks: WeakValueDictionary[str, KeyTasks] = WeakValueDictionary()
        """The tasks by the name of the key that submitted them; an envelope keeps those of its key."""
        self.costly = False
        """Whether a task has required several slots; only then leases count slots."""

    def queue(self, name: str, role: str | None = None, *, lasts: bool = True, stored: bool = False) -> Queue[Task]:
        """The queue `name`, made at first use; with a role it is permanent. Raises TooManyNames.

        A queue that is `stored`, or has a role, exists beyond the limit too: the limit may have been lowered since.
        A queue that was made with `lasts=False`, for an operator's policy, is dropped when the operator removes the
        policy, unless another call without `lasts=False` has used it.
        """
        queue = self.queues.get(name)
        if queue is None:
            most = self._defaults.queues_max
            if len(self.queues) >= most and not (stored or role is not None or self._drop_unused()):
                self.limits_met["queues_max"] += 1
                raise TooManyNames(
                    f"there are {counted(most, 'queue')} with tasks, limits or workers (DISTQ_QUEUES_MAX), and "
                    f"{name!r} would be one more."
                )
            queue = self._known.get(name)
            if queue is None:
                base = self._defaults.queues.get(name, OPEN)
                queue = self._known[name] = Queue(
                    name, self._defaults.capacity, base=base, eligibility=self.eligibility
                )
            self.queues[name] = queue
        queue.is_lasting = queue.is_lasting or lasts
        if role is not None:
            queue.role, queue.permanent = role, True
        return queue

    def release(self, queue: Queue[Task]) -> None:
        """Drop a queue that has no operator's policy any more and that only such a policy needed."""
        if not queue.is_lasting and queue.own == OPEN and self.queues.get(queue.name) is queue:
            del self.queues[queue.name]

    def _drop_unused(self) -> bool:
        """Drop unused queues among the next TIDIED_PER_CALL; True if there is room for one more queue."""
        self.recent = RecentEnvelopes()
        for name in list(islice(self.queues, TIDIED_PER_CALL)):
            queue = self.queues.pop(name)
            # A rate must remember its leases until their period is over: the next `discard_unused` checks that.
            if queue.rate_window is not None or queue.policy_key is not None or not queue.unused(0.0):
                self.queues[name] = queue
        return len(self.queues) < self._defaults.queues_max

    def discard_unused(self, now: float) -> list[int]:
        """Drop what was not used since the last call; returns the keys of stored policies that are no longer needed."""
        self.recent.discard_unused()
        keys = self._drop_queues(now)
        for name, queue in self._known.items():
            if name not in self.queues:
                self.queues[name] = queue  # a worker serves it, or a request waits for it
        for labels in [labels for labels, counters in self.counters.items() if not counters.envelopes]:
            counters = self.counters.pop(labels)
            self.counters_of_gone.submitted += counters.submitted
            for outcome, number in counters.completed.items():
                self.counters_of_gone.completed[outcome] += number
        return keys

    def _drop_queues(self, now: float) -> list[int]:
        keys = []
        for name, queue in list(self.queues.items()):
            if queue.ready_lists:
                queue.tidy()
            if queue.unused(now):
                self.eligibility.set_aside.pop(queue, None)
                if queue.policy_key is not None:
                    keys.append(queue.policy_key)
                    queue.policy_key = None
                del self.queues[name]
        return keys

    def envelope(
        self,
        queue_name: str,
        name: str,
        kind: str,
        *,
        priority: int = PRIORITY_DEFAULT,
        retries: int | None = None,
        time_limit_s: float | None = None,
        result_ttl_s: float | None = None,
        max_deliveries: int | None = None,
        requires: frozenset[str] = NO_LABELS,
        cost: int = 1,
        key_name: str = "",
        stored: bool = False,
    ) -> Envelope:
        """The shared envelope with these options; None means the default. Raises NameTooLong or TooManyNames.

        `key_name` is the name of the key that submits the tasks; it is ignored if the tasks of a key have no limit.
        With `stored` the store has the envelope, whose queue exists beyond the limit of queues too.
        """
        defaults = self._defaults
        if defaults.tasks_per_key_max is None:
            key_name = ""
        options = (priority, retries, time_limit_s, result_ttl_s, max_deliveries, requires, cost)
        key = (queue_name, name, kind, options, key_name)
        envelope = self._envelopes.get(key)
        if envelope is None:
            head.check_names(queue_name, name, requires)  # first: a refused name leaves no queue and no counters behind
            envelope = Envelope(
                self.queue(queue_name, stored=stored),
                name,
                kind,
                self.counters_of(queue_name, name),
                priority=priority,
                retries=defaults.retries if retries is None else retries,
                max_deliveries=defaults.max_deliveries if max_deliveries is None else max_deliveries,
                result_ttl_s=defaults.result_ttl_s if result_ttl_s is None else result_ttl_s,
                time_limit_s=defaults.time_limit_s if time_limit_s is None else time_limit_s,
                requires=requires,
                cost=cost,
                key_tasks=self.key_tasks.setdefault(key_name, KeyTasks(key_name)) if key_name else NO_KEY,
            )
            self.costly = self.costly or cost > 1
            envelope.packed = head.pack_envelope(envelope)
            self._envelopes[key] = envelope
        return envelope

    def with_result_ttl(self, envelope: Envelope, result_ttl_s: float) -> Envelope:
        """The envelope that differs from `envelope` only in `result_ttl_s`; raises TooManyNames."""
        return self.envelope(
            envelope.queue.name,
            envelope.name,
            envelope.kind,
            priority=envelope.priority,
            retries=envelope.retries,
            time_limit_s=envelope.time_limit_s,
            result_ttl_s=result_ttl_s,
            max_deliveries=envelope.max_deliveries,
            requires=envelope.requires,
            cost=envelope.cost,
            key_name=envelope.key_tasks.name,
        )

    @property
    def counts_by_key(self) -> bool:
        """Whether the tasks of each key are counted, because they have a limit."""
        return self._defaults.tasks_per_key_max is not None

    def may_have_tasks(self, queue_name: str | None, name: str | None, most: int) -> bool:
        """Whether a task of this queue and name may exist; always True if there are more than `most` envelopes."""
        if len(self._envelopes) > most:
            return True
        return any(queue_name in (None, key[0]) and name in (None, key[1]) for key in list(self._envelopes))

    def queues_of(self, name: str) -> set[str]:
        """The names of the queues that have tasks of this name, in any state, or had them recently."""
        return {key[0] for key in list(self._envelopes) if key[1] == name}

    def counters_of(self, queue_name: str, name: str) -> TaskCounters:
        """The counters of one task name on one queue; pairs beyond the limits share the counters of OTHER."""
        counters = self.counters.get((queue_name, name))
        if counters is None and len(self.counters) >= COUNTED_MAX:
            name = OTHER
            if len(self.counters) >= COUNTED_MAX + OTHERS_MAX and (queue_name, name) not in self.counters:
                queue_name = OTHER
            counters = self.counters.get((queue_name, name))
        if counters is None:
            counters = self.counters[queue_name, name] = TaskCounters()
        return counters
