"""The name of one lease, by which supervisor, executor and master mean the same run of a task."""

from typing import NamedTuple


class LeaseId(NamedTuple):
    """A task and the number of its delivery; on the wire and in shared pages these are two plain integers."""

    task_key: int
    delivery: int
