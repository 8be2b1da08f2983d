"""The errors of `distq.testing`."""

from __future__ import annotations

from distq.core.errors import DistqError


class ClusterNotStarted(DistqError):
    """The test cluster's master or executors could not start."""

    code = "CLUSTER_NOT_STARTED"
    hint = (
        "The executors import `tasks` with the sys.path of the test: make each module importable by the name given, "
        "for example with the setting pythonpath of pytest."
    )


class ClusterEnded(DistqError):
    """A method of a test cluster was called after its `with` block, or in a child process that the test has forked."""

    code = "CLUSTER_ENDED"


class TasksUnfinished(DistqError):
    """`drain` or `advance` waited for tasks that have not ended, or that no executor of the cluster can run."""

    code = "TASKS_UNFINISHED"
    hint = (
        "The logger `distq.testing` has what the executors reported; `cluster(tasks=...)` names the modules of tasks."
    )


class NestedTooDeep(TasksUnfinished):
    """Tasks of the eager mode submit each other so deep that Python's stack has no room for one more.

    It ends every task around the submit, without retries, and the call of the test.
    """

    code = "NESTED_TOO_DEEP"
    hint = (
        "Test it with distq.testing.cluster, where tasks do not run inside each other, or call sys.setrecursionlimit()."
    )


class NotSubmitted(AssertionError):
    """No task with this function and these arguments was submitted."""
