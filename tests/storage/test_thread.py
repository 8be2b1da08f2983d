"""The store's thread runs each function in order and to its end, and each waiting caller receives the outcome."""

import asyncio
import threading

import pytest
from tests.storage.loop import on_loop

from distq.storage.thread import StoreThread


@on_loop
async def test_the_thread_runs_functions_in_order() -> None:
    """The caller of each function receives its result or its error."""
    thread = StoreThread("a-store")
    names = await asyncio.gather(*(thread.run(lambda: threading.current_thread().name) for _ in range(3)))
    assert names == ["a-store"] * 3
    done: list[int] = []
    await asyncio.gather(*(thread.run(done.append, number) for number in range(100)))
    assert done == list(range(100))
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    thread.end()
    with pytest.raises(RuntimeError, match="ended"):
        await thread.run(print)


@on_loop
async def test_a_caller_that_stops_waiting_does_not_stop_its_function() -> None:
    """The function continues to its end, and later functions run after it."""
    thread = StoreThread("a-store")
    gate = threading.Event()
    done: list[str] = []

    def slow() -> None:
        gate.wait()
        done.append("slow")

    abandoned = thread.run(slow)
    later = thread.run(done.append, "later")
    abandoned.cancel()
    gate.set()
    await later
    assert done == ["slow", "later"]
    thread.end()


def test_a_closed_loop_causes_no_traceback_of_the_thread() -> None:
    """A master that stops during a commit prints no traceback of its thread."""
    thread = StoreThread("a-store")
    started, gate = threading.Event(), threading.Event()
    failed: list[object] = []
    hook, threading.excepthook = threading.excepthook, failed.append

    def slow() -> None:
        started.set()
        gate.wait()

    async def ask() -> None:
        _ = thread.run(slow)
        started.wait()

    try:
        asyncio.run(ask())
        gate.set()

        async def after() -> str:
            return await thread.run(lambda: "served")

        assert asyncio.run(after()) == "served"
        assert not failed
    finally:
        threading.excepthook = hook
        thread.end()
