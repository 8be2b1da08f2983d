"""`distq.testing`: a cluster and an eager client for the tests of programs that use distq."""

from distq.testing.cluster import Cluster, cluster
from distq.testing.eager import Eager, eager
from distq.testing.errors import ClusterEnded, ClusterNotStarted, NotSubmitted, TasksUnfinished
from distq.testing.submitted import SubmittedTask

__all__ = [
    "Cluster",
    "ClusterEnded",
    "ClusterNotStarted",
    "Eager",
    "NotSubmitted",
    "SubmittedTask",
    "TasksUnfinished",
    "cluster",
    "eager",
]
