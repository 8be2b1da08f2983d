#!/usr/bin/env bash
# timedelta(hours=24), added in SQL, is 25 hours long in the night in which clocks go back; 23 + 1 hours are 24.
#
# Versions: psycopg 3.3.9, asyncpg 0.32.0, PostgreSQL 18.6.
#
# Behaviour: Python's timedelta keeps days, seconds and microseconds, and makes 24 hours one day. Both drivers send
# the days as days of an interval, and for PostgreSQL a day is a step in the calendar of the session's time zone:
# 23, 24 or 25 hours. So the same duration is another one by how it was written, and SQL and Python disagree about
# the sum.
#
# Output seen (the session is in Europe/Berlin; the moment is 2026-10-24 10:00 UTC):
#     hours later              psycopg  asyncpg  in Python
#     timedelta(hours=24)         25.0     25.0       24.0
#     timedelta(hours=23)         23.0     23.0       23.0
#     23 hours, then 1 hour       24.0     24.0       24.0
#     with a session in UTC       24.0     24.0       24.0
#
# Guess: a timedelta is a length of time, and adding it to a timestamptz gives the instant that is so much later.
#
# Why it matters for a task queue: `due_at = now() + %s` and `expires_at < now() - %s` with a day or a week move by
# an hour twice a year, for delays of 24 hours and more only: a timeout of 86,399 s is right and one of 86,400 s is
# not. Let the session be in UTC, or send seconds: make_interval(secs => %s).
set -euo pipefail
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/postgres.bash"
start_postgres 'psycopg[binary]==3.3.9' asyncpg==0.32.0 tzdata==2026.6

python_beside_postgres <<'PY'
import asyncio
import sys
from datetime import datetime, timedelta, timezone

import asyncpg
import psycopg

HOST = sys.argv[1]
BEGINNING = datetime(2026, 10, 24, 10, tzinfo=timezone.utc)
CASES = [
    ("timedelta(hours=24)", "Europe/Berlin", [timedelta(hours=24)], 25),
    ("timedelta(hours=23)", "Europe/Berlin", [timedelta(hours=23)], 23),
    ("23 hours, then 1 hour", "Europe/Berlin", [timedelta(hours=23), timedelta(hours=1)], 24),
    ("with a session in UTC", "UTC", [timedelta(hours=24)], 24),
]


def hours(end):
    return (end.astimezone(timezone.utc) - BEGINNING) / timedelta(hours=1)


async def main():
    two = await asyncpg.connect(host=HOST, user="finder", database="postgres")
    with psycopg.connect(host=HOST, user="finder", dbname="postgres", autocommit=True) as one:
        print(f"{'hours later':22} {'psycopg':>9}{'asyncpg':>9}{'in Python':>11}")
        for shown, zone, steps, expected in CASES:
            one.execute(f"SET TimeZone = '{zone}'")
            await two.execute(f"SET TimeZone = '{zone}'")
            ends = [BEGINNING] * 3
            for step in steps:
                ends[0] = one.execute("SELECT %s + %s", [ends[0], step]).fetchone()[0]
                ends[1] = await two.fetchval("SELECT $1::timestamptz + $2::interval", ends[1], step)
                ends[2] += step
            later = [hours(end) for end in ends]
            print(f"{shown:22} {later[0]:9}{later[1]:9}{later[2]:11}")
            assert later == [expected, expected, sum(steps, timedelta()) / timedelta(hours=1)], shown
    await two.close()


asyncio.run(main())
PY
