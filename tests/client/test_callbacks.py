"""The thread that calls the callbacks of futures."""

import threading

from tests.waiting import SOON_S

from distq.client.callbacks import Callbacks


def test_a_client_that_closes_during_a_callback_waits_only_for_that_callback() -> None:
    """The callbacks are idle when the last one has returned, also if `close` came while it ran."""
    callbacks, started, may_end = Callbacks(), threading.Event(), threading.Event()

    def callback() -> None:
        started.set()
        may_end.wait(SOON_S)

    callbacks.call(callback)
    assert started.wait(SOON_S)
    callbacks.close()
    may_end.set()
    callbacks.wait(SOON_S)
    assert callbacks._idle.is_set()
