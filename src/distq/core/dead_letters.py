"""How long dead letters are kept, and how many: without a limit for ever, since each may be tried again."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distq.core.registry import Defaults
    from distq.core.task import Task

EXPIRED_REASON: Final = "over"
"""Reason of a drop by these limits, not by an operator."""


def expired(dead: Mapping[int, Task], rules: Defaults, now: float, most: int) -> Iterator[Task]:
    """At most `most` of the dead letters that are older or more than are kept; `dead` has the oldest first."""
    surplus = 0 if rules.dead_letters_max is None else len(dead) - rules.dead_letters_max
    ttl_s = math.inf if rules.dead_letter_ttl_s is None else rules.dead_letter_ttl_s
    for index, task in enumerate(islice(dead.values(), most)):
        if index >= surplus and task.state_since_at + ttl_s > now:
            return
        yield task


def next_at(dead: Mapping[int, Task], rules: Defaults) -> float | None:
    """When the next one goes, None if none does."""
    if rules.dead_letters_max is not None and len(dead) > rules.dead_letters_max:
        return -math.inf
    if rules.dead_letter_ttl_s is None or not dead:
        return None
    return next(iter(dead.values())).state_since_at + rules.dead_letter_ttl_s
