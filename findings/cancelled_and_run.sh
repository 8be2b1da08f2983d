#!/usr/bin/env bash
# asyncio: a call given to an executor is run after `cancel()` has returned True and the future says that it is
# cancelled.
#
# Versions: CPython 3.11.7 and 3.13.0 (standard library only, nothing is installed).
#
# Behaviour: loop.run_in_executor() (and asyncio.to_thread, asyncio.wrap_future) gives an asyncio future that is
# tied to the executor's own. Cancelling the first cancels the second only by a callback in the loop's next turn. A
# thread that becomes free before that takes the call and runs it. concurrent.futures' own cancel() has no such gap:
# True there means never run.
#
# Output seen:
#     asyncio: cancel() True, cancelled() True, and the call was run: True
#     asyncio, one turn of the loop in between: cancel() True, cancelled() True, and the call was run: False
#     concurrent.futures: cancel() True, cancelled() True, and the call was run: False
#
# Guess: cancel() that answers True for a call that waits in the pool's queue takes it out of that queue.
#
# Why it matters for a task queue: "cancelled, so it can be given to another worker" is right for concurrent.futures
# and lets the call run twice with asyncio. To be sure, let the loop turn once (await asyncio.sleep(0)), or submit
# to the executor and cancel the concurrent future itself.
set -euo pipefail
python3 - <<'PY'
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor


async def case(name, start, turns):
    """A pool of one thread is busy, a second call waits and is cancelled, then the thread becomes free."""
    release, was_run = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(release.wait)
        waiting = start(pool, was_run.set)
        answer = waiting.cancel()
        says = waiting.cancelled()
        for _ in range(turns):
            await asyncio.sleep(0)
        release.set()
        pool.shutdown()  # waits until all that was still in the pool has run; the loop does not turn meanwhile
    print(f"{name}: cancel() {answer}, cancelled() {says}, and the call was run: {was_run.is_set()}")
    return answer, says, was_run.is_set()


async def main():
    loop = asyncio.get_running_loop()
    assert await case("asyncio", loop.run_in_executor, 0) == (True, True, True)
    assert await case("asyncio, one turn of the loop in between", loop.run_in_executor, 1) == (True, True, False)
    assert await case("concurrent.futures", ThreadPoolExecutor.submit, 0) == (True, True, False)


asyncio.run(main())
PY
