"""Who may take tasks, as far as queues must know: whether some connected worker could ever take out of a lane.

What no worker could take is set aside, where it costs those who take other tasks nothing, until one comes that may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from distq.core.queue import Queue
    from distq.core.ready_list import PriorityList


class Eligibility:
    """The workers of one master; as long as none are told of, any lane may be taken out of."""

    __slots__ = ("generation", "may_take", "set_aside")

    def __init__(self) -> None:
        self.generation = 0
        """Grows when a worker comes, or one may take more than before."""
        self.may_take: Callable[[Queue, PriorityList], bool] = lambda queue, lane: True  # noqa: ARG005
        """Whether a connected worker may take out of a lane of that queue."""
        self.set_aside: dict[Queue, None] = {}
        """Queues that have lanes set aside."""
