"""Tests of programs that use only the standard library, with a real master."""

import os
import pickle
import signal
import subprocess

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.tidy.tree import ROOT
from tests.waiting import eventually
from tests.wire import programs

from distq.wire.framing import pack

# Takes one item, does what its arguments say, and then dies with its connection.
TAKER = """
import os, queue, signal, sys
from multiprocessing.managers import BaseManager
class Manager(BaseManager): pass
Manager.register("get_work_queue")
Manager.register("get_result_queue")
manager = Manager(("127.0.0.1", int(sys.argv[1])), sys.argv[2].encode())
manager.connect()
work, result = manager.get_work_queue(), manager.get_result_queue()
print("ready", flush=True)
item = work.get()
print(item, flush=True)
if sys.argv[3] == "raise":
    raise ValueError(item)
if sys.argv[3] == "hold":
    signal.pause()
result.put(item)
"""

# Keeps no proxy of a queue, so that it has no connection while it works, in the main thread and in others.
KEEPS_NONE = """
import queue, sys, threading, time
from multiprocessing.managers import BaseManager
class Manager(BaseManager): pass
Manager.register("get_work_queue")
Manager.register("get_result_queue")
manager = Manager(("127.0.0.1", int(sys.argv[1])), sys.argv[2].encode())
manager.connect()
def square():
    while True:
        try:
            n = manager.get_work_queue().get(timeout=2)
        except queue.Empty:
            return
        time.sleep(0.02)  # the other threads and the other program take items, too
        manager.get_result_queue().put(n * n)
threads = [threading.Thread(target=square) for _ in range(int(sys.argv[3]))]
for thread in threads:
    thread.start()
square()
for thread in threads:
    thread.join()
print("done")
"""

# Sends and fetches a class that the master does not have.
CLASSES = """
import dataclasses, decimal, enum, sys
from multiprocessing.managers import BaseManager
class Manager(BaseManager): pass
Manager.register("get_task_queue")
Manager.register("get_done_queue")
@dataclasses.dataclass
class Point:
    x: int
class Colour(enum.Enum):
    RED = "red"
manager = Manager(("127.0.0.1", int(sys.argv[1])), sys.argv[2].encode())
manager.connect()
work, result = manager.get_task_queue(), manager.get_done_queue()
items = [Point(1), Colour.RED, decimal.Decimal("0.10"), b"x" * 10_000_000]
for item in items:
    work.put(item)
    assert work.get() == item
    result.put(item)
    assert result.get() == item
print("done")
"""

# Puts items that are too large, prints the setting that each error names, and then puts a small item.
TOO_LARGE = """
import re, sys
from multiprocessing.managers import BaseManager, RemoteError
class Manager(BaseManager): pass
Manager.register("get_work_queue")
manager = Manager(("127.0.0.1", int(sys.argv[1])), sys.argv[2].encode())
manager.connect()
work = manager.get_work_queue()
for size in (3 << 19, 64 << 20):
    try:
        work.put(bytes(size))
    except RemoteError as error:
        print(re.search("DISTQ_[A-Z_]+", str(error)).group())
work.put(1)
print(work.get(timeout=5))
"""


def taking(grid: Cluster, how: str) -> "subprocess.Popen[str]":
    """Start a program that is about to take an item."""
    taker = grid.program(TAKER, how)
    assert taker.stdout
    assert taker.stdout.readline() == "ready\n"
    return taker


def end(program: "subprocess.Popen[str]") -> None:
    """End a program by a kill, and close its pipes."""
    with program:
        program.kill()


def test_every_method_works_with_every_payload(grid: Cluster, interpreter: str) -> None:
    """The test calls put, get, Empty and every other method of a queue; the master could not import the payloads."""
    grid.master()
    assert programs.run(interpreter, programs.CLIENT, str(grid.port), KEY) == "done"
    assert programs.run(interpreter, CLASSES, str(grid.port), KEY) == "done"


def test_a_wrong_key_is_an_authentication_error_and_one_warning(grid: Cluster, interpreter: str) -> None:
    """The warning names the client's address."""
    master = grid.master()
    assert programs.run(interpreter, programs.KNOCK, str(grid.port), "wrong") == "AuthenticationError"
    (event,) = master.logs("peer_turned_away")
    assert event["peer"].startswith("127.0.0.1:")


