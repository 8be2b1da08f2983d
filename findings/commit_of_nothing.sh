#!/usr/bin/env bash
# PostgreSQL with psycopg and with asyncpg: a transaction ends without an error, and nothing of it is stored.
#
# Versions: psycopg 3.3.9, asyncpg 0.32.0, PostgreSQL 18.6.
#
# Behaviour: after an error within a transaction PostgreSQL answers COMMIT with ROLLBACK, as a success. Both drivers
# take it for one. So where the error was caught inside the block, `transaction()` is left without an exception,
# commit() returns, and the rows written before are gone. A further statement inside the block would have raised.
#
# Output seen:
#     psycopg  with connection.transaction(): no error, 0 rows
#     psycopg  connection.commit():           no error, 0 rows
#     asyncpg  with connection.transaction(): no error, 0 rows
#     psycopg  with the statement that may fail in a transaction() of its own: no error, 1 row
#
# Guess: a block that ends without an exception, and a commit() that returns, have committed.
#
# Why it matters for a task queue: "store the result, then try to tell the subscribers, and ignore it if that fails"
# says that the result is stored and loses it. What may fail belongs into an inner transaction(), which is a
# savepoint.
set -euo pipefail
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/postgres.bash"
start_postgres 'psycopg[binary]==3.3.9' asyncpg==0.32.0

python_beside_postgres <<'PY'
import asyncio
import contextlib
import sys

import asyncpg
import psycopg

HOST = sys.argv[1]
WRITE, FAIL = "INSERT INTO results VALUES (1)", "SELECT 1 / 0"


@contextlib.contextmanager
def fresh(autocommit):
    with psycopg.connect(host=HOST, user="finder", dbname="postgres", autocommit=True) as other:
        other.execute("DROP TABLE IF EXISTS results")
        other.execute("CREATE TABLE results (task int)")
        with psycopg.connect(host=HOST, user="finder", dbname="postgres", autocommit=autocommit) as connection:
            yield connection, lambda: other.execute("SELECT count(*) FROM results").fetchone()[0]


with fresh(autocommit=True) as (connection, rows):
    with connection.transaction():
        connection.execute(WRITE)
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            connection.execute(FAIL)
    print(f"psycopg  with connection.transaction(): no error, {rows()} rows")
    assert rows() == 0

with fresh(autocommit=False) as (connection, rows):
    connection.execute(WRITE)
    with contextlib.suppress(psycopg.errors.DivisionByZero):
        connection.execute(FAIL)
    connection.commit()
    print(f"psycopg  connection.commit():           no error, {rows()} rows")
    assert rows() == 0


async def by_asyncpg():
    connection = await asyncpg.connect(host=HOST, user="finder", database="postgres")
    async with connection.transaction():
        await connection.execute(WRITE)
        with contextlib.suppress(asyncpg.DivisionByZeroError):
            await connection.execute(FAIL)
    await connection.close()


with fresh(autocommit=True) as (_, rows):
    asyncio.run(by_asyncpg())
    print(f"asyncpg  with connection.transaction(): no error, {rows()} rows")
    assert rows() == 0

with fresh(autocommit=True) as (connection, rows):
    with connection.transaction():
        connection.execute(WRITE)
        with contextlib.suppress(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute(FAIL)
    print(f"psycopg  with the statement that may fail in a transaction() of its own: no error, {rows()} row")
    assert rows() == 1
PY
