"""The desk: every call is answered in words, and what BaseManager does for anybody is not done."""

import os
import threading
from multiprocessing.managers import Token

from tests.master.bench import Bench, on_bench

from distq.wire.errors import RemoteRefusal
from distq.wire.messages import word_of

CALLER = f"{os.getpid():x}.{hash('distq'):x}.{threading.get_ident():x}"
"""What the master's reply makes of the process and the thread that read it."""


@on_bench()
async def test_the_managers_own_calls_are_served(bench: Bench) -> None:
    """What a stock client calls on its way to a proxy."""
    connection = bench.connection()
    for method in ("dummy", "incref", "decref", "accept_connection"):
        assert await bench.ask(connection, None, method, "work") is None
    for getter, ident in (("get_work_queue", "work"), ("get_task_queue", "work"), ("get_done_queue", "result")):
        assert word_of((await bench.ask(connection, None, "create", getter))[0]) == (ident, CALLER)
    assert (await bench.ask(connection, None, "create", "get_broker"))[0] == "broker"
    for word in ("work", f"work@{CALLER}"):
        assert "put" in await bench.ask(connection, None, "get_methods", Token("get_work_queue", ("h", 1), word))
    assert "submit" in await bench.ask(connection, None, "get_methods", Token("get_broker", ("h", 1), "broker"))
    assert await bench.ask(connection, None, "number_of_objects") == 3


@on_bench()
async def test_what_is_not_offered_is_refused_in_words(bench: Bench) -> None:
    """Nobody stops the master, looks into it, or reaches what is not there; the connection goes on."""
    connection = bench.connection()
    refusals = (
        (None, "shutdown"),
        (None, "debug_info"),
        (None, "__class__"),
        ("broker", "cancel_all"),
        ("work", "__reduce__"),
        ("nothing", "put"),
    )
    for ident, method in refusals:
        answer = await bench.ask(connection, ident, method)
        assert isinstance(answer, RemoteRefusal)
        assert "not offered" in str(answer) or "has no object" in str(answer)
    assert "DISTQ_PLAIN_QUEUES" in str(await bench.ask(connection, None, "create", "get_jobs"))
    assert await bench.ask(connection, None, "dummy") is None


@on_bench()
async def test_stats_are_told_by_name(bench: Bench) -> None:
    """As the HTTP side tells them; an unknown word is refused with those that there are."""
    connection = bench.connection()
    bench.hello(connection, "cli", "s")
    assert await bench.ask(connection, "broker", "stats") == {"ready": True}
    assert "overview" in str(await bench.ask(connection, "broker", "stats", "secrets"))


@on_bench()
async def test_what_the_master_did_not_expect_is_still_an_answer(bench: Bench) -> None:
    """A defect behind one call ends neither the connection nor the master."""

    def broken(what: str) -> object:
        raise ZeroDivisionError(what)

    bench.dispatcher._stats = broken
    connection = bench.connection()
    assert "ZeroDivisionError" in str(await bench.ask(connection, "broker", "stats"))
    assert await bench.ask(connection, None, "dummy") is None
