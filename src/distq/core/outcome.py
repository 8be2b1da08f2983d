"""The outcomes with which an executor settles a lease, or reports on a task that runs."""

from typing import Final


class Outcome:
    """The numbers of outcomes on the wire."""

    SUCCESS: Final = 0
    FAILURE: Final = 1
    RELEASED: Final = 2
    """The executor did not begin the task: it costs no attempt and no delivery."""
    FATAL: Final = 3
    """The task failed and is not retried."""
    UNKNOWN: Final = 4
    """The worker has no function of that name: it costs no attempt, and the worker gets no such task again."""
    TIMEOUT: Final = 5
    """The task exceeded its time limit."""
    SNOOZED: Final = 6
    """The task asks to run again later: it costs no attempt."""
    DISCARDED: Final = 7
    """The task asks to be discarded: it ends as cancelled."""
    PROGRESS: Final = 8
    """The task continues and reports its progress, as JSON."""
    CHECKPOINT: Final = 9
    """The task continues and saves a cursor for its next attempt."""
    PART: Final = 10
    """The task continues and streams a part of its result; the part's number precedes the part."""


OUTCOME_NAMES: Final = ("success", "failure", "release", "failure", "release", "failure", "release", "failure")
"""The label under which a late settle is counted, by outcome."""
