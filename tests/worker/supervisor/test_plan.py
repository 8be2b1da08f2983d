"""Tests of the supervisor's plan, with a list of slots and a number for the time."""

from distq.worker.supervisor.plan import (
    EARLY_DEATH_S,
    PAUSE_MAX_S,
    AskToEnd,
    ExecutorPlace,
    Kill,
    Phase,
    Plan,
    Spawn,
    plan,
)

NEVER = 1e9


def slots(count: int, *, up: bool = True) -> list[ExecutorPlace]:
    """Return slots with executors that were useful from the beginning, or empty slots."""
    made = [ExecutorPlace(index) for index in range(count)]
    for slot in made if up else ():
        slot.filled(1000 + slot.index)
        slot.ready_at = 0.0
    return made


def test_every_empty_slot_is_filled() -> None:
    """At the start all slots are empty."""
    empty = slots(3, up=False)
    assert plan(empty, Phase.SERVING, NEVER, 0.0) == Plan([Spawn(slot) for slot in empty], None)


def test_no_action_is_planned_while_all_executors_run() -> None:
    """The supervisor plans again only after the next event."""
    assert plan(slots(3), Phase.SERVING, NEVER, 50.0) == Plan([], None)


def test_an_executor_that_dies_after_a_useful_life_is_replaced_immediately() -> None:
    """Its death delays no later replacement."""
    pool = slots(2)
    pool[1].emptied(100.0)
    assert plan(pool, Phase.SERVING, NEVER, 100.0).actions == [Spawn(pool[1])]
    assert pool[1].early_deaths == 0


def pauses(deaths: int) -> list[float]:
    """Return the pauses after this number of early deaths in a row."""
    (slot,) = slots(1, up=False)
    found = []
    for _ in range(deaths):
        slot.filled(1)
        slot.emptied(0.0)
        found.append(plan([slot], Phase.SERVING, NEVER, 0.0).wake_at or 0.0)
    return found


def test_an_executor_that_dies_early_is_replaced_after_growing_pauses() -> None:
    """The first two deaths cause no pause; the pause has a maximum, and its growth an end."""
    assert pauses(6) == [0.0, 0.0, 0.25, 0.5, 1.0, 2.0]
    assert pauses(40)[-1] == PAUSE_MAX_S


def test_a_slot_stays_empty_during_its_pause() -> None:
    """The supervisor fills the slot at the planned time, and not before."""
    (slot,) = slots(1, up=False)
    slot.spawn_at = 10.0
    assert plan([slot], Phase.SERVING, NEVER, 9.0) == Plan([], 10.0)
    assert plan([slot], Phase.SERVING, NEVER, 10.0) == Plan([Spawn(slot)], None)


def test_a_useful_life_ends_a_row_of_early_deaths() -> None:
    """The next early death counts as the first."""
    (slot,) = slots(1)
    slot.early_deaths = 7
    slot.emptied(EARLY_DEATH_S)
    assert slot.early_deaths == 0
    slot.filled(1)
    slot.ready_at = 5.0
    slot.emptied(5.0 + EARLY_DEATH_S / 2)
    assert slot.early_deaths == 1


def test_a_drain_asks_each_executor_once_and_waits() -> None:
    """The supervisor kills no executor before the time is over, and empty slots stay empty."""
    pool = slots(2)
    pool.append(ExecutorPlace(2))
    assert plan(pool, Phase.DRAINING, 8.0, 0.0) == Plan([AskToEnd(pool[0]), AskToEnd(pool[1])], 8.0)
    pool[0].is_asked_to_end = pool[1].is_asked_to_end = True
    assert plan(pool, Phase.DRAINING, 8.0, 1.0) == Plan([], 8.0)


def test_executors_that_outlast_the_drain_are_killed_once() -> None:
    """An executor that has ended needs no action."""
    pool = slots(2)
    pool[0].emptied(1.0)
    assert plan(pool, Phase.DRAINING, 8.0, 8.0).actions == [Kill(pool[1])]
    pool[1].is_killed = True
    assert plan(pool, Phase.DRAINING, 8.0, 9.0) == Plan([], None)


def test_a_worker_that_cannot_work_kills_its_executors_immediately() -> None:
    """They have no task to finish."""
    pool = slots(1)
    assert plan(pool, Phase.STOPPING, NEVER, 0.0).actions == [Kill(pool[0])]
