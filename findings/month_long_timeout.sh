#!/usr/bin/env bash
# A timeout of 25 days is an error in multiprocessing and subprocess, and is none in queue, threading and
# concurrent.futures.
#
# Versions: CPython 3.11.7 and 3.13.0 on Linux (standard library only, nothing is installed).
#
# Behaviour: multiprocessing.Queue.get, Connection.poll and Process.join wait by poll(2), and so does
# subprocess.run, but only when it captures output. Its timeout is a C int of milliseconds: 2,147,483.647 seconds. A
# longer one raises OverflowError, also where nothing has to be waited for. queue.Queue, Future.result and the locks
# of multiprocessing itself take it.
#
# Output seen:
#     2147483 s: accepted by all
#     2147484 s: OverflowError from Queue.get, Connection.poll, Process.join, subprocess.run that captures
#
# Guess: what takes seconds as a float takes a month of them, as the class of the same name in `queue` does.
#
# Why it matters for a task queue: "practically no limit" is often written as 30 days or 10**7 seconds. The same
# worker accepts that for its threads and fails for its processes, and a time limit for a program is accepted or
# raises after the program was started, by whether its output is wanted.
set -euo pipefail
python3 - <<'PY'
import multiprocessing
import queue
import subprocess
import sys
from concurrent.futures import Future

context = multiprocessing.get_context("fork")
PROGRAM = [sys.executable, "-c", ""]


def of_queue(timeout):
    made = context.Queue()
    made.put(1)
    made.get(timeout=timeout)


def of_connection(timeout):
    ours, theirs = context.Pipe()
    theirs.send(1)
    assert ours.poll(timeout)


def of_process(timeout):
    process = context.Process(target=int)
    process.start()
    try:
        process.join(timeout)
    finally:
        process.join()


def of_thread_queue(timeout):
    made = queue.Queue()
    made.put(1)
    made.get(timeout=timeout)


def of_future(timeout):
    future = Future()
    future.set_result(1)
    future.result(timeout)


WAITS = {
    "Queue.get": of_queue,
    "Connection.poll": of_connection,
    "Process.join": of_process,
    "subprocess.run that captures": lambda timeout: subprocess.run(PROGRAM, timeout=timeout, capture_output=True),
    "subprocess.run": lambda timeout: subprocess.run(PROGRAM, timeout=timeout),
    "Lock.acquire": lambda timeout: context.Lock().acquire(timeout=timeout),
    "queue.Queue.get": of_thread_queue,
    "Future.result": of_future,
}


def refused(timeout):
    names = []
    for name, wait in WAITS.items():
        try:
            wait(timeout)
        except OverflowError:
            names.append(name)
    return names


assert refused(2147483) == []
print("2147483 s: accepted by all")
names = refused(2147484)
print(f"2147484 s: OverflowError from {', '.join(names)}")
assert names == ["Queue.get", "Connection.poll", "Process.join", "subprocess.run that captures"]
PY
