"""What the present cycle had decided before a request: if the request fails half-way, all that came after is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from distq.core.policy import Policy
    from distq.core.queue import Queue


class Savepoint(NamedTuple):
    """How long the lists of decisions were; they only ever grow within a cycle."""

    new: int
    changes: int
    unread: int
    cursors: int
    parts: int
    decided_policies: dict[Queue, Policy] | None
    """Decided policies, which a later request may replace; None for none."""


NOTHING_DECIDED = Savepoint(0, 0, 0, 0, 0, None)
