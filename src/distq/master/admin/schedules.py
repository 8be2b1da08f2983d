"""Schedules: at each of its instants one submits a task, in the same commit that says so: never twice, never not.

One that cannot be computed (its zone is not on this machine, its line cannot be read) is faulty: it submits nothing
and says why, until it can be computed again or is removed. Nothing else is affected by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core.errors import DistqError
from distq.core.schedule import (
    ALL,
    NONE,
    ONE,
    SCHEDULES,
    BadSchedule,
    ScheduleOrigin,
    ScheduleProgress,
    ScheduleSpec,
    Timing,
    pack_schedule,
    unpack_schedule,
)
from distq.core.states import LIVE_STATES
from distq.logs import get_logger
from distq.master.admin.calendars import forget_zones
from distq.master.admin.schedule_instants import due_at, planned
from distq.master.cycle.requests import REFUSED_PAUSE_S, Request
from distq.protocol.submit import SubmitRun, instants, read_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distq.core.ports import CommitRefused
    from distq.master.cycle.requests import Cycle

LATE_S: Final = 5.0
"""An instant is missed if the master comes to it later than this, for a schedule that makes up for none."""
AGAIN_S: Final = 1.0
"""Pause before an instant is tried again that must not be skipped: its queue is full, or the task before still runs."""
PLAN_AGAIN_S: Final = 3600.0
"""How often all instants are worked out anew: a zone's rules may have changed, a faulty schedule may be sound again."""
PLANNED_MAX: Final = 100
"""The most schedules that one cycle plans: each takes some 50 microseconds, and others wait for their answers."""
OWN_KEY: Final = "schedule "
"""Before its name: the concurrency key of a schedule's task that has none."""


class Schedule:
    """One schedule of this master."""

    __slots__ = ("body", "fault", "key", "origin", "progress", "run", "spec")

    def __init__(
        self,
        key: int,
        spec: ScheduleSpec,
        progress: ScheduleProgress,
        body: bytes,
        run: SubmitRun | None,
        origin: ScheduleOrigin | None = None,
    ) -> None:
        self.key = key
        self.spec = spec
        self.progress = progress
        self.body = body
        self.run = run
        """What it submits; None if that cannot be read."""
        self.origin = origin
        self.fault = ""
        """Why it cannot be computed, or cannot be submitted; '' for one that is sound."""

    def row(self, progress: ScheduleProgress) -> tuple[bytes, bytes]:
        """What the store keeps of it once it has come so far."""
        return pack_schedule(self.spec, progress, self.origin), self.body


