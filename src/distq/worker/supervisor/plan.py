"""What the supervisor does about its executors, decided purely: states and `now` in, actions out.

An executor that ends is replaced at once; one that keeps dying as soon as it starts (its handler cannot be
imported, say) is replaced with growing pauses. Draining, each executor is asked to end, and killed when its
time is up.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

EARLY_DEATH_S: Final = 1.0
"""An executor that was useful for less than this has died at once."""
FREE_DEATHS: Final = 2
"""Early deaths in a row without a pause: accidents happen, and a task that kills its executor is leased again."""
PAUSE_FIRST_S: Final = 0.25
PAUSE_MAX_S: Final = 30.0


class Phase(Enum):
    """What the supervisor is about."""

    SERVING = auto()
    DRAINING = auto()
    STOPPING = auto()
    """Executors are killed without being asked: the worker cannot work, so there is nothing to wait for."""


@dataclasses.dataclass(slots=True, eq=False)
class Slot:
    """The place of one executor, who is there now, and how the last ones fared."""

    index: int
    pid: int | None = None
    ready_at: float | None = None
    """When the present executor had imported its handler."""
    is_asked_to_end: bool = False
    """Whether the supervisor has asked the executor to end."""
    is_killed: bool = False
    early_deaths: int = 0
    spawn_at: float = 0.0
    """Not to be filled before this."""

    def filled(self, pid: int) -> None:
        """An executor was started here."""
        self.pid, self.ready_at, self.is_asked_to_end, self.is_killed = pid, None, False, False

    def emptied(self, now: float, *, well: bool = False) -> None:
        """The executor has ended (`well`: as it should), or could not be started."""
        useful = well or (self.ready_at is not None and now - self.ready_at >= EARLY_DEATH_S)
        self.early_deaths = 0 if useful else self.early_deaths + 1
        self.spawn_at = now + _pause_s(self.early_deaths)
        self.pid = self.ready_at = None


class Spawn(NamedTuple):
    """Start an executor in this slot."""

    slot: Slot


class AskToEnd(NamedTuple):
    """Tell this slot's executor to finish its task, hand the others back, and end."""

    slot: Slot


class Kill(NamedTuple):
    """End this slot's executor and whatever it has started."""

    slot: Slot


Action = Spawn | AskToEnd | Kill


class Plan(NamedTuple):
    """What to do now, and when to ask again (None: when something has happened)."""

    actions: Sequence[Action]
    wake_at: float | None


def plan(slots: Iterable[Slot], phase: Phase, kill_at: float, now: float) -> Plan:
    """Decide about all slots; while draining, executors that are left are killed at `kill_at`."""
    if phase is Phase.SERVING:
        return _serve(slots, now)
    living = [slot for slot in slots if slot.pid is not None]
    if phase is Phase.STOPPING or now >= kill_at:
        return Plan([Kill(slot) for slot in living if not slot.is_killed], None)
    return Plan([AskToEnd(slot) for slot in living if not slot.is_asked_to_end], kill_at if living else None)


def _serve(slots: Iterable[Slot], now: float) -> Plan:
    empty = [slot for slot in slots if slot.pid is None]
    later = [slot.spawn_at for slot in empty if slot.spawn_at > now]
    return Plan([Spawn(slot) for slot in empty if slot.spawn_at <= now], min(later, default=None))


def _pause_s(deaths_at_once: int) -> float:
    beyond = deaths_at_once - FREE_DEATHS - 1
    if beyond < 0:
        return 0.0
    return float(min(PAUSE_FIRST_S * 2 ** min(beyond, 20), PAUSE_MAX_S))
