"""Schedules: each submits a task at each of its instants; the same commit stores its progress: no instant runs twice.

A schedule whose instants cannot be computed (its zone is not on this machine, its cron line cannot be read) is faulty:
it submits nothing and shows the reason, until it can be computed again or is removed. It affects nothing else.
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
from distq.master.admin.schedule_room import ScheduleRoom
from distq.master.cycle.requests import Request
from distq.protocol.authority import OPERATOR
from distq.protocol.submit import SubmitEntry, instants, read_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distq.core.ports import CommitRefused
    from distq.master.cycle.requests import Cycle

LATE_S: Final = 5.0
"""Seconds after which an instant counts as missed, for a schedule that makes up for no missed instant."""
INSTANT_RETRY_S: Final = 1.0
"""Seconds before the master retries an instant that must not be skipped: its queue was full, or its last task runs."""
PLAN_AGAIN_S: Final = 3600.0
"""Seconds between two plans of all schedules: a zone's rules or a faulty schedule's cause may have changed."""
PLANNED_MAX: Final = 100
"""Maximum schedules that one cycle plans: each takes about 50 microseconds, and delays other requests."""
OWN_KEY: Final = "schedule "
"""Prefix of the concurrency key, made of the schedule's name, of a task that has no key of its own."""


class Schedule:
    """One schedule of this master."""

    __slots__ = ("body", "entry", "fault", "key_name", "origin", "progress", "row_key", "spec")

    def __init__(
        self,
        row_key: int,
        spec: ScheduleSpec,
        progress: ScheduleProgress,
        body: bytes,
        entry: SubmitEntry | None,
        origin: ScheduleOrigin | None = None,
        key_name: str = OPERATOR.name,
    ) -> None:
        self.row_key = row_key
        self.spec = spec
        self.progress = progress
        self.body = body
        self.entry = entry
        """The task that the schedule submits; None if the master cannot read it."""
        self.origin = origin
        self.key_name = key_name
        """Name of the key that made or last changed the schedule; the operator's if an earlier release stored it."""
        self.fault = ""
        """Why its instants cannot be computed or its task cannot be submitted; '' if the schedule is not faulty."""

    def row(self, progress: ScheduleProgress) -> tuple[bytes, bytes]:
        """Return the head and body to store for the schedule with that progress."""
        key_name = "" if self.key_name == OPERATOR.name else self.key_name
        return pack_schedule(self.spec, progress, self.origin, key_name), self.body

    @property
    def queue(self) -> object:
        """The queue of its tasks; '' if the master cannot read it."""
        return self.spec.envelope[0] if self.spec.envelope else ""


class Schedules:
    """All schedules, by name."""

    def __init__(self, cycle: Cycle) -> None:
        self.known: dict[str, Schedule] = {}
        self.due_instants = {"submitted": 0, "skipped": 0}
        """Number of instants submitted and skipped since this master started."""
        self.deciding: set[str] = set()
        """Names of the schedules that the present cycle changes."""
        self._cycle = cycle
        self._last_key = SCHEDULES

    def restore(self, rows: Mapping[int, bytes], bodies: Mapping[int, bytes]) -> None:
        """Restore the schedules after a restart; each makes up for missed instants as its `catch_up` says."""
        for row_key, row in rows.items():
            self._last_key = min(self._last_key, row_key)
            schedule = self._restored(row_key, row, bodies.get(row_key, b""))
            self.known[schedule.spec.name] = schedule
        now = self._cycle.clock.now()
        self.plan(self.known, now, anew=True)
        self._cycle.ask_at(now + PLAN_AGAIN_S, PlanSchedules(self, again=True))

    def plan_all(self) -> None:
        """Request a new plan of all schedules, because the clock was set."""
        self._cycle.ask(PlanSchedules(self, again=False))

    def _restored(self, row_key: int, row: bytes, body: bytes) -> Schedule:
        try:
            spec, progress, origin, key_name = unpack_schedule(row)
        except Exception as exc:  # noqa: BLE001 - rows of a later distq, or damaged ones, must not keep a master from starting
            unread = ScheduleSpec(f"unreadable-{-row_key:x}", Timing(None, "", "UTC", False, ONE), (), None, None)
            schedule = Schedule(row_key, unread, ScheduleProgress(0.0, paused=True), body, None)
            self.fail(schedule, f"its row in the store cannot be read: {exc!r}")
            return schedule
        key_name = key_name or OPERATOR.name
        schedule = Schedule(row_key, spec, progress, body, None, origin, key_name)
        try:
            now = self._cycle.clock.now()
            schedule.entry = read_entry(
                self._cycle.ledger.registry, spec.envelope, spec.when, spec.constraints, now, key_name, stored=True
            )
        except Exception as exc:  # noqa: BLE001 - as above: what an earlier distq has taken may be out of range today
            self.fail(schedule, f"its task cannot be submitted: {exc}")
        return schedule

    def fail(self, schedule: Schedule, why: str) -> None:
        """Mark a schedule as faulty: it submits nothing until it can be computed or is put again."""
        if schedule.fault != why:
            schedule.fault = why
            get_logger().warning("schedule_faulty", schedule=schedule.spec.name, reason=why)

    def plan(self, names: Iterable[str], now: float, *, anew: bool = False) -> None:
        """Compute the next instants of these schedules; arm those whose instants have changed, or all if `anew`."""
        for name in names:
            schedule = self.known.get(name)
            if schedule is not None and schedule.entry is not None and not schedule.progress.paused:
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
        # In memory only: after a restart the master computes it again.
        schedule.progress = progress._replace(next_at=next_at)
        self.arm(schedule)

    @property
    def states(self) -> dict[str, int]:
        """Number of active, paused and faulty schedules."""
        faulty = sum(bool(one.fault) for one in self.known.values())
        paused = sum(one.progress.paused and not one.fault for one in self.known.values())
        return {"active": len(self.known) - paused - faulty, "paused": paused, "faulty": faulty}

    def room(self) -> ScheduleRoom:
        """Return the room for further schedules, for one decision."""
        return ScheduleRoom([(one.queue, one.key_name) for one in self.known.values()], self._cycle.ledger)

    def new_key(self) -> int:
        """Return the key of the stored row of a new schedule."""
        self._last_key -= 1
        return self._last_key

    def arm(self, schedule: Schedule) -> None:
        """Have a schedule run at its next instant, unless it is paused or faulty."""
        if not (schedule.progress.paused or schedule.fault):
            self._cycle.ask_at(schedule.progress.next_at, RunSchedule(self, schedule))


