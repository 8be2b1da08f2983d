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

    __slots__ = ("_is_over_memory", "_rss_bytes_max", "tasks_left")

    def __init__(self, config: ExecutorConfig) -> None:
        self.tasks_left: float = config.max_tasks or math.inf
        """So many more it may run."""
        self._rss_bytes_max = config.max_rss_bytes
        self._is_over_memory = False

    @property
    def is_due(self) -> bool:
        """Whether it is to be replaced."""
        return self.tasks_left <= 0 or self._is_over_memory

    @property
    def reason(self) -> Ending:
        """For which of the two reasons."""
        return Ending.MEMORY if self._is_over_memory else Ending.TASKS

    def check_memory(self) -> None:
        """Look how much memory it has, if that matters."""
        if self._rss_bytes_max is not None:
            self._is_over_memory = resident_bytes("self") > self._rss_bytes_max
