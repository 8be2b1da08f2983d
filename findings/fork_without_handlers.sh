#!/usr/bin/env bash
# uWSGI forks its processes without Python's handlers for forks, unless py-call-osafterfork is set.
#
# Version: uWSGI 2.0.31, with CPython 3.11 and newer. pip builds it from source, which takes a C compiler and
# Python's headers.
#
# Behaviour: an application that uWSGI's master has loaded is forked into each process from C. Functions of
# `os.register_at_fork` do not run in these processes, and neither do those that Python itself keeps there, such as the
# new seed of `random`. With the option --py-call-osafterfork they run. No option or log line warns of it.
#
# Output seen:
#     uWSGI, by default: handlers run in 0 of 2 processes
#     uWSGI, py-call-osafterfork: handlers run in 2 of 2 processes
#
# Guess: code that has registered such a function hears of every fork of a server for Python applications. gunicorn
# with --preload, which forks by os.fork, runs them.
#
# Why it matters for a task queue: a client that renews its session in such a handler has one session in all processes.
# A server that recognises repeated submits by session and number takes the tasks of one process for repetitions of
# another's, and they are lost without an error. A client must compare the process id as well.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -INT "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uWSGI==2.0.31
cat > "$folder/app.py" <<'PY'
import os

loaded_by = os.getpid()
ran_in = []
os.register_at_fork(after_in_child=lambda: ran_in.append(os.getpid()))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {os.getpid() != loaded_by} {os.getpid() in ran_in}".encode()]
PY
cat > "$folder/look.py" <<'PY'
import sys
import time
import urllib.request

name, port, expected = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = {}
until_at = time.monotonic() + 60
while len(seen) < 2 and time.monotonic() < until_at:
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read().decode()
    except OSError:
        time.sleep(0.1)  # the server has not begun to listen
        continue
    pid, forked, ran = answer.split()
    assert forked == "True", "the application must be loaded before the fork"
    seen[pid] = ran == "True"
print(f"uWSGI, {name}: handlers run in {sum(seen.values())} of {len(seen)} processes")
assert len(seen) == 2 and sum(seen.values()) == expected
PY
look() { # look NAME EXPECTED OPTION...: how many processes have run the handler
    local name=$1 expected=$2 port
    shift 2
    port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$folder/venv/bin/uwsgi" --http-socket "127.0.0.1:$port" --master --processes 2 --disable-logging "$@" \
        --pythonpath "$folder" --virtualenv "$folder/venv" --module app > "$folder/log" 2>&1 &
    server=$!
    "$folder/venv/bin/python" "$folder/look.py" "$name" "$port" "$expected"
    kill -INT "$server"
    wait "$server" || true
    server=
}
look "by default" 0
look "py-call-osafterfork" 2 --py-call-osafterfork
