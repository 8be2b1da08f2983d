#!/usr/bin/env bash
# A failed concurrent.futures.Future keeps alive the local variables of each function that asked for its result.
#
# Versions: CPython 3.8.18, 3.11.7 and 3.13.0 (standard library only, nothing is installed).
#
# Behaviour: result() raises the one exception object that the future holds, and each raise prepends its frames to
# the same traceback. A frame keeps its locals. So the future grows with each call that is caught, and what the
# callers had in their locals lives until the future goes. multiprocessing's AsyncResult.get() does the same.
#
# Output seen:
#     Future.result(): frames in the traceback after each call: 3 6 9 12; buffers of the callers still alive: 4 of 4
#     AsyncResult.get(): frames in the traceback after each call: 4 6 8 10; buffers of the callers still alive: 4 of 4
#     result() of a future that succeeded: buffers of the callers still alive: 0 of 4
#
# Guess: result() of a future that has ended is a look-up. It costs nothing to call it again, and nothing of the
# caller stays.
#
# Why it matters for a task queue: one failed task on which thousands wait (a shared download, a cached future, a
# status page that polls) holds the arguments and buffers of all of them, and the printed traceback gets longer with
# each. Keep the exception's traceback out: `raise future.exception().with_traceback(None)`.
set -euo pipefail
python3 - <<'PY'
import gc
import traceback
import weakref
from concurrent.futures import Future
from multiprocessing.pool import ThreadPool


class Buffer:
    pass


def ask(result, buffer):
    """The frame of this call has `buffer` as a local variable."""
    try:
        result()
    except ValueError as error:
        return len(traceback.extract_tb(error.__traceback__))


def ask_often(name, result):
    buffers, frames = [], []
    for _ in range(4):
        buffer = Buffer()
        buffers.append(weakref.ref(buffer))
        frames.append(ask(result, buffer))
        del buffer
    gc.collect()
    alive = sum(buffer() is not None for buffer in buffers)
    told = f"frames in the traceback after each call: {' '.join(map(str, frames))}; " if frames[0] else ""
    print(f"{name}: {told}buffers of the callers still alive: {alive} of 4")
    return frames, alive


def fail():
    raise ValueError


failed, succeeded = Future(), Future()
failed.set_exception(ValueError())
succeeded.set_result(None)
frames, alive = ask_often("Future.result()", failed.result)
assert alive == 4 and frames == sorted(set(frames)), frames
with ThreadPool(1) as pool:
    outcome = pool.apply_async(fail)
    outcome.wait()
    frames, alive = ask_often("AsyncResult.get()", outcome.get)
    assert alive == 4 and frames == sorted(set(frames)), frames
assert ask_often("result() of a future that succeeded", succeeded.result)[1] == 0
PY
