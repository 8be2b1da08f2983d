"""The limits of dead letters: their age and their number; without a limit the master keeps them for a requeue."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distq.core.task import Task

EXPIRED_REASON: Final = "over"
"""Reason of a drop by these limits, not by an operator."""


class DeadLetterLimits(NamedTuple):
    """The maximum age and the maximum number of dead letters that the master keeps."""

    ttl_s: float | None = None
    """Seconds for which each dead letter is kept, None for no limit."""
    count_max: int | None = None
    """Maximum dead letters of all queues together, None for no limit."""


def expired(dead: Mapping[int, Task], limits: DeadLetterLimits, now: float, most: int) -> Iterator[Task]:
    """The dead letters beyond these limits, at most `most` of them; `dead` has the oldest first."""
    surplus = 0 if limits.count_max is None else len(dead) - limits.count_max
    ttl_s = math.inf if limits.ttl_s is None else limits.ttl_s
    for index, task in enumerate(islice(dead.values(), most)):
        if index >= surplus and task.state_since_at + ttl_s > now:
            return
        yield task


def next_at(dead: Mapping[int, Task], limits: DeadLetterLimits) -> float | None:
    """When the next dead letter exceeds these limits; None if the passing of time makes none exceed them."""
    if limits.count_max is not None and len(dead) > limits.count_max:
        return -math.inf
    if limits.ttl_s is None or not dead:
        return None
    return next(iter(dead.values())).state_since_at + limits.ttl_s
