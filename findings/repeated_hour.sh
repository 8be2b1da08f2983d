#!/usr/bin/env bash
# Two rows an hour apart are equal in Python, and a moment differs from itself, in the hour that a clock change
# repeats.
#
# Versions: psycopg 3.3.9, PostgreSQL 18.6, zoneinfo of CPython 3.11 and 3.13.
#
# Behaviour: psycopg gives a timestamptz in the session's time zone, as a datetime with a ZoneInfo. Python compares
# two datetimes of the same ZoneInfo by what the clock on the wall shows, without `fold`. So two instants that
# PostgreSQL keeps an hour apart are equal, have one hash, and have a difference of 0. Compared with a datetime of
# another zone the opposite happens: an instant within the repeated hour is equal to nothing there, not even to
# itself in UTC.
#
# Output seen:
#     PostgreSQL: 2 instants, 3600 seconds apart
#     Python: equal True, difference 0:00:00, 1 key of a dict
#     in UTC: equal to itself False, difference 0:00:00, same timestamp True
#     with a session in UTC: 2 keys of a dict
#
# Guess: aware datetimes are instants, so `==`, sorting and a dict treat them as PostgreSQL does.
#
# Why it matters for a task queue: rows that are fetched into a dict by their due time lose one of two runs, a test
# "is it the moment that I stored" fails for one hour a year, and `later - earlier` is short by an hour. A session
# with TimeZone=UTC has none of this.
set -euo pipefail
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/postgres.bash"
start_postgres 'psycopg[binary]==3.3.9' tzdata==2026.6

python_beside_postgres <<'PY'
import sys
from datetime import timezone

import psycopg

ROWS = "VALUES ('2026-10-25 00:30:00+00'::timestamptz), ('2026-10-25 01:30:00+00')"
with psycopg.connect(host=sys.argv[1], user="finder", dbname="postgres") as connection:
    connection.execute("SET TimeZone = 'Europe/Berlin'")
    seconds = "extract(epoch FROM max(column1) - min(column1))::int"
    apart = connection.execute(f"SELECT {seconds} FROM ({ROWS})").fetchone()[0]
    first, second = (row[0] for row in connection.execute(ROWS))
    connection.execute("SET TimeZone = 'UTC'")
    in_utc = [row[0] for row in connection.execute(ROWS)]

print(f"PostgreSQL: {len(in_utc)} instants, {apart} seconds apart")
print(f"Python: equal {first == second}, difference {second - first}, {len({first: 1, second: 2})} key of a dict")
same = second.astimezone(timezone.utc)
print(f"in UTC: equal to itself {second == same}, difference {second - same}, "
      f"same timestamp {second.timestamp() == same.timestamp()}")
print(f"with a session in UTC: {len(dict.fromkeys(in_utc))} keys of a dict")

assert apart == 3600 and second.timestamp() - first.timestamp() == 3600
assert first == second and hash(first) == hash(second) and not second - first
assert second != same and not second - same and second.timestamp() == same.timestamp()
assert len(dict.fromkeys(in_utc)) == 2
PY
