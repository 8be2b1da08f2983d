#!/usr/bin/env bash
# structlog: a log line can fail the task that writes it, and a debug line does so only while debug is switched on.
#
# Version: structlog 26.1.0.
#
# Behaviour: the logger of make_filtering_bound_logger() formats `event % arguments`, and JSONRenderer encodes, in
# the caller's thread without a net: what they raise comes out of log.debug(). Below the level nothing is looked at.
# The standard library catches all this, writes the traceback to stderr, and lets the program go on
# (logging.raiseExceptions does not change that).
#
# Output seen:
#     '%s of %s' with one argument          info: done        debug: TypeError   logging at debug: done
#     '%d done' with a text                 info: done        debug: TypeError   logging at debug: done
#     a dict with a tuple as a key          info: done        debug: TypeError   logging at debug: done
#     a list that contains itself           info: done        debug: ValueError  logging at debug: done
#     a whole number of 5,000 digits        info: done        debug: ValueError  logging at debug: done
#
# Guess: whatever is logged, a logging call returns. That is what the standard library has taught us.
#
# Why it matters for a task queue: the level of a worker is changed to find a fault, and then other tasks fail and
# are retried, in lines that no test runs at that level. A final processor that catches and says so keeps tasks out
# of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check structlog==26.1.0
"$folder/venv/bin/python" - <<'PY'
import contextlib
import io
import json
import logging

import structlog

itself = []
itself.append(itself)
CASES = [
    ("'%s of %s' with one argument", ("%s of %s", 1), {}, "TypeError"),
    ("'%d done' with a text", ("%d done", "five"), {}, "TypeError"),
    ("a dict with a tuple as a key", ("moves",), {"moves": {(1, 2): 3}}, "TypeError"),
    ("a list that contains itself", ("list",), {"list": itself}, "ValueError"),
    ("a whole number of 5,000 digits", ("number",), {"number": 10**4999}, "ValueError"),
]


class AsJson(logging.Formatter):
    def format(self, record):
        return json.dumps({"event": record.getMessage()} | record.fields)


def task(debug, positional, fields):
    try:
        debug(*positional, **fields)
    except Exception as error:
        return type(error).__name__
    return "done"


def by_structlog(level):
    return structlog.wrap_logger(
        structlog.WriteLogger(io.StringIO()),
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    ).debug


handler = logging.StreamHandler(io.StringIO())
handler.setFormatter(AsJson())
logger = logging.Logger("finding", logging.DEBUG)
logger.addHandler(handler)

for shown, positional, fields, expected in CASES:
    info = task(by_structlog(logging.INFO), positional, fields)
    debug = task(by_structlog(logging.DEBUG), positional, fields)
    with contextlib.redirect_stderr(io.StringIO()) as complaint:
        standard = task(lambda *args, **kept: logger.debug(*args, extra={"fields": kept}), positional, fields)
    print(f"{shown:37} info: {info:11} debug: {debug:11} logging at debug: {standard}")
    assert (info, debug, standard) == ("done", expected, "done"), shown
    assert expected in complaint.getvalue()
PY
