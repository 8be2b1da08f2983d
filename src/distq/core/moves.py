"""The state machine of a task: which event moves it from which state to which.

Rule 1: no other file assigns `task.state`. Rule 2: `move` refuses an event that the table does not list for
the state, and then changes nothing. A *late* success (its lease has ended) counts like any other success while
the task is not settled. A late failure or release never reaches this table: its delivery number is out of date.

    submit ──▶ READY ──lease──▶ LEASED ──succeed──▶ SUCCEEDED ──drop──▶ GONE
                ││▲ ▲             │ │ │
                ││ └───release────┘ │ └──bury──▶ DEAD ──requeue──▶ READY
                ││    or lose       │ retry,
           delay│└──due── DELAYED ◀─┘ snooze          cancel: from any live state
                └───────────▲                         expire: from READY, HELD and DELAYED

READY ──hold──▶ HELD ──admit──▶ READY: a task waits for other tasks of its concurrency key, or for its dependencies;
if a dependency fails, HELD ──bury──▶ DEAD.
"""

from typing import Final

from distq.core.states import CANCELLED, DEAD, DELAYED, EXPIRED, GONE, HELD, LEASED, READY, STATE_NAMES, SUCCEEDED
from distq.core.task import Task

LEASE: Final = 0
SUCCEED: Final = 1
RETRY: Final = 2
BURY: Final = 3
RELEASE: Final = 4
LOSE: Final = 5
DUE: Final = 6
CANCEL: Final = 7
EXPIRE: Final = 8
REQUEUE: Final = 9
DROP: Final = 10
DELAY: Final = 11
SNOOZE: Final = 12
HOLD: Final = 13
ADMIT: Final = 14
EVENT_NAMES: Final = (
    "lease",
    "succeed",
    "retry",
    "bury",
    "release",
    "lose",
    "due",
    "cancel",
    "expire",
    "requeue",
    "drop",
    "delay",
    "snooze",
    "hold",
    "admit",
)

MOVES: Final[dict[tuple[int, int], int]] = {
    (READY, LEASE): LEASED,
    (LEASED, SUCCEED): SUCCEEDED,
    (READY, DELAY): DELAYED,  # submitted for later
    (LEASED, SNOOZE): DELAYED,
    (READY, SUCCEED): SUCCEEDED,  # late: its lease had ended, but its executor completed the work
    (DELAYED, SUCCEED): SUCCEEDED,  # late
    (READY, HOLD): HELD,
    (HELD, ADMIT): READY,
    (HELD, SUCCEED): SUCCEEDED,  # late
    (HELD, CANCEL): CANCELLED,
    (HELD, EXPIRE): EXPIRED,
    (LEASED, RETRY): DELAYED,
    (LEASED, BURY): DEAD,
    (HELD, BURY): DEAD,
    (LEASED, RELEASE): READY,
    (LEASED, LOSE): READY,
    (DELAYED, DUE): READY,
    (READY, CANCEL): CANCELLED,
    (DELAYED, CANCEL): CANCELLED,
    (LEASED, CANCEL): CANCELLED,
    (READY, EXPIRE): EXPIRED,
    (DELAYED, EXPIRE): EXPIRED,
    (DEAD, REQUEUE): READY,
    (SUCCEEDED, DROP): GONE,
    (DEAD, DROP): GONE,
    (CANCELLED, DROP): GONE,
    (EXPIRED, DROP): GONE,
}

# The same table as lists, which are faster: NEXT[event][state], -1 where the table has no move.
NEXT: Final = [
    [MOVES.get((state, event), -1) for state in range(len(STATE_NAMES))] for event in range(len(EVENT_NAMES))
]


class IllegalMove(RuntimeError):
    """The ledger tried a move that the table does not list: a defect of distq, never of its user."""


def move(task: Task, event: int) -> None:
    """Move `task` to its next state and update its queue's counts; if it raises IllegalMove, it changes nothing."""
    old = task.state
    new = NEXT[event][old]
    if new < 0:
        raise IllegalMove(f"{EVENT_NAMES[event]} is not a move of a {STATE_NAMES[old]} task")
    counts = task.envelope.queue.counts
    counts[old] -= 1
    counts[new] += 1
    task.state = new


def restore(task: Task, state: int) -> None:
    """Give a newly created task its state from the store."""
    task.envelope.queue.counts[state] += 1
    task.state = state
