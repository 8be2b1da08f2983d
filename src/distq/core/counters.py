"""Plain counters, kept by the ledger as it goes and read by the metrics at scrape time.

prometheus-client's own `observe` per task would double the cost of a task; a list index and an addition do not.
"""

from bisect import bisect_left
from typing import Final

BUCKETS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip
"""Upper bounds in seconds, log-spaced from a millisecond to an hour."""


COUNTED_MAX: Final = 200
"""Maximum pairs of queue and task name that are counted by themselves: each is about 70 series of the metrics."""
OTHERS_MAX: Final = 100
"""Maximum queues whose later names are counted together, as OTHER of their queue; beyond it all are OTHER of OTHER."""
OTHER: Final = "other"
"""What the names beyond the bounds are counted as: a client that makes up names or queues fills nothing."""


class Histogram:
    """Counts of seconds by bucket (not cumulative; the last is above every bound) and their sum."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration; one that the clock was set back in is none."""
        if seconds < 0.0:  # noqa: PLR1730 - three times a task; max() takes as long as all the rest
            seconds = 0.0
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class TaskCounters:
    """Everything that is counted for tasks of one name on one queue."""

    __slots__ = (
        "attempts",
        "completed",
        "dropped",
        "envelopes",
        "late",
        "redeliveries",
        "rejected",
        "requeued",
        "retries",
        "run",
        "submitted",
        "total",
        "wait",
    )

    def __init__(self) -> None:
        self.envelopes = 0
        """Envelopes that are counted here; without any it is not needed."""
        self.submitted = 0
        self.rejected: dict[str, int] = {}
        """Refused submits by reason: full, payload."""
        self.completed = {"success": 0, "dead": 0, "cancelled": 0, "expired": 0}
        self.attempts = {"success": 0, "failure": 0, "timeout": 0, "lost": 0, "returned": 0, "snoozed": 0}
        self.retries = {"failure": 0, "timeout": 0}
        """Failed attempts that are tried again, by how they failed."""
        self.dropped = 0
        """Dead letters that went because they were older or more than are kept."""
        self.requeued = 0
        """Dead letters that somebody had tried again: each may end once more."""
        self.redeliveries: dict[str, int] = {}
        """Deliveries that ended without a word from the task, by reason: executor, connection, lease."""
        self.late: dict[str, int] = {}
        """Settles of a lease that had ended, by outcome."""
        self.wait = Histogram()
        """Seconds from ready to leased."""
        self.run = Histogram()
        """Seconds that the successful attempt ran."""
        self.total = Histogram()
        """Seconds from submit to success."""

    def count(self, table: dict[str, int], word: str) -> None:
        """Add one to `word` of an open table."""
        table[word] = table.get(word, 0) + 1
