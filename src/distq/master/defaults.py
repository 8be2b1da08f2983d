"""The ledger's defaults and limits, as the settings of its master say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distq.core.dead_letters import DeadLetterLimits
from distq.core.registry import Defaults
from distq.core.retry import Backoff

if TYPE_CHECKING:
    from distq.settings import Settings


def defaults_of(settings: Settings) -> Defaults:
    """The ledger's defaults and limits, from the settings of its master."""
    return Defaults(
        capacity=settings.capacity,
        tasks_max=settings.tasks_max,
        dead_letters=DeadLetterLimits(settings.dead_letter_ttl_s, settings.dead_letters_max),
        queues=settings.queue_limits or {},
        payload_bytes_max=settings.payload_bytes_max,
        max_deliveries=settings.max_deliveries,
        retries=settings.retries,
        result_ttl_s=settings.result_ttl_s,
        time_limit_s=settings.time_limit_s,
        backoff=Backoff(settings.retry_base_s, settings.retry_max_s),
        queues_max=settings.queues_max,
        tasks_per_queue_max=settings.tasks_per_queue_max,
        tasks_per_key_max=settings.tasks_per_key_max,
        schedules_max=settings.schedules_max,
        schedules_per_queue_max=settings.schedules_per_queue_max,
        schedules_per_key_max=settings.schedules_per_key_max,
        sessions_max=settings.sessions_max,
        sessions_per_key_max=settings.sessions_per_key_max,
    )
