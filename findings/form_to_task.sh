#!/usr/bin/env bash
# django.tasks: a submitted form given to enqueue() is accepted and keeps the last value of each field only.
#
# Version: Django 6.1.3 (which needs Python 3.12 or newer: python3, or the one that PYTHON names).
#
# Behaviour: enqueue() makes JSON-like values of its arguments and refuses what it does not know (a set, a Decimal,
# a date). A QueryDict (request.GET, request.POST) is a mapping, so it is copied by items(), which gives the last
# value of each field. The others are gone without an error. A namedtuple arrives as a list, bytes as text, a
# bytearray as numbers.
#
# Output seen:
#     QueryDict('pick=1&pick=2&pick=3')   the task gets {'pick': '3'}
#     Point(x=1, y=2)                     the task gets [1, 2]
#     b'ab'                               the task gets 'ab'
#     bytearray(b'ab')                    the task gets [97, 98]
#     {1}                                 TypeError
#
# Guess: what enqueue() accepts arrives; what JSON cannot hold is refused, as it is with a set.
#
# Why it matters for a task queue: "handle this form in the background" loses what was ticked before the last box,
# the called function cannot see it, and no test with one value per field does. Pass dict(request.POST.lists()).
set -euo pipefail
pythons=("${PYTHON:-python3}" python3.{15,14,13,12} "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3)
for python in "${pythons[@]}"; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then break; fi
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check Django==6.1.3
cat >"$folder/shop.py" <<'PY'
from django.tasks import task


@task
def receive(value):
    return None
PY
PYTHONPATH="$folder" "$folder/venv/bin/python" - <<'PY'
from collections import namedtuple

import django
from django.conf import settings

settings.configure(TASKS={"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}, SECRET_KEY="finding")
django.setup()

from django.http import QueryDict
from shop import receive

Point = namedtuple("Point", "x y")
CASES = [
    ("QueryDict('pick=1&pick=2&pick=3')", QueryDict("pick=1&pick=2&pick=3"), {"pick": "3"}),
    ("Point(x=1, y=2)", Point(1, 2), [1, 2]),
    ("b'ab'", b"ab", "ab"),
    ("bytearray(b'ab')", bytearray(b"ab"), [97, 98]),
    ("{1}", {1}, TypeError),
]
for shown, value, expected in CASES:
    try:
        got = receive.enqueue(value).args[0]
        print(f"{shown:35} the task gets {got!r}")
    except TypeError as error:
        got = type(error)
        print(f"{shown:35} {got.__name__}")
    assert got == expected, (shown, got)
PY