def test_the_examples_run_unchanged(grid: Cluster, interpreter: str) -> None:
    """The two programs of the examples folder run against `distq master`."""
    grid.master()
    environ = {"RECIPE_PORT": str(grid.port), "RECIPE_AUTHKEY": KEY}
    command = [interpreter, "-I", str(ROOT / "examples/recipe/worker.py")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as worker:
        server = [interpreter, "-I", str(ROOT / "examples/recipe/server.py"), "--connect"]
        done = subprocess.run(server, env=environ, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.count("result: ") == 10
        assert worker.communicate(timeout=30)[0] == "the work queue is empty\n"


def test_programs_that_keep_no_proxies_run_every_item_once(grid: Cluster, interpreter: str) -> None:
    """Two processes run on one host, one of them with three threads; the master logs once what it found."""
    master = grid.master()
    work, result = grid.manager().get_work_queue(), grid.manager().get_result_queue()
    for n in range(40):
        work.put(n)
    running = [programs.start(interpreter, KEEPS_NONE, str(grid.port), KEY, threads) for threads in ("0", "2")]
    for program in running:
        with program:
            assert program.communicate(timeout=60)[0] == "done\n"
    squares = [result.get(timeout=5) for _ in range(result.qsize())]
    assert sorted(squares) == [n * n for n in range(40)]
    assert work.qsize() == 0
    (event,) = master.events("plain_proxies_dropped")
    assert "DISTQ_PLAIN_LEASE_S" in event["hint"]


def test_a_program_killed_while_it_waits_takes_nothing(grid: Cluster) -> None:
    """The next item goes to a waiting program; a standard-library server loses it here."""
    grid.master()
    work = grid.manager().get_work_queue()
    end(taking(grid, "hold"))
    work.put("kept")
    assert work.get(timeout=5) == "kept"


@pytest.mark.parametrize("how", ["hold", "raise"])
def test_an_item_taken_by_a_program_that_dies_goes_to_another(grid: Cluster, how: str) -> None:
    """The program is killed or dies of an exception, and the master requeues its item."""
    grid.master()
    work = grid.manager().get_work_queue()
    work.put("kept")
    taker = taking(grid, how)
    assert taker.stdout
    assert taker.stdout.readline() == "kept\n"
    if how == "hold":
        assert work.qsize() == 0
    end(taker)
    assert work.get(timeout=5) == "kept"


def test_a_put_that_breaks_off_puts_nothing_and_requeues_the_taken_item(grid: Cluster) -> None:
    """The program dies after half a frame: the result is the same as if it had died before the call."""
    grid.master()
    manager = grid.manager()
    work, results = manager.get_work_queue(), manager.get_result_queue()
    work.put("kept")
    conn = manager._Client(manager.address, authkey=KEY.encode())  # type: ignore[attr-defined]
    conn.send((None, "accept_connection", ("half",), {}))
    assert conn.recv() == ("#RETURN", None)
    conn.send(("work", "get", (), {}))
    kind, item = conn.recv()
    assert (kind, item, work.qsize()) == ("#RETURN", "kept", 0)
    frame = pack(pickle.dumps(("result", "put", (bytes(100_000),), {})))
    os.write(conn.fileno(), frame[:50_000])
    conn.close()
    assert work.get(timeout=5) == "kept"
    assert results.empty()


def test_an_item_above_the_limits_is_an_error_and_the_next_is_accepted(grid: Cluster, interpreter: str) -> None:
    """The item exceeds the limit of a payload, or of a frame; the program's connection stays usable."""
    grid.master(DISTQ_PAYLOAD_BYTES_MAX="1MiB", DISTQ_FRAME_BYTES_MAX="2MiB")
    with grid.program(TOO_LARGE, interpreter=interpreter) as program:
        assert program.communicate(timeout=30)[0].split() == ["DISTQ_PAYLOAD_BYTES_MAX", "DISTQ_FRAME_BYTES_MAX", "1"]


def test_an_item_whose_result_was_put_does_not_come_back(grid: Cluster) -> None:
    """A result settles the last item that its program took."""
    grid.master()
    manager = grid.manager()
    work, results = manager.get_work_queue(), manager.get_result_queue()
    work.put("once")
    taker = taking(grid, "put")
    assert results.get(timeout=20) == "once"
    with taker:  # not `communicate`, which ignores what `readline` has buffered
        assert taker.stdout
        assert taker.stdout.read() == "once\n"
    eventually(lambda: work.qsize() == 0, "an empty work queue")


def test_a_program_that_is_stopped_by_a_signal_does_not_stop_the_master(grid: Cluster) -> None:
    """The master refuses `shutdown`, which any client may call on a standard-library server, with a sentence."""
    master = grid.master()
    manager = grid.manager()
    conn = manager._Client(manager.address, authkey=KEY.encode())  # type: ignore[attr-defined]
    conn.send((None, "shutdown", (), {}))
    kind, message = conn.recv()
    conn.close()
    assert kind == "#TRACEBACK"
    assert "shutdown" in message
    manager.get_work_queue().put(1)
    master.signal(signal.SIGTERM)
    assert master.ends() == 0
