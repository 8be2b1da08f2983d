#!/usr/bin/env bash
# One float, sent to a numeric column by psycopg and by asyncpg: two different numbers, and neither is what print()
# shows.
#
# Versions: psycopg 3.3.9, asyncpg 0.32.0, PostgreSQL 18.6.
#
# Behaviour: psycopg sends a float as float8, and PostgreSQL's cast from float8 to numeric keeps 15 significant
# digits, although float8 itself keeps 17: whole numbers above 1e15 change. asyncpg makes a Decimal of the float
# itself, with all digits of its binary value. Neither raises anything. With `WHERE number = ` and the float that it
# has just stored, psycopg does not find its own row.
#
# Output seen:
#     sent                  psycopg stored        asyncpg stored
#     9007199254740991.0    9007199254740990      9007199254740991
#     1795829123.123456     1795829123.12346      1795829123.12345600128173828125
#     0.1                   0.1                   0.1000000000000000055511151231257827021181583404541015625
#     1795829123.123456, looked for with WHERE number = that float:
#     psycopg finds the rows of asyncpg
#     asyncpg finds the rows of asyncpg
#
# Guess: a float that fits a numeric column is stored as repr() shows it, the same by every driver.
#
# Why it matters for a task queue: numeric is what is chosen for times in seconds and for money "so that nothing is
# rounded". A time.time() stored by psycopg moves by some microseconds, so that its own row is not found again, nor
# deleted, and a whole number above 1e15 becomes another. Send Decimal(repr(x)), or make the column float8.
set -euo pipefail
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/postgres.bash"
start_postgres 'psycopg[binary]==3.3.9' asyncpg==0.32.0

python_beside_postgres <<'PY'
import asyncio
import sys

import asyncpg
import psycopg

FLOATS = [9007199254740991.0, 1795829123.123456, 0.1]
EXPECTED = {
    9007199254740991.0: ("9007199254740990", "9007199254740991"),
    1795829123.123456: ("1795829123.12346", "1795829123.12345600128173828125"),
    0.1: ("0.1", "0.1000000000000000055511151231257827021181583404541015625"),
}


async def main(host):
    with psycopg.connect(host=host, user="finder", dbname="postgres", autocommit=True) as one:
        two = await asyncpg.connect(host=host, user="finder", database="postgres")
        one.execute("CREATE TABLE stored (driver text, number numeric)")
        print(f"{'sent':21} {'psycopg stored':21} asyncpg stored")
        for number in FLOATS:
            one.execute("TRUNCATE stored")
            one.execute("INSERT INTO stored VALUES ('psycopg', %s)", [number])
            await two.execute("INSERT INTO stored VALUES ('asyncpg', $1)", number)
            rows = dict(one.execute("SELECT driver, number::text FROM stored").fetchall())
            print(f"{number!r:21} {rows['psycopg']:21} {rows['asyncpg']}")
            for driver, expected in zip(("psycopg", "asyncpg"), EXPECTED[number]):
                assert rows[driver] == expected, (driver, number, rows[driver])
        moment = FLOATS[1]
        one.execute("TRUNCATE stored")
        one.execute("INSERT INTO stored VALUES ('psycopg', %s)", [moment])
        await two.execute("INSERT INTO stored VALUES ('asyncpg', $1)", moment)
        by_psycopg = [row[0] for row in one.execute("SELECT driver FROM stored WHERE number = %s", [moment])]
        by_asyncpg = [row[0] for row in await two.fetch("SELECT driver FROM stored WHERE number = $1", moment)]
        print(f"{moment!r}, looked for with WHERE number = that float:")
        print("psycopg finds the rows of", *by_psycopg)
        print("asyncpg finds the rows of", *by_asyncpg)
        assert by_psycopg == by_asyncpg == ["asyncpg"], (by_psycopg, by_asyncpg)
        await two.close()


asyncio.run(main(sys.argv[1]))
PY
