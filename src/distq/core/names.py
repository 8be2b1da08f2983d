"""What has a name: queues, envelopes and counters, each made at its first use and shared from then on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from distq.core import head
from distq.core.errors import TooManyNames
from distq.core.policy import OPEN, Policy
from distq.core.queue import Queue
from distq.core.retry import Backoff
from distq.core.tally import COUNTED_MAX, OTHER, OTHERS_MAX, Tally
from distq.core.task import NOTHING, PRIORITY_DEFAULT, Envelope

QUEUES_MAX: Final = 10_000
ENVELOPES_MAX: Final = 100_000
"""Each costs memory for as long as the master lives."""


class Rules(NamedTuple):
    """The limits and defaults that settings give."""

    capacity: int = 10_000_000
    payload_bytes_max: int = 16 << 20
    max_deliveries: int = 5
    retries: int = 3
    result_ttl_s: float = 3600.0
    time_limit_s: float | None = None
    backoff: Backoff = Backoff()
    tasks_max: int = 20_000_000
    queues: Mapping[str, Policy] = MappingProxyType({})
    """What single queues are limited to, by name."""


class Names:
    """The registry of one master's queues, envelopes and tallies."""

    def __init__(self, rules: Rules) -> None:
        self.queues: dict[str, Queue] = {}
        self.tallies: dict[tuple[str, str], Tally] = {}
        """By queue and task name, in the order in which they came up."""
        self.said: dict[tuple[object, ...], Envelope] = {}
        """Envelopes by the words in which clients have asked for them."""
        self._rules = rules
        self._envelopes: dict[tuple[object, ...], Envelope] = {}
        self.costly = False
        """Whether there has been a task that takes several slots: only then anybody counts them."""

    def queue(self, name: str, role: str | None = None, *, lasts: bool = True) -> Queue:
        """The queue `name`, made at first use; raises TooManyNames.

        One that was made with `lasts=False`, for what an operator has set of it, goes once that is undone, unless
        something else has asked for it meanwhile.
        """
        queue = self.queues.get(name)
        if queue is None:
            if len(self.queues) >= QUEUES_MAX:
                raise TooManyNames(f"there are {QUEUES_MAX:,} queues already, and {name!r} would be one more.")
            base = self._rules.queues.get(name, OPEN)
            queue = self.queues[name] = Queue(name, self._rules.capacity, base=base)
        queue.lasts = queue.lasts or lasts
        if role is not None:
            queue.role = role
        return queue

    def let_go(self, queue: Queue) -> None:
        """Forget a queue of which nothing is set any more, and which nothing else has asked for."""
        if not queue.lasts and queue.own == OPEN and self.queues.get(queue.name) is queue:
            del self.queues[queue.name]

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
        requires: frozenset[str] = NOTHING,
        cost: int = 1,
    ) -> Envelope:
        """The shared envelope with these options, None meaning the rules' default; raises NameTooLong, TooManyNames."""
        key = (queue_name, name, kind, priority, retries, time_limit_s, result_ttl_s, max_deliveries, requires, cost)
        envelope = self._envelopes.get(key)
        if envelope is None:
            if len(self._envelopes) >= ENVELOPES_MAX:
                raise TooManyNames(f"there are {ENVELOPES_MAX:,} kinds of tasks already, and {name!r} is a new one.")
            head.check_names(queue_name, name, requires)  # first: a refused name leaves no queue and no counters behind
            rules = self._rules
            envelope = Envelope(
                self.queue(queue_name),
                name,
                kind,
                self.tally(queue_name, name),
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

    def lasting(self, envelope: Envelope, result_ttl_s: float) -> Envelope:
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

    def tally(self, queue_name: str, name: str) -> Tally:
        """The counters of one task name on one queue; pairs beyond the bounds share those of OTHER."""
        tally = self.tallies.get((queue_name, name))
        if tally is None and len(self.tallies) >= COUNTED_MAX:
            name = OTHER
            if len(self.tallies) >= COUNTED_MAX + OTHERS_MAX and (queue_name, name) not in self.tallies:
                queue_name = OTHER
            tally = self.tallies.get((queue_name, name))
        if tally is None:
            tally = self.tallies[queue_name, name] = Tally()
        return tally
