"""The counters of tasks: the ledger updates them at each change, and the metrics read them at scrape time.

`observe` of prometheus-client would double the cost of a task, so a counter is a list index and an addition.
"""

from bisect import bisect_left
from typing import Final

BUCKETS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip
"""Upper bounds of the buckets in seconds, log-spaced from a millisecond to an hour."""


COUNTED_MAX: Final = 200
"""Maximum pairs of queue and task name with counters of their own: each is about 70 series of the metrics."""
OTHERS_MAX: Final = 100
"""Maximum queues whose further names share one set of counters, (queue, OTHER); further queues share (OTHER, OTHER)."""
OTHER: Final = "other"
"""The label of names beyond these limits, so that a client that uses many names or queues cannot fill the memory."""


class Histogram:
    """Counts of seconds by bucket (not cumulative; the last is above every bound) and their sum."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration; a negative one, after the clock was set back, counts as 0."""
        if seconds < 0.0:  # noqa: PLR1730 - called three times a task; max() takes as long as the rest of this
            seconds = 0.0
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class TaskCounters:
    """The counters of the tasks of one name on one queue."""

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
        """Number of envelopes that use these counters; the registry discards counters without any."""
        self.submitted = 0
        self.rejected: dict[str, int] = {}
        """Refused submits by reason: full, kept, payload, unique."""
        self.completed = {"success": 0, "dead": 0, "cancelled": 0, "expired": 0}
        self.attempts = {"success": 0, "failure": 0, "timeout": 0, "lost": 0, "returned": 0, "snoozed": 0}
        self.retries = {"failure": 0, "timeout": 0}
        """Failed attempts that are retried, by reason."""
        self.dropped = 0
        """Dead letters dropped because of their age or their number."""
        self.requeued = 0
        """Dead letters that were requeued: each may end once more."""
        self.redeliveries: dict[str, int] = {}
        """Deliveries that ended without a settle, by reason: executor, connection, lease."""
        self.late: dict[str, int] = {}
        """Late settles, by outcome."""
        self.wait = Histogram()
        """Seconds from ready to leased."""
        self.run = Histogram()
        """Run times of successful attempts, in seconds."""
        self.total = Histogram()
        """Seconds from submit to success."""

    def count(self, table: dict[str, int], label: str) -> None:
        """Add one to `label` of a table that may not have it yet."""
        table[label] = table.get(label, 0) + 1
