#!/usr/bin/env bash
# PostgreSQL's 'infinity' for "never": psycopg cannot read the row, and asyncpg reads a datetime without a time
# zone.
#
# Versions: psycopg 3.3.9, asyncpg 0.32.0, PostgreSQL 18.6.
#
# Behaviour: asyncpg turns the 'infinity' of a timestamptz into datetime.max, naive, while all other values of the
# column are aware: comparing the two raises TypeError. The other way, it stores datetime.max, aware or not, as
# 'infinity'. psycopg stores datetime.max as the end of the year 9999, and raises when it has to read an 'infinity',
# of the whole row.
#
# Output seen:
#     asyncpg reads infinity as 9999-12-31 23:59:59.999999, aware: False; compared with now: TypeError
#     psycopg reads infinity: DataError
#     datetime.max in UTC, stored by asyncpg: infinity
#     datetime.max in UTC, stored by psycopg: 9999-12-31 23:59:59.999999+00
#
# Guess: one column gives one kind of datetime, and the greatest datetime is a date like others.
#
# Why it matters for a task queue: `expires_at timestamptz DEFAULT 'infinity'` is how a column says "never". With
# asyncpg the sweep `row.expires_at < now` raises for just these rows, and with psycopg the row, its task and the
# rest of the batch cannot be read. Two programs with different drivers do not find each other's "never". NULL has
# none of this.
set -euo pipefail
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/postgres.bash"
start_postgres 'psycopg[binary]==3.3.9' asyncpg==0.32.0

python_beside_postgres <<'PY'
import asyncio
import sys
from datetime import datetime, timezone

import asyncpg
import psycopg

HOST = sys.argv[1]
READ, STORE = "SELECT 'infinity'::timestamptz", "SELECT {}::timestamptz::text"
LAST = datetime.max.replace(tzinfo=timezone.utc)


def outcome(call):
    try:
        return str(call())
    except (TypeError, psycopg.DataError) as error:
        return type(error).__name__


async def main():
    two = await asyncpg.connect(host=HOST, user="finder", database="postgres")
    never = await two.fetchval(READ)
    ordinary = await two.fetchval("SELECT now()")
    compared = outcome(lambda: never < ordinary)
    print(f"asyncpg reads infinity as {never}, aware: {never.tzinfo is not None}; compared with now: {compared}")
    stored_by_asyncpg = await two.fetchval(STORE.format("$1"), LAST)
    await two.close()

    with psycopg.connect(host=HOST, user="finder", dbname="postgres") as one:
        one.execute("SET TimeZone = 'UTC'")
        read = outcome(lambda: one.execute(READ).fetchone())
        print(f"psycopg reads infinity: {read}")
        stored_by_psycopg = one.execute(STORE.format("%s"), [LAST]).fetchone()[0]
    print(f"datetime.max in UTC, stored by asyncpg: {stored_by_asyncpg}")
    print(f"datetime.max in UTC, stored by psycopg: {stored_by_psycopg}")

    assert (never, compared) == (datetime.max, "TypeError") and ordinary.tzinfo is not None
    assert read == "DataError"
    assert (stored_by_asyncpg, stored_by_psycopg) == ("infinity", "9999-12-31 23:59:59.999999+00")


asyncio.run(main())
PY
