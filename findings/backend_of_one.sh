#!/usr/bin/env bash
# joblib never asks a backend that has room for one call: Parallel makes the calls itself, in the caller's process.
#
# Version: joblib 1.6.0, with CPython 3.11 and newer.
#
# Behaviour: a backend that was registered and chosen by parallel_config is asked for effective_n_jobs. If the answer
# is 1, `Parallel` passes by `submit` and runs the calls one after the other where it is called, without a warning.
# With the answer 2 the same program gives every call to the backend.
#
# Output seen:
#     room for 2 calls: [1, 2, 3], made by the backend: 3 of 3
#     room for 1 call: [1, 2, 3], made by the backend: 0 of 3
#
# Guess: the number says how many calls run at a time; where they run is the choice of the backend.
#
# Why it matters for a task queue: with one free slot in a cluster, the calls run on the laptop that asked: without the
# worker's memory, devices, data and limits, and beside whatever else runs there. A backend for remote calls must
# answer at least 2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check joblib==1.6.0
"$folder/venv/bin/python" - <<'PY'
from concurrent.futures import Future

from joblib import Parallel, delayed, parallel_config, register_parallel_backend
from joblib.parallel import ParallelBackendBase


class Elsewhere(ParallelBackendBase):
    """Stands for a backend whose calls run on another machine."""

    supports_retrieve_callback = True

    def __init__(self, room=1, **given):
        super().__init__(**given)
        self.room, self.calls = room, 0

    def effective_n_jobs(self, n_jobs):
        return self.room

    def configure(self, n_jobs=1, parallel=None, **given):
        self.parallel = parallel
        return self.room

    def submit(self, func, callback=None):
        self.calls += 1
        future = Future()
        if callback is not None:
            future.add_done_callback(callback)
        future.set_result(func())
        return future

    def retrieve_result_callback(self, future):
        return future.result()


register_parallel_backend("elsewhere", Elsewhere)
for room, expected in ((2, 3), (1, 0)):
    with parallel_config("elsewhere", room=room) as config:
        results = Parallel(n_jobs=-1)(delayed(abs)(number) for number in (-1, -2, -3))
        calls = config["backend"].calls
    print(f"room for {room} call{'s' * (room > 1)}: {results}, made by the backend: {calls} of 3")
    assert (results, calls) == ([1, 2, 3], expected)
PY
