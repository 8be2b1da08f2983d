"""The constraints that only some tasks have (a concurrency key, a unique key, dependencies), and headers."""

from __future__ import annotations

from typing import Final, NamedTuple

KEY_BYTES_MAX: Final = 64
"""Maximum bytes of a concurrency key or a unique key, in UTF-8, so that a stored head stays small."""

FAIL, CANCEL, RUN = "fail", "cancel", "run"
FAILURE_POLICIES: Final = (FAIL, CANCEL, RUN)
"""What happens to a task when a dependency fails: it becomes a dead letter too, it is cancelled, or it still runs."""

DEPENDENCIES_MAX: Final = 1 << 20
"""Maximum dependencies of one task, and of all tasks of one submit together, because each costs the master memory."""

Headers = tuple[tuple[str, str], ...]
"""Names and texts that travel with a task and that the master does not interpret: a trace, a tenant."""
HEADERS_MAX: Final = 16
"""Maximum headers of a task, because every stored head repeats them."""
HEADERS_BYTES_MAX: Final = 1_024
"""Maximum bytes of all names and texts of a task's headers together, in UTF-8: every stored head repeats them."""


class DependsOn(NamedTuple):
    """The dependencies of a task: consecutive keys, and what happens to the task if one of them fails."""

    first: int
    size: int
    policy: str = FAIL
    is_single: bool = False
    """Whether the task's first argument is the one result, not a list of results."""

    @property
    def keys(self) -> range:
        """The keys of the dependencies."""
        return range(self.first, self.first + self.size)


class TaskConstraints(NamedTuple):
    """The constraints of a task, and its headers."""

    concurrency_key: str = ""
    """Its concurrency key, '' for none."""
    concurrency: int = 1
    """Maximum tasks of this concurrency key in flight, ready or leased."""
    unique_key: str = ""
    """Its unique key, '' for none."""
    unique_for_s: float | None = None
    """Seconds after its submit for which the task has its unique key; None: until it has ended."""
    depends_on: DependsOn | None = None
    headers: Headers = ()


NO_CONSTRAINTS: Final = TaskConstraints()


def trace_id_of(headers: Headers) -> str:
    """The id of the trace that a task is part of, '' for none.

    The second part of `traceparent`: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    parts = next((text.split("-") for name, text in headers if name == "traceparent"), ())
    return parts[1] if len(parts) >= 4 else ""
