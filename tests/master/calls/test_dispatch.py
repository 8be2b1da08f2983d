"""The dispatcher: it answers every call, and refuses the calls with which BaseManager's servers can be controlled."""

import os
import threading
from multiprocessing.managers import Token

from tests.master.bench import Bench, on_bench

from distq.wire.errors import RemoteRefusal
from distq.wire.messages import object_of

CALLER = f"{os.getpid():x}.{hash('distq'):x}.{threading.get_ident():x}"
"""What the master's reply makes of the process and the thread that read it."""


@on_bench()
async def test_the_managers_own_calls_are_served(bench: Bench) -> None:
    """The dispatcher answers the calls that a standard-library client makes before it has a proxy."""
    connection = bench.connection()
    for method in ("dummy", "incref", "decref", "accept_connection"):
        assert await bench.ask(connection, None, method, "work") is None
    for getter, ident in (("get_work_queue", "work"), ("get_task_queue", "work"), ("get_done_queue", "result")):
        assert object_of((await bench.ask(connection, None, "create", getter))[0]) == (ident, CALLER)
    assert (await bench.ask(connection, None, "create", "get_broker"))[0] == "broker"
    for typeid in ("work", f"work@{CALLER}"):
        assert "put" in await bench.ask(connection, None, "get_methods", Token("get_work_queue", ("h", 1), typeid))
    assert "submit" in await bench.ask(connection, None, "get_methods", Token("get_broker", ("h", 1), "broker"))
    assert await bench.ask(connection, None, "number_of_objects") == 3


@on_bench()
async def test_a_call_that_the_master_does_not_offer_is_refused(bench: Bench) -> None:
    """No peer can stop the master or reach unknown objects; the connection goes on."""
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
async def test_a_peer_reads_statistics_by_their_name(bench: Bench) -> None:
    """The statistics equal those of the HTTP server; the error for an unknown name lists the known ones."""
    connection = bench.connection()
    bench.hello(connection, "cli", "s")
    assert await bench.ask(connection, "broker", "stats") == {"ready": True}
    assert "overview" in str(await bench.ask(connection, "broker", "stats", "secrets"))
    assert await bench.ask(connection, "broker", "stats", "queues") == {"after": None}
    assert await bench.ask(connection, "broker", "stats", "queues", "") == {"after": ""}
    assert await bench.ask(connection, "broker", "stats", "queues", "mail") == {"after": "mail"}
    assert await bench.ask(connection, "broker", "stats", "queues", 5) == {"after": None}


@on_bench()
async def test_an_unexpected_exception_is_answered_too(bench: Bench) -> None:
    """A defect in the handling of one call ends neither the connection nor the master."""

    def broken(what: str, _after: str | None) -> object:
        raise ZeroDivisionError(what)

    bench.dispatcher._stats = broken
    connection = bench.connection()
    assert "ZeroDivisionError" in str(await bench.ask(connection, "broker", "stats"))
    assert await bench.ask(connection, None, "dummy") is None
