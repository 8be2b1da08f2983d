"""Schedules: at each of its moments one submits a task, in the same commit that says so: never twice, never not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from distq.core.errors import DistqError
from distq.core.schedule import (
    ALL,
    CATCH_UPS,
    EVERY_MIN_S,
    NAME_BYTES_MAX,
    NONE,
    SCHEDULES,
    SCHEDULES_MAX,
    BadSchedule,
    Progress,
    Spec,
    Timing,
    pack_schedule,
    unpack_schedule,
)
from distq.core.task import LIVE_STATES, text_of
from distq.master.requests import REFUSED_PAUSE_S, WAIT_MAX_S, Asked, Request, is_duration
from distq.master.submits import Run, moments, read_run
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distq.core.ports import Refused
    from distq.master.broker import Broker
    from distq.net.serve import Line

MISSED_MAX: Final = 1_000
"""So many missed moments of a cron line are counted at once."""
LATE_S: Final = 5.0
"""A moment is missed if the master comes to it so much later, for who wants nothing that was missed."""
AGAIN_S: Final = 1.0
OWN_KEY: Final = "schedule "
"""Before its name: the concurrency key of a schedule's task that has none."""
"""How soon a moment is tried again that must not be skipped: its queue is full, or the task before still runs."""


class Schedule:
    """One schedule of this master."""

    __slots__ = ("body", "key", "progress", "run", "spec")

    def __init__(self, key: int, spec: Spec, progress: Progress, body: bytes, run: Run) -> None:
        self.key = key
        self.spec = spec
        self.progress = progress
        self.body = body
        self.run = run


class Schedules:
    """All schedules, by name."""

    def __init__(self, broker: Broker) -> None:
        self.known: dict[str, Schedule] = {}
        self.moments = {"submitted": 0, "skipped": 0}
        """What became of the moments that have come since this master started."""
        self.deciding: set[str] = set()
        """Names of those that the present cycle changes."""
        self._broker = broker
        self._last_key = SCHEDULES

    def restore(self, rows: Mapping[int, bytes], bodies: Mapping[int, bytes]) -> None:
        """Know schedules again after a restart; what they have missed is made up for as they say."""
        for key, row in rows.items():
            spec, progress = unpack_schedule(row)
            run = read_run(self._broker.ledger.names, spec.envelope, spec.when, spec.more)
            schedule = self.known[spec.name] = Schedule(key, spec, progress, bodies.get(key, b""), run)
            self._last_key = min(self._last_key, key)
            self.arm(schedule)

    @property
    def states(self) -> dict[str, int]:
        """How many there are: active, paused."""
        paused = sum(one.progress.paused for one in self.known.values())
        return {"active": len(self.known) - paused, "paused": paused}

    def new_key(self) -> int:
        """Where the store keeps a new one."""
        self._last_key -= 1
        return self._last_key

    def arm(self, schedule: Schedule) -> None:
        """Have it submit at its next moment."""
        if not schedule.progress.paused:
            self._broker.ask_at(schedule.progress.next_at, Due(self, schedule))


