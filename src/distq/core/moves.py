"""The law of a task's life: which event takes it from which state to which.

Rule 1: no other file assigns `task.state`. Rule 2: an event that a state does not list is refused and
changes nothing. A *late* success (of a lease that has ended) is a success like any other as long as
the task is not settled; a late failure or release never reaches this table: the delivery number stops it.

    submit ──▶ READY ──lease──▶ LEASED ──succeed──▶ SUCCEEDED ──drop──▶ GONE
                ││▲ ▲             │ │ │
                ││ └──give back───┘ │ └──bury──▶ DEAD ──requeue──▶ READY
                ││    or lose       │ retry,
           delay│└──due── DELAYED ◀─┘ snooze          cancel: from any live state
                └───────────▲                         expire: from READY, HELD and DELAYED

READY ──hold──▶ HELD ──admit──▶ READY: a task waits for others of its concurrency key, or for those before it;
if one of these fails, HELD ──bury──▶ DEAD.
"""

from typing import Final

from distq.core.states import CANCELLED, DEAD, DELAYED, EXPIRED, GONE, HELD, LEASED, READY, STATE_NAMES, SUCCEEDED
from distq.core.task import Task

LEASE: Final = 0
SUCCEED: Final = 1
RETRY: Final = 2
BURY: Final = 3
GIVE_BACK: Final = 4
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
    "give back",
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
    (READY, SUCCEED): SUCCEEDED,  # late: its lease had ended, the work was done all the same
    (DELAYED, SUCCEED): SUCCEEDED,  # late
    (READY, HOLD): HELD,
    (HELD, ADMIT): READY,
    (HELD, SUCCEED): SUCCEEDED,  # late
    (HELD, CANCEL): CANCELLED,
    (HELD, EXPIRE): EXPIRED,
    (LEASED, RETRY): DELAYED,
    (LEASED, BURY): DEAD,
    (HELD, BURY): DEAD,
    (LEASED, GIVE_BACK): READY,
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

# The same table as lists, for the hot path: NEXT[event][state], -1 where the law says no.
NEXT: Final = [
    [MOVES.get((state, event), -1) for state in range(len(STATE_NAMES))] for event in range(len(EVENT_NAMES))
]


class IllegalMove(RuntimeError):
    """The ledger tried a move that the table does not list: a defect of distq, never of a caller."""


def move(task: Task, event: int) -> None:
    """Take `task` where `event` leads and keep its queue's counts; raises IllegalMove and changes nothing."""
    old = task.state
    new = NEXT[event][old]
    if new < 0:
        raise IllegalMove(f"{EVENT_NAMES[event]} is not a move of a {STATE_NAMES[old]} task")
    counts = task.envelope.queue.counts
    counts[old] -= 1
    counts[new] += 1
    task.state = new


def restore(task: Task, state: int) -> None:
    """Give a task that was just made the state that a store had it in."""
    task.envelope.queue.counts[state] += 1
    task.state = state
