"""The supervisor's plan for its executors: it computes actions from the places' states and `now`, without I/O.

The supervisor replaces an ended executor immediately. It waits for growing pauses if the executors of one place
repeatedly die soon after their start, for example because their handler cannot be imported. In a drain the supervisor
asks each executor to end, and kills it when the time for that is over.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

EARLY_DEATH_S: Final = 1.0
"""Minimum seconds of usefulness; an executor that dies before it counts as an early death."""
FREE_DEATHS: Final = 2
"""Early deaths in a row without a pause: accidents happen, and a task that kills its executor is leased again."""
PAUSE_FIRST_S: Final = 0.25
PAUSE_MAX_S: Final = 30.0


class Phase(Enum):
    """Whether the supervisor runs tasks, drains, or kills its executors."""

    SERVING = auto()
    DRAINING = auto()
    STOPPING = auto()
    """The supervisor kills its executors without a drain: the worker cannot work, so there is no task to wait for."""


@dataclasses.dataclass(slots=True, eq=False)
class ExecutorPlace:
    """The place of one executor: its present executor, and how the last ones have ended."""

    index: int
    pid: int | None = None
    ready_at: float | None = None
    """When the present executor had imported its handler."""
    is_asked_to_end: bool = False
    """Whether the supervisor has asked the executor to end."""
    is_killed: bool = False
    early_deaths: int = 0
    spawn_at: float = 0.0
    """When the supervisor may start the next executor here."""

    def filled(self, pid: int) -> None:
        """Note that the supervisor has started an executor here."""
        self.pid, self.ready_at, self.is_asked_to_end, self.is_killed = pid, None, False, False

    def emptied(self, now: float, *, well: bool = False) -> None:
        """Note that the executor has ended (`well`: as it should), or could not be started."""
        useful = well or (self.ready_at is not None and now - self.ready_at >= EARLY_DEATH_S)
        self.early_deaths = 0 if useful else self.early_deaths + 1
        self.spawn_at = now + _pause_s(self.early_deaths)
        self.pid = self.ready_at = None


class Spawn(NamedTuple):
    """Start an executor in this place."""

    place: ExecutorPlace


class AskToEnd(NamedTuple):
    """Ask this place's executor to finish its task, release the others, and end."""

    place: ExecutorPlace


class Kill(NamedTuple):
    """Kill this place's executor and all processes that it has started."""

    place: ExecutorPlace


Action = Spawn | AskToEnd | Kill


class Plan(NamedTuple):
    """The actions to take now, and when to plan again (None: after the next event)."""

    actions: Sequence[Action]
    wake_at: float | None


def plan(places: Iterable[ExecutorPlace], phase: Phase, kill_at: float, now: float) -> Plan:
    """Plan all places; in a drain, the plan kills the remaining executors at `kill_at`."""
    if phase is Phase.SERVING:
        return _serve(places, now)
    living = [place for place in places if place.pid is not None]
    if phase is Phase.STOPPING or now >= kill_at:
        return Plan([Kill(place) for place in living if not place.is_killed], None)
    return Plan([AskToEnd(place) for place in living if not place.is_asked_to_end], kill_at if living else None)


def _serve(places: Iterable[ExecutorPlace], now: float) -> Plan:
    empty = [place for place in places if place.pid is None]
    later = [place.spawn_at for place in empty if place.spawn_at > now]
    return Plan([Spawn(place) for place in empty if place.spawn_at <= now], min(later, default=None))


def _pause_s(deaths_in_a_row: int) -> float:
    beyond = deaths_in_a_row - FREE_DEATHS - 1
    if beyond < 0:
        return 0.0
    return float(min(PAUSE_FIRST_S * 2 ** min(beyond, 20), PAUSE_MAX_S))
