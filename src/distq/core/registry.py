"""What has a name: queues, envelopes and counters, each made at its first use and shared as long as it is used."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from distq.core import head
from distq.core.counters import COUNTED_MAX, OTHER, OTHERS_MAX, TaskCounters
from distq.core.dead_letters import DeadLetterLimits
from distq.core.envelope import NO_LABELS, PRIORITY_DEFAULT, Envelope
from distq.core.errors import TooManyNames
from distq.core.policy import OPEN, Policy
from distq.core.queue import Eligibility, Queue
from distq.core.retry import Backoff

QUEUES_MAX: Final = 10_000
"""Maximum queues at one time; each has series of its own in the metrics."""
RECENT_MAX: Final = 10_000
"""Maximum envelopes that are kept for the words in which clients asked for them lately, though they have no tasks."""
TIDIED_PER_CALL: Final = 100
"""How many queues are looked at for one to be dropped when there are QUEUES_MAX: a refusal costs little."""


class Defaults(NamedTuple):
    """The limits and defaults that settings give."""

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
    """What single queues are limited to, by name."""


class RecentEnvelopes:
    """Envelopes by the words in which clients have asked for them, as far as they did so lately."""

    def __init__(self) -> None:
        self._young: dict[tuple[object, ...], Envelope] = {}
        self._old: dict[tuple[object, ...], Envelope] = {}

    def get(self, words: tuple[object, ...]) -> Envelope | None:
        """The envelope that was meant by these words the last time."""
        envelope = self._young.get(words)
        if envelope is None and self._old and (envelope := self._old.get(words)) is not None:
            self.keep(words, envelope)
        return envelope

    def keep(self, words: tuple[object, ...], envelope: Envelope) -> None:
        """Remember what these words mean."""
        if len(self._young) >= RECENT_MAX // 2:
            self.discard_unused()
        self._young[words] = envelope

    def discard_unused(self) -> None:
        """Forget what was not asked for since the last time."""
        self._old, self._young = self._young, {}


class Registry:
    """The registry of one master's queues, envelopes and tallies.

    What nothing refers to any more goes: an envelope with its last task, unless it was asked for lately; then, when
    `turn_over` comes, the queues and counters that have no envelope.
    """

    def __init__(self, rules: Defaults) -> None:
        self.queues: dict[str, Queue] = {}
        self.counters: dict[tuple[str, str], TaskCounters] = {}
        """By queue and task name, in the order in which they came up."""
        self.recent = RecentEnvelopes()
        self.eligibility = Eligibility()
        self.counters_of_gone = TaskCounters()
        """What was counted by tallies that have gone: how many were submitted and completed."""
        self._defaults = rules
        self._known: WeakValueDictionary[str, Queue] = WeakValueDictionary()
        """All queues that anything refers to: a worker may still serve one that is in `queues` no more."""
        self._envelopes: WeakValueDictionary[tuple[object, ...], Envelope] = WeakValueDictionary()
        self.costly = False
        """Whether there has been a task that takes several slots: only then anybody counts them."""

    def queue(self, name: str, role: str | None = None, *, lasts: bool = True) -> Queue:
        """The queue `name`, made at first use; with a role it stays for ever. Raises TooManyNames.

        One that was made with `lasts=False`, for what an operator has set of it, goes once that is undone, unless
        something else has asked for it meanwhile.
        """
        queue = self.queues.get(name)
        if queue is None:
            if len(self.queues) >= QUEUES_MAX and not self._drop_unused():
                raise TooManyNames(
                    f"there are {QUEUES_MAX:,} queues with tasks, limits or workers, and {name!r} would be one more."
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

    def release(self, queue: Queue) -> None:
        """Forget a queue of which nothing is set any more, and which nothing else has asked for."""
        if not queue.is_lasting and queue.own == OPEN and self.queues.get(queue.name) is queue:
            del self.queues[queue.name]

    def _drop_unused(self) -> bool:
        """Make room for one more queue, if one of the next few is not used."""
        self.recent = RecentEnvelopes()
        for name in list(islice(self.queues, TIDIED_PER_CALL)):
            queue = self.queues.pop(name)
            # What a rate has given out must be known until its period is over: the next `turn_over` sees to that.
            if queue.rate_window is not None or queue.policy_key is not None or not queue.unused(0.0):
                self.queues[name] = queue
        return len(self.queues) < QUEUES_MAX

    def discard_unused(self, now: float) -> list[int]:
        """Let go of what was not used since the last time; returns the stored policies' keys that are not needed."""
        self.recent.discard_unused()
        keys = self._drop_queues(now)
        for name, queue in self._known.items():
            if name not in self.queues:
                self.queues[name] = queue  # a worker serves it, or a request waits at it
        for labels in [labels for labels, tally in self.counters.items() if not tally.envelopes]:
            tally = self.counters.pop(labels)
            self.counters_of_gone.submitted += tally.submitted
            for word, number in tally.completed.items():
                self.counters_of_gone.completed[word] += number
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
    ) -> Envelope:
        """The shared envelope with these options, None meaning the rules' default; raises NameTooLong, TooManyNames."""
        key = (queue_name, name, kind, priority, retries, time_limit_s, result_ttl_s, max_deliveries, requires, cost)
        envelope = self._envelopes.get(key)
        if envelope is None:
            head.check_names(queue_name, name, requires)  # first: a refused name leaves no queue and no counters behind
            rules = self._defaults
            envelope = Envelope(
                self.queue(queue_name),
                name,
                kind,
                self.counters_of(queue_name, name),
                priority=priority,
                retries=rules.retries if retries is None else retries,
                max_deliveries=rules.max_deliveries if max_deliveries is None else max_deliveries,
                result_ttl_s=rules.result_ttl_s if result_ttl_s is None else result_ttl_s,
                time_limit_s=rules.time_limit_s if time_limit_s is None else time_limit_s,
                requires=requires,
                cost=cost,
            )
            self.costly = self.costly or cost > 1
            envelope.packed = head.pack_envelope(envelope)
            self._envelopes[key] = envelope
        return envelope

    def with_result_ttl(self, envelope: Envelope, result_ttl_s: float) -> Envelope:
        """The same envelope with another time for which results are kept; raises TooManyNames."""
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
        )

    def counters_of(self, queue_name: str, name: str) -> TaskCounters:
        """The counters of one task name on one queue; pairs beyond the bounds share those of OTHER."""
        tally = self.counters.get((queue_name, name))
        if tally is None and len(self.counters) >= COUNTED_MAX:
            name = OTHER
            if len(self.counters) >= COUNTED_MAX + OTHERS_MAX and (queue_name, name) not in self.counters:
                queue_name = OTHER
            tally = self.counters.get((queue_name, name))
        if tally is None:
            tally = self.counters[queue_name, name] = TaskCounters()
        return tally
