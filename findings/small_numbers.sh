#!/usr/bin/env bash
# psycopg: 200 * 200 in SQL is "smallint out of range", and one plan has another type for each size of a number.
#
# Versions: psycopg 3.3.9, PostgreSQL 18.6.
#
# Behaviour: psycopg sends an int as smallint, integer, bigint or numeric, by its value. PostgreSQL computes with
# the types that it gets: smallint times smallint is smallint. So an expression of two parameters fails where both
# are small and the outcome is not, and works where one of them is large. Into a column of any integer type each of
# them goes well.
#
# Output seen:
#     %s * %s of 200, 200: NumericValueOutOfRange
#     %s * %s of 200, 40000: 8000000
#     %s * %s of 60000, 60000: NumericValueOutOfRange
#     %s * %s of 60000, 3000000000: 180000000000000
#     %s * %s::bigint of 200, 200: 40000
#
# Guess: a Python int arrives as a type that is large enough for ordinary arithmetic; small numbers are the safe
# ones.
#
# Why it matters for a task queue: `retry_s = %s * %s` for a pause that grows, or `%s + %s` for an offset and a
# limit, works in the tests with 5 * 3 and fails for a pause of 600 s at the 55th attempt, in the statement that was
# to save the task.
set -euo pipefail
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/postgres.bash"
start_postgres 'psycopg[binary]==3.3.9'

python_beside_postgres <<'PY'
import sys

import psycopg
from psycopg.errors import NumericValueOutOfRange

CASES = [
    ("%s * %s", (200, 200), None),
    ("%s * %s", (200, 40_000), 8_000_000),
    ("%s * %s", (60_000, 60_000), None),
    ("%s * %s", (60_000, 3_000_000_000), 180_000_000_000_000),
    ("%s * %s::bigint", (200, 200), 40_000),
]
with psycopg.connect(host=sys.argv[1], user="finder", dbname="postgres", autocommit=True) as connection:
    for expression, numbers, expected in CASES:
        try:
            got = connection.execute(f"SELECT {expression}", numbers).fetchone()[0]
            print(f"{expression} of {numbers[0]}, {numbers[1]}: {got}")
        except NumericValueOutOfRange as error:
            got = None
            print(f"{expression} of {numbers[0]}, {numbers[1]}: {type(error).__name__}")
        assert got == expected, (expression, numbers, got)
PY