class Due(Request):
    """A schedule's moment has come."""

    __slots__ = ("after", "progress", "schedule", "schedules")

    def __init__(self, schedules: Schedules, schedule: Schedule) -> None:
        super().__init__()
        self.schedules = schedules
        self.schedule = schedule
        self.progress = schedule.progress
        """As it stood when this was asked for: if it stands otherwise now, another one is under way."""
        self.after: Progress | None = None

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: D102 - as Request
        schedule, before = self.schedule, self.progress
        name, timing = schedule.spec.name, schedule.spec.timing
        self.after = None
        if self.schedules.known.get(name) is not schedule or schedule.progress is not before:
            return True
        if name in self.schedules.deciding:
            return False
        due = due_at(timing, before.next_at, now)
        progress = before._replace(next_at=due.next_at, skipped=before.skipped + due.missed)
        if timing.catch_up == NONE and now - due.newest > LATE_S:
            self.after = progress._replace(skipped=progress.skipped + 1)
        elif not timing.overlap and _lives(broker, before.last_key):
            if timing.catch_up == ALL:
                broker.ask_at(now + AGAIN_S, self)
                return True
            self.after = progress._replace(skipped=progress.skipped + 1)
        else:
            try:
                key = submit(broker, schedule, now)
            except DistqError:  # its queue is full: the moment is not lost
                broker.ask_at(now + AGAIN_S, self)
                return True
            self.after = progress._replace(last_at=now, last_key=key, runs=before.runs + 1)
        broker.keep_row(schedule.key, (pack_schedule(schedule.spec, self.after), schedule.body))
        self.schedules.deciding.add(name)
        return True

    def answer(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102
        if self.after is not None:
            self.schedules.deciding.discard(self.schedule.spec.name)
            before, self.schedule.progress = self.progress, self.after
            self.schedules.moments["submitted"] += self.after.runs - before.runs
            self.schedules.moments["skipped"] += self.after.skipped - before.skipped
            self.schedules.arm(self.schedule)

    def put_back(self, broker: Broker, exc: Refused, now: float) -> None:  # noqa: ARG002, D102
        if self.after is not None:  # else it has asked for another time itself, or has nothing to do
            self.schedules.deciding.discard(self.schedule.spec.name)
            broker.ask_at(now + REFUSED_PAUSE_S, self)


class Act(Asked):
    """`schedule_put`, `schedule_list`, `schedule_pause`, `schedule_resume`, `schedule_run`, `schedule_remove`."""

    __slots__ = ("action", "after", "asked", "name", "new", "schedules")

    def __init__(self, line: Line, schedules: Schedules, action: str, asked: Mapping[str, Any]) -> None:
        super().__init__(line)
        self.schedules = schedules
        self.action = action
        self.asked = asked
        self.name = asked.get("name", "")
        if not isinstance(self.name, str):
            raise BadSchedule(f"its name is a text, not {self.name!r}.")
        self.new: Schedule | None = None
        """What takes the place of the one of its name, if anything does."""
        self.after: Progress | None = None

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: D102 - as Request
        self.new = self.after = None
        if self.action == "schedule_list":
            return True
        if self.name in self.schedules.deciding:
            return False
        if self.action == "schedule_put":
            self._put(broker, now)
        else:
            self._change(broker, self._named(), now)
        self.schedules.deciding.add(self.name)
        return True

    def _change(self, broker: Broker, schedule: Schedule, now: float) -> None:
        progress = schedule.progress
        if self.action == "schedule_remove":
            broker.keep_row(schedule.key, None)
            return
        if self.action == "schedule_run":
            if not schedule.spec.timing.overlap and _lives(broker, progress.last_key):
                assert progress.last_key is not None
                raise BadSchedule(f"its task {text_of(progress.last_key)} has not ended yet.")
            key = submit(broker, schedule, now)
            self.after = progress._replace(last_at=now, last_key=key, runs=progress.runs + 1)
        else:
            paused = self.action == "schedule_pause"
            next_at = progress.next_at if paused else next_after(schedule.spec.timing, progress.next_at, now)
            self.after = progress._replace(paused=paused, next_at=next_at)
        broker.keep_row(schedule.key, (pack_schedule(schedule.spec, self.after), schedule.body))

    def _named(self) -> Schedule:
        schedule = self.schedules.known.get(self.name)
        if schedule is None:
            raise BadSchedule(f"there is no schedule {self.name!r}.")
        return schedule

    def _put(self, broker: Broker, now: float) -> None:
        spec, body, run = read_schedule(broker, self.asked)
        known = self.schedules.known.get(spec.name)
        if known is not None and (known.spec, known.body) == (spec, body):
            return  # the same again: it goes on as it was
        if known is None and len(self.schedules.known) >= SCHEDULES_MAX:
            raise BadSchedule(f"there are {SCHEDULES_MAX:,} schedules already.")
        key = self.schedules.new_key() if known is None else known.key
        first = next_moment(spec.timing, now)
        self.after = Progress(first) if known is None else known.progress._replace(next_at=first)
        self.new = Schedule(key, spec, self.after, body, run)
        broker.keep_row(key, (pack_schedule(spec, self.after), body))

    def answer(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102
        known, name = self.schedules.known, self.name
        if self.action != "schedule_list":
            self.schedules.deciding.discard(name)
        if self.new is not None:
            known[name] = self.new
            self.schedules.arm(self.new)
        elif self.action == "schedule_remove":
            known.pop(name, None)
        elif self.after is not None:
            known[name].progress = self.after
            self.schedules.arm(known[name])
        told = known.values() if self.action == "schedule_list" else filter(None, (known.get(name),))
        self.line.reply(returned({"schedules": [described(broker, one) for one in told]}))

    def put_back(self, broker: Broker, exc: Refused, now: float) -> None:  # noqa: D102
        if self.action == "schedule_list":
            self.answer(broker, now)
        else:
            self.schedules.deciding.discard(self.name)
            self.refuse(exc)


ACTIONS: Final = tuple(f"schedule_{word}" for word in ("list", "pause", "put", "remove", "resume", "run"))


def submit(broker: Broker, schedule: Schedule, now: float) -> int:
    """Note a task of a schedule; returns its key. Raises QueueFull, TasksFull."""
    run = schedule.run
    broker.ledger.check_room(run.envelope, 1)
    due_at, expires_at = (0.0, None) if run.when is None else moments(run.when, now)
    more = run.more
    if not (schedule.spec.timing.overlap or more.key):
        # The task before has ended; this one is not to be beside itself either, if it is given out again.
        more = more._replace(key=f"{OWN_KEY}{schedule.spec.name}")
    bodies = (schedule.body,)
    return broker.ledger.submit(run.envelope, bodies, None, now, due_at=due_at, expires_at=expires_at, more=more)


def next_moment(timing: Timing, after: float) -> float:
    """The first moment after this one; cron's by the clocks of its time zone."""
    if timing.every_s is not None:
        return after + timing.every_s
    assert timing.cron is not None
    at = datetime.fromtimestamp(after, ZoneInfo(timing.timezone))
    return float(next(CronSim(timing.cron, at)).timestamp())


class DueMoments(NamedTuple):
    """What of a schedule is due at a moment."""

    newest: float
    """The last of its moments that has come, or the only one that is made up for now."""
    missed: int
    """How many came before that one and are not made up for."""
    next_at: float


def due_at(timing: Timing, at: float, now: float) -> DueMoments:
    """What is due at `now` of a schedule whose next moment was `at`."""
    if timing.catch_up == ALL:
        return DueMoments(at, 0, next_moment(timing, at))
    if timing.every_s is not None:
        missed = int((now - at) // timing.every_s)
        newest = at + missed * timing.every_s
        return DueMoments(newest, missed, newest + timing.every_s)
    missed, next_at = 0, next_moment(timing, at)
    while next_at <= now:
        missed += 1
        if missed >= MISSED_MAX:
            return DueMoments(now, missed, next_moment(timing, now))
        at, next_at = next_at, next_moment(timing, next_at)
    return DueMoments(at, missed, next_at)


def next_after(timing: Timing, moment: float, now: float) -> float:
    """The first moment of a schedule, one of which is `moment`, that is after `now`."""
    if timing.every_s is not None and moment <= now:
        return moment + ((now - moment) // timing.every_s + 1) * timing.every_s
    return moment if moment > now else next_moment(timing, now)


def read_schedule(broker: Broker, asked: Mapping[str, Any]) -> tuple[Spec, bytes, Run]:
    """What somebody wants to be a schedule, each part checked; raises BadSchedule or BadCall."""
    name, body = asked.get("name"), asked.get("body")
    if not (isinstance(name, str) and 0 < len(name.encode(errors="replace")) <= NAME_BYTES_MAX):
        raise BadSchedule(f"its name is a text of 1 to {NAME_BYTES_MAX} bytes, not {name!r}.")
    if type(body) is not bytes or len(body) > broker.ledger.rules.payload_bytes_max:
        raise BadSchedule(f"its arguments have at most {broker.ledger.rules.payload_bytes_max:,} bytes.")
    timing = _timing(asked)
    try:
        envelope = tuple(asked.get("envelope") or ())
        run = read_run(broker.ledger.names, envelope, asked.get("when"), asked.get("more"))
    except (TypeError, ValueError, AttributeError) as exc:
        raise BadCall(f"a schedule's task is as in submit: {exc}.") from exc
    if run.more.unique:
        raise BadSchedule("of a schedule one task is under way at a time by itself: it takes no unique key.")
    more = None if asked.get("more") is None else tuple(asked["more"])
    return Spec(name, timing, envelope, run.when, more), body, run


def _timing(asked: Mapping[str, Any]) -> Timing:
    every_s, cron, zone = asked.get("every"), asked.get("cron"), asked.get("timezone") or "UTC"
    catch_up = asked.get("catch_up") or CATCH_UPS[0]
    if (every_s is None) == (cron is None):
        raise BadSchedule("it comes every so often, or as a cron line says: one of the two.")
    if catch_up not in CATCH_UPS:
        raise BadSchedule(f"catch_up is {', '.join(CATCH_UPS)}, not {catch_up!r}.")
    if every_s is not None:
        if not is_duration(every_s) or not EVERY_MIN_S <= every_s <= WAIT_MAX_S:
            raise BadSchedule(f"every is {EVERY_MIN_S:g} s at least and a year at most, not {every_s!r}.")
        return Timing(float(every_s), None, "UTC", bool(asked.get("overlap")), catch_up)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as exc:
        raise BadSchedule(f"there is no time zone {zone!r}.") from exc
    try:
        if not isinstance(cron, str):
            raise TypeError("it is a text")  # noqa: TRY301 - one sentence for all
        next(CronSim(cron, datetime.now(UTC)))
    except (CronSimError, StopIteration, TypeError, AttributeError) as exc:
        raise BadSchedule(f"{cron!r} is no cron line: {str(exc) or 'no such moment'}.") from exc
    return Timing(None, cron, zone, bool(asked.get("overlap")), catch_up)


def described(broker: Broker, schedule: Schedule) -> dict[str, Any]:
    """A schedule as values that JSON can carry; times are seconds since 1970."""
    spec, progress = schedule.spec, schedule.progress
    return {
        "name": spec.name,
        "task": schedule.run.envelope.name,
        "queue": schedule.run.envelope.queue.name,
        **spec.timing._asdict(),
        "paused": progress.paused,
        "next_at": None if progress.paused else progress.next_at,
        "last_at": progress.last_at,
        "last_id": None if progress.last_key is None else text_of(progress.last_key),
        "under_way": _lives(broker, progress.last_key),
        "runs": progress.runs,
        "skipped": progress.skipped,
    }


def _lives(broker: Broker, key: int | None) -> bool:
    task = None if key is None else broker.ledger.tasks.get(key)
    return task is not None and task.state in LIVE_STATES
