"""Schedules that code declares with `@distq.task(every=...)`; each executor that has imported the code reports them.

Many workers report the same schedules, and during a deploy old and new workers report different ones: the report of
the worker that started last is valid. A schedule exists once, under its task's name, whichever worker reports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distq.core.errors import DistqError
from distq.core.ranges import is_duration
from distq.core.schedule import ScheduleOrigin, ScheduleProgress, check_new_name
from distq.master.admin.schedule_calls import read_schedule
from distq.master.admin.schedule_instants import next_instant_after
from distq.master.admin.schedules import Schedule, same_task_as
from distq.master.cycle.requests import CallRequest
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distq.core.ports import CommitRefused
    from distq.master.admin.schedule_room import ScheduleRoom
    from distq.master.admin.schedules import Schedules
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

DECLARED_MAX: Final = 1_000
"""Maximum schedules in one report, to limit memory and the size of the commit."""
MODULES_MAX: Final = 100
"""Maximum modules of tasks in one report, since each schedule's row stores them."""
SAME_WORKER_S: Final = 1.0
"""Seconds within which two starts count as one worker's: each executor computes its worker's start by itself."""


class DeclareSchedules(CallRequest):
    """`schedule_declare`: `schedules` as in `schedule_put`, the worker's `modules`, its age in `age_s`, `remove`.

    With `remove`, the master removes the schedules that an earlier worker of the same modules declared and this one
    does not. The reply has for each name the reason why its schedule was left as it is, or '', and the removed names.
    """

    __slots__ = ("asked", "deciding", "gone", "modules", "new", "outcomes", "rows", "schedules")

    def __init__(self, connection: ServerConnection, schedules: Schedules, asked: Mapping[str, Any]) -> None:
        super().__init__(connection)
        rows, modules = asked.get("schedules"), asked.get("modules")
        good = (
            isinstance(rows, list | tuple)
            and len(rows) <= DECLARED_MAX
            and all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows)
            and isinstance(modules, list | tuple)
            and len(modules) <= MODULES_MAX
            and all(isinstance(module, str) for module in modules)
            and is_duration(asked.get("age_s"))
        )
        if not good or rows is None or modules is None:
            raise BadCall(f"schedule_declare takes schedules (at most {DECLARED_MAX:,}), modules, age_s and remove.")
        self.schedules = schedules
        self.asked = asked
        self.rows: dict[str, Mapping[str, Any]] = {row["name"]: row for row in rows}
        self.modules = tuple(sorted(modules))
        self.outcomes: dict[str, str] = {}
        self.new: list[tuple[Schedule, bool]] = []
        """The schedules to store, each with whether its next instant is computed anew."""
        self.gone: list[str] = []
        self.deciding: list[str] = []

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        self.outcomes, self.new, self.gone = {}, [], []
        origin = ScheduleOrigin(self.modules, now - self.asked["age_s"])
        gone = self._dropped(origin) if self.asked.get("remove") else []
        names = [*self.rows, *(schedule.spec.name for schedule in gone)]
        if not self.schedules.deciding.isdisjoint(names):
            return False
        room = self.schedules.room()
        for name, row in self.rows.items():
            try:
                self.outcomes[name] = self._declare(cycle, row, origin, now, room)
            except DistqError as exc:
                self.outcomes[name] = str(exc)
        for schedule in gone:
            cycle.keep_row(schedule.row_key, None)
            self.gone.append(schedule.spec.name)
        self.deciding = names
        self.schedules.deciding.update(names)
        return True

    def _dropped(self, origin: ScheduleOrigin) -> list[Schedule]:
        """Return the schedules that an earlier worker of the same modules declared and this one does not."""
        return [
            schedule
            for schedule in self.schedules.known.values()
            if schedule.origin is not None
            and schedule.origin.modules == origin.modules
            and schedule.origin.started_at + SAME_WORKER_S < origin.started_at
            and schedule.spec.name not in self.rows
        ]

    def _declare(
        self, cycle: Cycle, row: Mapping[str, Any], origin: ScheduleOrigin, now: float, room: ScheduleRoom
    ) -> str:
        """Decide about one declared schedule; return the reason why the master ignores it, or ''."""
        key_name = self.connection.authority.name
        spec, body, run = read_schedule(cycle, row, now, key_name)
        known = self.schedules.known.get(spec.name)
        if known is None:
            if (other := same_task_as(self.schedules.known.values(), spec, declared=False)) is not None:
                return f"the schedule {other.spec.name!r}, which a client has made, submits the same"
            check_new_name(spec.name)
            room.take(spec, key_name)
            schedule = Schedule(
                self.schedules.new_key(),
                spec,
                ScheduleProgress(next_instant_after(spec.timing, now)),
                body,
                run,
                origin,
                key_name,
            )
            self._keep(cycle, schedule, anew=True)
            return ""
        if known.origin is None:
            return "a client has made a schedule of that name, and it takes precedence over declared ones"
        if known.origin.started_at > origin.started_at + SAME_WORKER_S:
            return "a worker that was started later declares it"
        same = (known.spec, known.body) == (spec, body) and known.entry is not None and not known.fault
        if same and known.origin.started_at + SAME_WORKER_S >= origin.started_at:
            return ""
        progress = known.progress if same else known.progress._replace(next_at=next_instant_after(spec.timing, now))
        room.take(spec, key_name, known.key_name)
        self._keep(cycle, Schedule(known.row_key, spec, progress, body, run, origin, key_name), anew=not same)
        return ""

    def _keep(self, cycle: Cycle, schedule: Schedule, *, anew: bool) -> None:
        cycle.keep_row(schedule.row_key, schedule.row(schedule.progress))
        self.new.append((schedule, anew))

    def undo(self) -> None:  # noqa: D102
        self.schedules.deciding.difference_update(self.deciding)
        self.deciding = []

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: D102
        self.undo()
        super().fail(cycle, exc, now)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.undo()
        known = self.schedules.known
        for schedule, anew in self.new:
            if anew:
                known[schedule.spec.name] = schedule
                self.schedules.arm(schedule)
            else:
                changed = known[schedule.spec.name]
                changed.origin, changed.key_name, changed.entry = schedule.origin, schedule.key_name, schedule.entry
        for name in self.gone:
            known.pop(name, None)
        self.connection.reply(returned({"declared": self.outcomes, "removed": self.gone}))

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        self.undo()
        self.refuse(exc)
