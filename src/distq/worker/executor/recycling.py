"""Decides when an executor is replaced: after a number of tasks, or with too much memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from distq.worker.shared.page import Ending
from distq.worker.shared.resident_memory import resident_bytes

if TYPE_CHECKING:
    from distq.worker.shared.executor_config import ExecutorConfig


class RecyclePolicy:
    """When one executor is to be replaced."""

    __slots__ = ("_is_over_memory", "_rss_bytes_max", "tasks_left")

    def __init__(self, config: ExecutorConfig) -> None:
        self.tasks_left: float = config.max_tasks or math.inf
        """How many more tasks the executor may run."""
        self._rss_bytes_max = config.max_rss_bytes
        self._is_over_memory = False

    @property
    def is_due(self) -> bool:
        """Whether the executor is to be replaced."""
        return self.tasks_left <= 0 or self._is_over_memory

    @property
    def reason(self) -> Ending:
        """Why the executor is to be replaced."""
        return Ending.MEMORY if self._is_over_memory else Ending.TASKS

    def check_memory(self) -> None:
        """Read how much memory the executor uses, if that is limited."""
        if self._rss_bytes_max is not None:
            self._is_over_memory = resident_bytes("self") > self._rss_bytes_max