class PlanSchedules(Request):
    """Due when the master plans all schedules anew, at most `PLANNED_MAX` in each cycle."""

    __slots__ = ("again", "names", "schedules")

    def __init__(self, schedules: Schedules, *, again: bool) -> None:
        super().__init__()
        self.schedules = schedules
        self.again = again
        """Whether this is due again every hour, or only once."""
        self.names: list[str] = []
        """Names of the schedules that this plan has still to reach."""

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
    """Due at a schedule's next instant."""

    __slots__ = ("new_progress", "progress", "schedule", "schedules")
    follows_wall_clock = True

    def __init__(self, schedules: Schedules, schedule: Schedule) -> None:
        super().__init__()
        self.schedules = schedules
        self.schedule = schedule
        self.progress = schedule.progress
        """The schedule's progress when this was armed; if it has changed, another `RunSchedule` replaces this one."""
        self.new_progress: ScheduleProgress | None = None

    @property
    def holds(self) -> bool:  # noqa: D102 - as Request
        schedule = self.schedule
        return self.schedules.known.get(schedule.spec.name) is schedule and schedule.progress is self.progress

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        schedule, before = self.schedule, self.progress
        name, timing = schedule.spec.name, schedule.spec.timing
        self.new_progress = None
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
            self.new_progress = progress._replace(skipped=progress.skipped + 1)
        elif not timing.overlap and lives(cycle, before.last_key):
            if timing.catch_up == ALL:
                cycle.ask_at(now + INSTANT_RETRY_S, self)
                return True
            self.new_progress = progress._replace(skipped=progress.skipped + 1)
        else:
            try:
                task_key = submit(cycle, schedule, now)
            except DistqError:  # its queue is full: try the instant again later
                cycle.ask_at(now + INSTANT_RETRY_S, self)
                return True
            self.new_progress = progress._replace(last_at=now, last_key=task_key, runs=before.runs + 1)
        cycle.keep_row(schedule.row_key, schedule.row(self.new_progress))
        self.schedules.deciding.add(name)
        return True

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        if self.new_progress is not None:
            self.schedules.deciding.discard(self.schedule.spec.name)
            before, self.schedule.progress = self.progress, self.new_progress
            self.schedules.due_instants["submitted"] += self.new_progress.runs - before.runs
            self.schedules.due_instants["skipped"] += self.new_progress.skipped - before.skipped
            self.schedules.arm(self.schedule)

    def undo(self) -> None:  # noqa: D102
        if self.new_progress is not None:
            self.schedules.deciding.discard(self.schedule.spec.name)

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: ARG002, D102
        self.undo()
        self.schedules.fail(self.schedule, str(exc))

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102
        if self.new_progress is not None:  # else it is already due again, or has nothing to do
            self.schedules.deciding.discard(self.schedule.spec.name)
            cycle.refused.ask_later(self, exc, now)


def submit(cycle: Cycle, schedule: Schedule, now: float) -> int:
    """Submit the task of a schedule; return its key. Raises QueueFull, TasksFull, BadSchedule."""
    entry = schedule.entry
    if entry is None:
        raise BadSchedule(f"{schedule.fault}. Put it again, or remove it.")
    cycle.ledger.check_room(entry.envelope, 1)
    due_at, expires_at = (0.0, None) if entry.when is None else instants(entry.when, now)
    constraints = entry.constraints
    if not (schedule.spec.timing.overlap or constraints.concurrency_key):
        # The previous task has ended; the key also prevents a second delivery of this one from running beside it.
        constraints = constraints._replace(concurrency_key=f"{OWN_KEY}{schedule.spec.name}")
    bodies = (schedule.body,)
    return cycle.ledger.submit(
        entry.envelope, bodies, None, now, due_at=due_at, expires_at=expires_at, constraints=constraints
    )


def lives(cycle: Cycle, task_key: int | None) -> bool:
    """Whether a task of a schedule exists and has not ended."""
    task = None if task_key is None else cycle.ledger.state.tasks.get(task_key)
    return task is not None and task.state in LIVE_STATES


def same_task_as(schedules: Iterable[Schedule], spec: ScheduleSpec, *, declared: bool) -> Schedule | None:
    """Return a schedule of another name for the same task at the same instants; None if there is none.

    `declared` selects the schedules that code has declared, otherwise those that a client has made. A task with a
    schedule of each kind is thus submitted once at each instant.
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
