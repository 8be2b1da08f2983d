"""Tests of the flusher, the thread that checks a batch: it ends and wakes on every request."""

import threading

from tests.waiting import SOON_S

from distq.worker.executor.flusher import Flusher


def test_it_ends_also_if_it_is_told_so_when_it_goes_to_sleep() -> None:
    """The event is cleared after that: what was set before is looked at again."""
    ended = threading.Event()
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            threading.Thread(target=end).start()
            assert told.wait(SOON_S)
        return False

    def end() -> None:
        flusher._ended = True
        flusher._waking.set()  # as `end` does, which then waits
        told.set()
        assert flusher._thread is not None
        flusher._thread.join(SOON_S)
        if not flusher._thread.is_alive():
            ended.set()

    told = threading.Event()
    flusher = Flusher(look)
    flusher.wake()
    assert ended.wait(2 * SOON_S)


def test_a_batch_that_came_when_it_went_to_sleep_is_looked_at() -> None:
    """Who brings it saw the thread awake, and does not wake it."""
    looks: list[bool] = []
    seen = threading.Event()

    def look() -> bool:
        looks.append(flusher.is_asleep)
        if len(looks) == 3:
            seen.set()
        return len(looks) == 2  # the batch is there at the second look

    flusher = Flusher(look)
    flusher.wake()
    assert seen.wait(SOON_S)
    assert looks[:2] == [False, True]
    flusher.end()
