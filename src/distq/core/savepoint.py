"""Savepoints: the decisions of a cycle before a request, to undo later decisions if the request fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from distq.core.policy import Policy
    from distq.core.queue import Queue
    from distq.core.task import Task


class Savepoint(NamedTuple):
    """The lengths of the lists of decisions, which only grow within a cycle."""

    new: int
    changes: int
    unread: int
    cursors: int
    parts: int
    decided_policies: dict[Queue[Task], Policy] | None
    """A copy of the decided policies, which a later request may replace; None for none."""


NOTHING_DECIDED = Savepoint(0, 0, 0, 0, 0, None)
