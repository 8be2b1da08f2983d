"""Tests of the flusher, the thread that checks a batch: it ends and wakes up on every request."""

import threading

from tests.waiting import SOON_S

from distq.worker.executor.flusher import Flusher


def test_a_flusher_that_is_about_to_sleep_ends_on_request() -> None:
    """The flusher clears the event after that, and checks its state again."""
    ended = threading.Event()
    checks = 0

    def check() -> bool:
        nonlocal checks
        checks += 1
        if checks == 1:
            threading.Thread(target=end).start()
            assert requested.wait(SOON_S)
        return False

    def end() -> None:
        flusher._ended = True
        flusher._waking.set()  # as `end` does, which then waits
        requested.set()
        assert flusher._thread is not None
        flusher._thread.join(SOON_S)
        if not flusher._thread.is_alive():
            ended.set()

    requested = threading.Event()
    flusher = Flusher(check)
    flusher.wake()
    assert ended.wait(2 * SOON_S)


def test_a_batch_that_arrives_when_the_flusher_is_about_to_sleep_is_checked() -> None:
    """The executor has seen the flusher awake, and does not wake it."""
    checks: list[bool] = []
    seen = threading.Event()

    def check() -> bool:
        checks.append(flusher.is_asleep)
        if len(checks) == 3:
            seen.set()
        return len(checks) == 2  # the batch is there at the second check

    flusher = Flusher(check)
    flusher.wake()
    assert seen.wait(SOON_S)
    assert checks[:2] == [False, True]
    flusher.end()
