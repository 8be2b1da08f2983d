"""The limits of schedules: in all, of one queue and of one key."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from distq.core.plurals import counted
from distq.core.schedule import BadSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.ledger import Ledger
    from distq.core.schedule import ScheduleSpec


class ScheduleRoom:
    """The room for schedules within one decision; it is made anew for each, in one pass over all schedules."""

    def __init__(self, known: Sequence[tuple[object, str]], ledger: Ledger) -> None:
        """Count the schedules, of which `known` has each one's queue and the name of its key."""
        defaults = ledger.defaults
        self._limits_met = ledger.registry.limits_met
        self._most, self._queue_most = defaults.schedules_max, defaults.schedules_per_queue_max
        self._key_most = defaults.schedules_per_key_max
        self._count = len(known)
        self._by_queue = Counter(queue for queue, _ in known) if self._queue_most is not None else Counter[object]()
        self._by_key = Counter(key_name for _, key_name in known) if self._key_most is not None else Counter[str]()

    def take(self, spec: ScheduleSpec, key_name: str, former_key_name: str | None = None) -> None:
        """Count a schedule of a key that is new, or whose last change was by `former_key_name`; raises BadSchedule.

        A change of a schedule has room in any case, unless it was another key's until now.
        """
        if former_key_name is None:
            self._check_new(spec.envelope[0])
        if former_key_name != key_name:
            if self._key_most is not None and self._by_key[key_name] >= self._key_most:
                raise self._refusal(
                    "schedules_per_key_max",
                    f"the key {key_name!r} has {counted(self._key_most, 'schedule')} (DISTQ_SCHEDULES_PER_KEY_MAX)",
                )
            self._by_key[key_name] += 1
            if former_key_name is not None:
                self._by_key[former_key_name] -= 1
        if former_key_name is None:
            self._count += 1
            self._by_queue[spec.envelope[0]] += 1

    def _check_new(self, queue: object) -> None:
        if self._count >= self._most:
            raise self._refusal(
                "schedules_max", f"the master has {counted(self._most, 'schedule')} (DISTQ_SCHEDULES_MAX)"
            )
        if self._queue_most is not None and self._by_queue[queue] >= self._queue_most:
            raise self._refusal(
                "schedules_per_queue_max",
                f"the queue {queue!r} has {counted(self._queue_most, 'schedule')} (DISTQ_SCHEDULES_PER_QUEUE_MAX)",
            )

    def _refusal(self, limit: str, sentence: str) -> BadSchedule:
        self._limits_met[limit] += 1
        return BadSchedule(f"{sentence}; remove one first.")
