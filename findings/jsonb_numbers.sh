#!/usr/bin/env bash
# PostgreSQL's jsonb gives floats back as whole numbers, and a number that it keeps cannot be read by Python's json.
#
# Versions: psycopg 3.3.9, PostgreSQL 18.6, json of CPython 3.11 and 3.13 (jsonb itself, so other drivers too).
#
# Behaviour: jsonb stores a number as numeric and writes it without an exponent. json.dumps(1e16) is `1e+16`, jsonb
# gives `10000000000000000`, and json.loads makes an int of it; 1e15 is written `1000000000000000.0` and stays a
# float. -0.0 loses its sign. A numeric has up to 131,072 digits, and Python turns at most 4,300 into an int: such a
# row raises when it is read. The type json (not jsonb) keeps the text, and with it the type.
#
# Output seen:
#     sent     from jsonb                   from json
#     1e+15    float 1000000000000000.0     float 1000000000000000.0
#     1e+16    int 10000000000000000        float 1e+16
#     1e+300   int, 301 digits              float 1e+300
#     -0e+00   float 0.0                    float -0.0
#     a whole number of 5,000 digits, made in SQL: ValueError on reading
#
# Guess: a float that goes into a JSON column comes out as that float.
#
# Why it matters for a task queue: arguments and results in a jsonb column change their type by their size. A worker
# that divides, hashes or packs them (struct, msgpack, an int64 in another language) fails for the largest values
# only.
set -euo pipefail
# shellcheck source=/dev/null
source "$(dirname "${BASH_SOURCE[0]}")/postgres.bash"
start_postgres 'psycopg[binary]==3.3.9'

python_beside_postgres <<'PY'
import math
import sys

import psycopg
from psycopg.types.json import Json


def shown(value):
    if isinstance(value, int) and value > 10**20:
        return f"int, {len(str(value))} digits"
    return f"{type(value).__name__} {value!r}"


with psycopg.connect(host=sys.argv[1], user="finder", dbname="postgres") as connection:
    print(f"{'sent':8} {'from jsonb':28} from json")
    got = {}
    for sent in (1e15, 1e16, 1e300, -0.0):
        got[sent] = connection.execute("SELECT %(it)s::jsonb, %(it)s::json", {"it": Json(sent)}).fetchone()
        print(f"{sent:<8.0e} {shown(got[sent][0]):28} {shown(got[sent][1])}")
    row = connection.execute("SELECT jsonb_build_object('n', repeat('9', 5000)::numeric)")
    try:
        row.fetchone()
        read = "no error"
    except ValueError as error:
        read = type(error).__name__
    print(f"a whole number of 5,000 digits, made in SQL: {read} on reading")

assert all(type(from_json) is float for _, from_json in got.values())
assert [type(from_jsonb) for from_jsonb, _ in got.values()] == [float, int, int, float]
assert math.copysign(1, got[-0.0][0]) == 1 and math.copysign(1, got[-0.0][1]) == -1
assert read == "ValueError"
PY
