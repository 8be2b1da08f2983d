"""How worn an executor is: of how many tasks it has run, and how much memory it has, it is replaced."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from distq.worker.shared.page import Ending
from distq.worker.shared.resident_memory import resident_bytes

if TYPE_CHECKING:
    from distq.worker.shared.executor_config import ExecutorConfig


class RecyclePolicy:
    """What is left of one executor."""

    __slots__ = ("_rss_bytes_max", "_swollen", "tasks_left")

    def __init__(self, orders: ExecutorConfig) -> None:
        self.tasks_left: float = orders.max_tasks or math.inf
        """So many more it may run."""
        self._rss_bytes_max = orders.max_rss_bytes
        self._swollen = False

    @property
    def out(self) -> bool:
        """Whether it is to be replaced."""
        return self.tasks_left <= 0 or self._swollen

    @property
    def ending(self) -> Ending:
        """For which of the two reasons."""
        return Ending.MEMORY if self._swollen else Ending.TASKS

    def weigh(self) -> None:
        """Look how much memory it has, if that matters."""
        if self._rss_bytes_max is not None:
            self._swollen = resident_bytes("self") > self._rss_bytes_max