class Schedules:
    """All schedules, by name."""

    def __init__(self, cycle: Cycle) -> None:
        self.known: dict[str, Schedule] = {}
        self.due_instants = {"submitted": 0, "skipped": 0}
        """What became of the instants that have come since this master started."""
        self.deciding: set[str] = set()
        """Names of the schedules that the present cycle changes."""
        self._cycle = cycle
        self._last_key = SCHEDULES

    def restore(self, rows: Mapping[int, bytes], bodies: Mapping[int, bytes]) -> None:
        """Know schedules again after a restart; what they have missed is made up for as they say."""
        for key, row in rows.items():
            self._last_key = min(self._last_key, key)
            schedule = self._restored(key, row, bodies.get(key, b""))
            self.known[schedule.spec.name] = schedule
        now = self._cycle.clock.now()
        self.plan(self.known, now, anew=True)
        self._cycle.ask_at(now + PLAN_AGAIN_S, PlanSchedules(self, again=True))

    def plan_all(self) -> None:
        """Have all schedules planned anew: the clock was set."""
        self._cycle.ask(PlanSchedules(self, again=False))

    def _restored(self, key: int, row: bytes, body: bytes) -> Schedule:
        try:
            spec, progress, origin = unpack_schedule(row)
        except Exception as exc:  # noqa: BLE001 - rows of a later distq, or damaged ones, must not keep a master from starting
            unread = ScheduleSpec(f"unreadable-{-key:x}", Timing(None, "", "UTC", False, ONE), (), None, None)
            schedule = Schedule(key, unread, ScheduleProgress(0.0, paused=True), body, None)
            self.fail(schedule, f"its row in the store cannot be read: {exc!r}")
            return schedule
        schedule = Schedule(key, spec, progress, body, None, origin)
        try:
            now = self._cycle.clock.now()
            schedule.run = read_run(self._cycle.ledger.registry, spec.envelope, spec.when, spec.constraints, now)
        except Exception as exc:  # noqa: BLE001 - as above: what an earlier distq has taken may be out of range today
            self.fail(schedule, f"its task cannot be submitted: {exc}")
        return schedule

    def fail(self, schedule: Schedule, why: str) -> None:
        """A schedule cannot be computed: it submits nothing until it can be, or is put anew."""
        if schedule.fault != why:
            schedule.fault = why
            get_logger().warning("schedule_faulty", schedule=schedule.spec.name, reason=why)

    def plan(self, names: Iterable[str], now: float, *, anew: bool = False) -> None:
        """Work out anew when these schedules come next, and let those that come at another time do so; `anew`: all."""
        for name in names:
            schedule = self.known.get(name)
            if schedule is not None and schedule.run is not None and not schedule.progress.paused:
                self._plan(schedule, now, anew=anew)

    def _plan(self, schedule: Schedule, now: float, *, anew: bool) -> None:
        progress = schedule.progress
        try:
            next_at = planned(schedule.spec.timing, progress.next_at, now)
        except BadSchedule as exc:
            self.fail(schedule, str(exc))
            return
        if schedule.fault:
            schedule.fault = ""
            get_logger().info("schedule_sound", schedule=schedule.spec.name)
        elif next_at == progress.next_at and not anew:
            return
        # In memory alone: after a restart it is worked out again.
        schedule.progress = progress._replace(next_at=next_at)
        self.arm(schedule)

    @property
    def states(self) -> dict[str, int]:
        """How many there are: active, paused, faulty."""
        faulty = sum(bool(one.fault) for one in self.known.values())
        paused = sum(one.progress.paused and not one.fault for one in self.known.values())
        return {"active": len(self.known) - paused - faulty, "paused": paused, "faulty": faulty}

    def new_key(self) -> int:
        """Where the store keeps a new one."""
        self._last_key -= 1
        return self._last_key

    def arm(self, schedule: Schedule) -> None:
        """Have it submit at its next instant."""
        if not (schedule.progress.paused or schedule.fault):
            self._cycle.ask_at(schedule.progress.next_at, RunSchedule(self, schedule))


class PlanSchedules(Request):
    """Due when all schedules are to be planned anew, some in each cycle."""

    __slots__ = ("again", "names", "schedules")

    def __init__(self, schedules: Schedules, *, again: bool) -> None:
        super().__init__()
        self.schedules = schedules
        self.again = again
        """Whether it is due every hour, or once."""
        self.names: list[str] = []
        """Those that are still to be planned in this turn."""

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        if not self.names:
            forget_zones()
            self.names = list(self.schedules.known)
        some, self.names = self.names[:PLANNED_MAX], self.names[PLANNED_MAX:]
        self.schedules.plan(some, now)
        if self.names:
            cycle.ask(self)
        elif self.again:
            cycle.ask_at(now + PLAN_AGAIN_S, self)


