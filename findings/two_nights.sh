#!/usr/bin/env bash
# "Daily at 02:30": in the two nights of a clock change three cron libraries give no run, one or two, at three
# instants.
#
# Versions: croniter 7.0.0, cronsim 2.8, APScheduler 3.11.3, tzdata 2026.6 (zone Europe/Berlin).
#
# Behaviour: where 02:30 does not exist, croniter and cronsim run at the first instant after the gap and APScheduler
# half an hour later; its calendar trigger leaves the day out. Where 02:30 comes twice, croniter and APScheduler run
# twice, cronsim and the calendar trigger once. A step within the missing hour (*/15 2) is run once by two and not
# at all by cronsim, which runs 30 2 on the same day.
#
# Output seen (all in UTC):
#     line           night           croniter       cronsim        CronTrigger    CalendarIntervalTrigger
#     30 2 * * *     2026-03-29      01:00          01:00          01:30          none
#     30 2 * * *     2026-10-25      00:30 01:30    00:30          00:30 01:30    00:30
#     */15 2 * * *   2026-03-29      01:00          none           01:00          (no such thing)
#
# Guess: the same five fields in the same zone are the same instants, and a daily job runs daily, once.
#
# Why it matters for a task queue: a schedule that is moved from one library to another (or a backend that uses
# another than the page that shows the next runs) bills twice in one night of the year, and leaves out another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    croniter==7.0.0 cronsim==2.8 APScheduler==3.11.3 tzdata==2026.6
"$folder/venv/bin/python" - <<'PY'
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from zoneinfo import ZoneInfo

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim

ZONE = ZoneInfo("Europe/Berlin")


def of_croniter(line, start):
    moments = croniter(line, start)
    while True:
        yield moments.get_next(datetime)


def of_trigger(trigger, start):
    previous = None
    while True:
        previous = trigger.get_next_fire_time(previous, previous or start)
        yield previous


def in_night(moments, start):
    end = (start + timedelta(days=1)).timestamp()
    within = takewhile(lambda moment: moment.timestamp() < end, moments)
    return " ".join(moment.astimezone(timezone.utc).strftime("%H:%M") for moment in within) or "none"


def row(line, start, daily):
    calendar = "(no such thing)"
    if daily:
        trigger = CalendarIntervalTrigger(days=1, hour=2, minute=30, timezone=ZONE, start_date=start.date())
        calendar = in_night(of_trigger(trigger, start), start)
    return [
        in_night(of_croniter(line, start), start),
        in_night(CronSim(line, start), start),
        in_night(of_trigger(CronTrigger.from_crontab(line, timezone=ZONE), start), start),
        calendar,
    ]


FORWARD, BACK = datetime(2026, 3, 29, tzinfo=ZONE), datetime(2026, 10, 25, tzinfo=ZONE)
CASES = [
    ("30 2 * * *", FORWARD, True, ["01:00", "01:00", "01:30", "none"]),
    ("30 2 * * *", BACK, True, ["00:30 01:30", "00:30", "00:30 01:30", "00:30"]),
    ("*/15 2 * * *", FORWARD, False, ["01:00", "none", "01:00", "(no such thing)"]),
]
WIDTHS = "{:14} {:15} {:14} {:14} {:14} {}"
print(WIDTHS.format("line", "night", "croniter", "cronsim", "CronTrigger", "CalendarIntervalTrigger"))
for line, start, daily, expected in CASES:
    got = row(line, start, daily)
    print(WIDTHS.format(line, str(start.date()), *got))
    assert got == expected, (line, got)
PY
