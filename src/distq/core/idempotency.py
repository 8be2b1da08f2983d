"""Idempotency keys: a submit that is sent again with the key of an earlier one is answered with that one's task.

A task keeps the key in one of its headers, together with a fingerprint of the submit. So the same commit stores the
task and its key, a restarted master knows the key, and the key is free again when the task is dropped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from distq.core.task import Task

HEADER: Final = "distq-idempotency"
"""Name of the header that has the fingerprint of the submit and, after a space, the key."""
KEY_CHARS_MAX: Final = 128
"""Maximum characters of a key, because every stored head repeats it; a UUID has 36."""
KEY_SHAPE: Final = re.compile(rf"[A-Za-z0-9._:/+=-]{{1,{KEY_CHARS_MAX}}}")
"""The form of a key: texts that a header of HTTP carries unchanged."""


class Idempotency(NamedTuple):
    """The idempotency key of a submit, and a fingerprint of everything else that the submit says."""

    key: str
    fingerprint: str
    """A hash without spaces; the same for submits that say the same."""

    @property
    def header(self) -> tuple[str, str]:
        """The header with which the task keeps both."""
        return HEADER, f"{self.fingerprint} {self.key}"


class IdempotentTasks:
    """The tasks that were submitted with an idempotency key, by that key."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        """Add a task if its headers have a key; the first task with a key keeps it."""
        if (found := idempotency_of(task)) is not None:
            self._by_key.setdefault(found.key, task)

    def discard(self, task: Task) -> None:
        """Free the key of a task that the master drops."""
        found = idempotency_of(task)
        if found is not None and self._by_key.get(found.key) is task:
            del self._by_key[found.key]

    def get(self, key: str) -> Task | None:
        """The task that was submitted with this key, None if there is none."""
        return self._by_key.get(key)


def idempotency_of(task: Task) -> Idempotency | None:
    """The key and the fingerprint that a task keeps; None if it was submitted without a key."""
    stored = next((text for name, text in task.constraints.headers if name == HEADER), "")
    fingerprint, _, key = stored.partition(" ")
    return Idempotency(key, fingerprint) if key else None