class RunSchedule(Request):
    """A schedule's moment has come."""

    __slots__ = ("after", "progress", "schedule", "schedules")
    follows_wall_clock = True

    def __init__(self, schedules: Schedules, schedule: Schedule) -> None:
        super().__init__()
        self.schedules = schedules
        self.schedule = schedule
        self.progress = schedule.progress
        """As it stood when this was asked for: if it stands otherwise now, another one is under way."""
        self.after: ScheduleProgress | None = None

    @property
    def holds(self) -> bool:  # noqa: D102 - as Request
        schedule = self.schedule
        return self.schedules.known.get(schedule.spec.name) is schedule and schedule.progress is self.progress

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        schedule, before = self.schedule, self.progress
        name, timing = schedule.spec.name, schedule.spec.timing
        self.after = None
        if not self.holds:
            return True
        if name in self.schedules.deciding:
            return False
        try:
            due = due_at(timing, before.next_at, now)
        except BadSchedule as exc:
            self.schedules.fail(schedule, str(exc))
            return True
        progress = before._replace(next_at=due.next_at, skipped=before.skipped + due.missed)
        if timing.catch_up == NONE and now - due.newest > LATE_S:
            self.after = progress._replace(skipped=progress.skipped + 1)
        elif not timing.overlap and lives(cycle, before.last_key):
            if timing.catch_up == ALL:
                cycle.ask_at(now + AGAIN_S, self)
                return True
            self.after = progress._replace(skipped=progress.skipped + 1)
        else:
            try:
                key = submit(cycle, schedule, now)
            except DistqError:  # its queue is full: the moment is not lost
                cycle.ask_at(now + AGAIN_S, self)
                return True
            self.after = progress._replace(last_at=now, last_key=key, runs=before.runs + 1)
        cycle.keep_row(schedule.key, schedule.row(self.after))
        self.schedules.deciding.add(name)
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        if self.after is not None:
            self.schedules.deciding.discard(self.schedule.spec.name)
            before, self.schedule.progress = self.progress, self.after
            self.schedules.due_instants["submitted"] += self.after.runs - before.runs
            self.schedules.due_instants["skipped"] += self.after.skipped - before.skipped
            self.schedules.arm(self.schedule)

    def undo(self) -> None:  # noqa: D102
        if self.after is not None:
            self.schedules.deciding.discard(self.schedule.spec.name)

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: ARG002, D102
        self.undo()
        self.schedules.fail(self.schedule, str(exc))

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        if self.after is not None:  # else it has asked for another time itself, or has nothing to do
            self.schedules.deciding.discard(self.schedule.spec.name)
            cycle.ask_at(now + REFUSED_PAUSE_S, self)


def submit(cycle: Cycle, schedule: Schedule, now: float) -> int:
    """Note a task of a schedule; returns its key. Raises QueueFull, TasksFull, BadSchedule."""
    run = schedule.run
    if run is None:
        raise BadSchedule(f"{schedule.fault}. Put it again, or remove it.")
    cycle.ledger.check_room(run.envelope, 1)
    due_at, expires_at = (0.0, None) if run.when is None else instants(run.when, now)
    constraints = run.constraints
    if not (schedule.spec.timing.overlap or constraints.concurrency_key):
        # The task before has ended; this one is not to be beside itself either, if it is given out again.
        constraints = constraints._replace(concurrency_key=f"{OWN_KEY}{schedule.spec.name}")
    bodies = (schedule.body,)
    return cycle.ledger.submit(
        run.envelope, bodies, None, now, due_at=due_at, expires_at=expires_at, constraints=constraints
    )


def lives(cycle: Cycle, key: int | None) -> bool:
    """Whether a task of a schedule has not ended."""
    task = None if key is None else cycle.ledger.state.tasks.get(key)
    return task is not None and task.state in LIVE_STATES


def twin_of(schedules: Iterable[Schedule], spec: ScheduleSpec, *, declared: bool) -> Schedule | None:
    """A schedule that code has declared, or else that a client has made, of the same task at the same instants.

    A task that declares when it comes, and is scheduled by a client as well, comes once.
    """
    return next(
        (
            one
            for one in schedules
            if (one.origin is not None) is declared
            and one.spec.timing == spec.timing
            and one.spec.envelope[:2] == spec.envelope[:2]
            and one.spec.name != spec.name
        ),
        None,
    )
