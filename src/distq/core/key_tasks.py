"""How many tasks each key has submitted, with their results."""

from __future__ import annotations

from typing import Final


class KeyTasks:
    """The number of the tasks that were submitted with one key; all envelopes of the key share it."""

    __slots__ = ("__weakref__", "kept", "name", "reserved")

    def __init__(self, name: str) -> None:
        self.name = name
        """The key's name; '' for tasks whose key is not known, which have no limit."""
        self.kept = 0
        """Number of its tasks, including stored results and dead letters."""
        self.reserved = 0
        """Number of its tasks that were submitted in the present cycle and are not yet applied."""


NO_KEY: Final = KeyTasks("")
"""The tasks whose key is not known: all tasks, unless DISTQ_TASKS_PER_KEY_MAX is set."""
