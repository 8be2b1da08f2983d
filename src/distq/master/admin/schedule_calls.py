"""Requests of operators and clients about schedules, and the reader of a schedule that they define."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distq.core.nearest import did_you_mean
from distq.core.ranges import seconds, shown, text
from distq.core.schedule import (
    CATCH_UPS,
    NAME_BYTES_MAX,
    BadSchedule,
    BadTiming,
    ScheduleProgress,
    ScheduleSpec,
    Timing,
    check_new_name,
)
from distq.core.task_ids import id_text
from distq.master.admin.calendars import check_line, check_zone
from distq.master.admin.schedule_instants import next_after, next_instant_after, planned
from distq.master.admin.schedules import Schedule, lives, same_task_as, submit
from distq.master.cycle.requests import CallRequest
from distq.protocol.schedule import ScheduleDefinition, read_definition
from distq.protocol.submit import SubmitEntry, read_entry
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distq.core.errors import DistqError
    from distq.core.ports import CommitRefused
    from distq.master.admin.schedules import Schedules
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection


class ScheduleAction(CallRequest):
    """`schedule_put`, `schedule_list`, `schedule_pause`, `schedule_resume`, `schedule_run`, `schedule_remove`."""

    __slots__ = ("action", "asked", "decides", "name", "new", "new_progress", "replaced", "schedules")

    def __init__(
        self, schedules: Schedules, action: str, connection: ServerConnection, asked: Mapping[str, Any]
    ) -> None:
        super().__init__(connection)
        self.schedules = schedules
        self.action = action
        self.asked = asked
        self.name = asked.get("name", "")
        if not isinstance(self.name, str):
            raise BadSchedule(f"its name is a text, not {shown(self.name)}.")
        self.new: Schedule | None = None
        """The schedule that replaces the one of its name or is new; None if there is none."""
        self.new_progress: ScheduleProgress | None = None
        self.replaced: Schedule | None = None
        """The schedule that code declared under another name and that this one replaces."""
        self.decides = False
        """Whether the present cycle has decided this request."""

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        self.new = self.new_progress = None
        self.decides = False
        if self.action == "schedule_list":
            return True
        if self.name in self.schedules.deciding:
            return False
        if self.action == "schedule_put":
            if not self._put(cycle, now):
                return False
        else:
            self._change(cycle, self._named(), now)
        self.schedules.deciding.add(self.name)
        self.decides = True
        return True

    def undo(self) -> None:  # noqa: D102
        if self.decides:
            self.schedules.deciding.discard(self.name)
            self.decides = False

    def fail(self, cycle: Cycle, exc: DistqError, now: float) -> None:  # noqa: D102
        self.undo()
        super().fail(cycle, exc, now)

    def _change(self, cycle: Cycle, schedule: Schedule, now: float) -> None:
        progress = schedule.progress
        if self.action == "schedule_remove":
            cycle.keep_row(schedule.row_key, None)
            return
        if self.action == "schedule_run":
            if not schedule.spec.timing.overlap and lives(cycle, progress.last_key):
                assert progress.last_key is not None
                raise BadSchedule(f"its task {id_text(progress.last_key)} has not ended yet.")
            task_key = submit(cycle, schedule, now)
            self.new_progress = progress._replace(last_at=now, last_key=task_key, runs=progress.runs + 1)
        else:
            paused = self.action == "schedule_pause"
            next_at = progress.next_at if paused else next_after(schedule.spec.timing, progress.next_at, now)
            self.new_progress = progress._replace(paused=paused, next_at=next_at)
        cycle.keep_row(schedule.row_key, schedule.row(self.new_progress))

    def _named(self) -> Schedule:
        schedule = self.schedules.known.get(self.name)
        if schedule is None:
            end = did_you_mean(self.name, self.schedules.known)
            raise BadSchedule(
                f"there is no schedule {shown(self.name)}{end} `distq schedule list` shows all schedules."
            )
        return schedule

    def _put(self, cycle: Cycle, now: float) -> bool:
        """Store a schedule; return False if the next cycle must decide instead."""
        key_name = self.connection.authority.name
        spec, body, entry = read_schedule(cycle, self.asked, now, key_name)
        self.replaced = same_task_as(self.schedules.known.values(), spec, declared=True)
        if self.replaced is not None and self.replaced.spec.name in self.schedules.deciding:
            return False
        known = self.schedules.known.get(spec.name)
        if known is not None and known.entry is not None and (known.spec, known.body) == (spec, body):
            self._plan_again(cycle, known, now)
            return True  # the schedule is unchanged and goes on as before
        if known is None:
            check_new_name(spec.name)
        self.schedules.room().take(spec, key_name, None if known is None else known.key_name)
        row_key = self.schedules.new_key() if known is None else known.row_key
        first = next_instant_after(spec.timing, now)
        self.new_progress = ScheduleProgress(first) if known is None else known.progress._replace(next_at=first)
        self.new = Schedule(row_key, spec, self.new_progress, body, entry, key_name=key_name)
        cycle.keep_row(row_key, self.new.row(self.new_progress))
        if self.replaced is not None:
            cycle.keep_row(self.replaced.row_key, None)
        return True

    def _plan_again(self, cycle: Cycle, known: Schedule, now: float) -> None:
        """Compute the next instant of a schedule that is put again unchanged, with the present rules of its zone."""
        if known.progress.paused:
            return
        next_at = planned(known.spec.timing, known.progress.next_at, now)
        if known.fault or next_at != known.progress.next_at:
            self.new_progress = known.progress._replace(next_at=next_at)
            cycle.keep_row(known.row_key, known.row(self.new_progress))

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        known, name = self.schedules.known, self.name
        if self.action != "schedule_list":
            self.schedules.deciding.discard(name)
        if self.new is not None:
            known[name] = self.new
            self.schedules.arm(self.new)
            if self.replaced is not None:
                known.pop(self.replaced.spec.name, None)
        elif self.action == "schedule_remove":
            known.pop(name, None)
        elif self.new_progress is not None:
            changed = known[name]
            changed.progress = self.new_progress
            if changed.entry is not None and self.action in ("schedule_put", "schedule_resume"):
                changed.fault = ""
            self.schedules.arm(changed)
        listed = known.values() if self.action == "schedule_list" else filter(None, (known.get(name),))
        self.connection.reply(returned({"schedules": [described(cycle, one) for one in listed]}))

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102
        if self.action == "schedule_list":
            self.answer(cycle, now)
        else:
            self.schedules.deciding.discard(self.name)
            self.refuse(exc)


ACTIONS: Final = tuple(f"schedule_{action_name}" for action_name in ("list", "pause", "put", "remove", "resume", "run"))


def read_schedule(
    cycle: Cycle, asked: Mapping[str, Any], now: float, key_name: str
) -> tuple[ScheduleSpec, bytes, SubmitEntry]:
    """Check each part of a schedule that a peer with a key defines, and return it; raises BadSchedule or BadCall."""
    definition = read_definition(asked)
    body = definition.body
    try:
        name = text("a schedule's name", definition.name, NAME_BYTES_MAX)
    except (TypeError, ValueError) as exc:
        raise BadSchedule(f"{exc}.") from exc
    limit = cycle.ledger.defaults.payload_bytes_max
    if type(body) is not bytes:
        raise BadSchedule(f"its arguments are bytes, not {shown(body)}.")
    if len(body) > limit:
        raise BadSchedule(f"its arguments have {len(body):,} bytes; the limit is {limit:,}.")
    timing = _timing(definition)
    try:
        envelope = tuple(definition.envelope or ())
        entry = read_entry(cycle.ledger.registry, envelope, definition.when, definition.constraints, now, key_name)
    except (TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise BadCall(f"the schedule's task is not valid: {exc}.") from exc
    if entry.constraints.unique_key:
        raise BadSchedule("a schedule prevents overlap by itself: leave out the unique key of its task.")
    constraints = None if definition.constraints is None else tuple(definition.constraints)
    return ScheduleSpec(name, timing, envelope, entry.when, constraints), body, entry


def _timing(definition: ScheduleDefinition) -> Timing:
    every, cron, zone = definition.every, definition.cron, definition.timezone or "UTC"
    catch_up = definition.catch_up or CATCH_UPS[0]
    if (every is None) == (cron is None):
        raise BadTiming(
            "a schedule takes one of every (a duration, as in 30s) and cron (five fields, as in '*/5 * * * *'), and "
            f"has {'neither' if cron is None else 'both'}."
        )
    if catch_up not in CATCH_UPS:
        raise BadTiming(f"catch_up is {', '.join(CATCH_UPS)}, not {shown(catch_up)}.")
    overlap = bool(definition.overlap)
    if cron is not None:
        check_zone(zone)
        return Timing(None, check_line(cron), zone, overlap, catch_up)
    try:
        return Timing(seconds("every", every), None, "UTC", overlap, catch_up)
    except (TypeError, ValueError) as exc:
        raise BadTiming(f"{exc}.") from exc


def described(cycle: Cycle, schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as values that JSON can represent; times are seconds since 1970."""
    spec, progress, origin = schedule.spec, schedule.progress, schedule.origin
    envelope = spec.envelope
    return {
        "name": spec.name,
        "task": envelope[1] if len(envelope) > 1 else "",
        "queue": envelope[0] if envelope else "",
        **spec.timing._asdict(),
        "paused": progress.paused,
        "fault": schedule.fault,
        "origin": "client" if origin is None else "code",
        "key": schedule.key_name,
        "declared_by": [] if origin is None else list(origin.modules),
        "next_at": None if progress.paused or schedule.fault else progress.next_at,
        "last_at": progress.last_at,
        "last_id": None if progress.last_key is None else id_text(progress.last_key),
        "under_way": lives(cycle, progress.last_key),
        "runs": progress.runs,
        "skipped": progress.skipped,
    }
