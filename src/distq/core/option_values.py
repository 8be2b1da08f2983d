"""The values that the kind and the options of a task may have: priorities, labels, costs, kinds of executors."""

from typing import Final

PLAIN: Final = "plain"
"""Kind and name of a plain item, which a standard-library program puts on a queue."""
TASK: Final = "task"
"""Kind of a task that names a Python function."""

ACCEPT_JSON: Final = "json"
"""The value of DISTQ_ACCEPT with which a worker or a client unpickles nothing."""
PRIORITIES: Final = 10
PRIORITY_DEFAULT: Final = 5

NO_LABELS: Final[frozenset[str]] = frozenset()
LABELS_MAX: Final = 16
"""Maximum labels that a task may require."""
LABELS_BYTES_MAX: Final = 200
"""Maximum bytes of all labels that a task requires, in UTF-8: a stored head has one byte for their length."""
COST_MAX: Final = 1_000
"""Maximum slots that one task may take."""
PROCESS, THREAD = "process", "thread"
EXECUTORS: Final = (PROCESS, THREAD)
"""Kinds of executors: one runs one task at a time; the other runs several in threads, and coroutines on one loop."""


def executor_label(kind: str) -> str:
    """The label of workers whose executors are of this kind."""
    return f"executor:{kind}"


def kinds_required(requires: frozenset[str]) -> list[str]:
    """The kinds of executors that a task's labels require."""
    return [kind for kind in EXECUTORS if executor_label(kind) in requires]
