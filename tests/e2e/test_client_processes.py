"""Tests of forks, child processes and ends of programs: submits are accepted, and no future waits forever."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.waiting import eventually

PROGRAM_S = 60.0


def start(grid: Cluster, folder: Path, program: str) -> "subprocess.Popen[str]":
    """Start a program with a client."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(program))
    env = {
        **os.environ,
        "DISTQ_ADDRESS": f"127.0.0.1:{grid.port}",
        "DISTQ_AUTHKEY": KEY,
        "PYTHONWARNINGS": "ignore",  # about forks of programs with threads, which this test needs
    }
    return subprocess.Popen(
        [sys.executable, str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )


def output_of(program: "subprocess.Popen[str]") -> str:
    """Return the output of a program that must exit with 0."""
    try:
        out, err = program.communicate(timeout=PROGRAM_S)
    finally:
        program.kill()
    assert program.returncode == 0, err
    return out


def accepted(grid: Cluster) -> int:
    """Return how many tasks the master has accepted."""
    return int(grid.json_of("status", "--json")["overview"]["submitted"])


CALLS = {
    "result": "future.result()",
    "exception": "raise future.exception()",
    "wait": "concurrent.futures.wait([future]); future.result()",
    "as_completed": "[one] = concurrent.futures.as_completed([future]); one.result()",
    "callback": "called = []; future.add_done_callback(called.append); called[0].result()",
    "asyncio": "asyncio.run(awaited(future))",
    "stream": "list(future.stream())",
    "done": "assert future.done(); future.result()",
    "cancel": "assert not future.cancel(); assert not future.running(); future.result()",
    "progress": "assert future.progress() is None; future.result()",
    "gave a callback before": "watched.result()",
}


def test_a_future_from_before_a_fork_raises_in_the_child(grid: Cluster, tmp_path: Path) -> None:
    """Every call on such a future raises in the child; the parent gets its result."""
    program = f"""
import asyncio, concurrent.futures, os, distq
client = distq.Client()
futures = {{code: client.submit(abs, -3) for code in {list(CALLS.values())}}}
watched = futures["watched.result()"]
parent = os.getpid()
watched.add_done_callback(lambda _: os.write(1, b"called by %r\\n" % (os.getpid() == parent)))
assert client.flush(20)
late = client.submit(abs, -3)

async def awaited(future):
    return await asyncio.wrap_future(future)

if (child := os.fork()) == 0:
    for code, future in (*futures.items(), ("future.result()", late)):
        assert "of the parent" in repr(future), repr(future)
        try:
            exec(code)
        except distq.FutureOfParent as error:
            assert str(parent) in str(error)
        else:
            print(code, "raises nothing", flush=True)
    print("child", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
open("asked", "w").close()
results = {{future.result(20) for future in futures.values()}}
os.write(1, b"parent %r %d\\n" % (results, late.result(20)))  # at one go: the callback's thread writes as well
client.shutdown()
"""
    grid.master()
    running = start(grid, tmp_path, program)
    eventually(lambda: (tmp_path / "asked").exists() or running.poll() is not None, "what the child was asked")
    grid.tasks()
    assert sorted(output_of(running).splitlines()) == ["called by True", "child", "parent {3} 3"]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_that_ends_normally_has_its_submits_accepted(grid: Cluster, tmp_path: Path, method: str) -> None:
    """Also a child that uses its parent's client, and one with a thread that runs longer than its main function."""
    program = f"""
import multiprocessing, threading, time, distq

def alone():
    client = distq.Client(wait_at_exit=False)
    for n in range(150): client.submit(abs, n)

def threaded():
    def later():
        client = distq.Client(wait_at_exit=False)
        client.submit(abs, 0)
        threading.main_thread().join()
        for n in range(5): client.submit(abs, n)
    threading.Thread(target=later).start()

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    shared = distq.Client(wait_at_exit=False)
    shared.submit(abs, 1)

    def inherited():
        for n in range(150): shared.submit(abs, n)

    targets = [alone, threaded] + ([inherited] if {method!r} == "fork" else [])
    children = [context.Process(target=target) for target in targets]
    for child in children: child.start()
    for child in children: child.join()
    print([child.exitcode for child in children])
"""
    grid.master()
    ended = [0, 0, 0] if method == "fork" else [0, 0]
    assert output_of(start(grid, tmp_path, program)).strip() == str(ended)
    assert accepted(grid) == 1 + 150 * (len(ended) - 1) + 6


def test_a_fork_in_a_program_whose_threads_submit_leaves_both_working(grid: Cluster, tmp_path: Path) -> None:
    """The child works whichever locks the parent's threads hold at the time of the fork."""
    program = """
import os, threading, distq
client = distq.Client()
assert client.submit(abs, -1).result(20) is not None
stop = threading.Event()
def busy():
    while not stop.is_set(): client.submit(abs, -2).result(20)
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
for n in range(20):
    if (child := os.fork()) == 0:
        good = client.submit(abs, -3).result(20) is not None
        client.flush(20)
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
client.shutdown()
print("whole")
"""
    grid.master()
    grid.tasks()
    assert output_of(start(grid, tmp_path, program)).strip() == "whole"


@pytest.mark.parametrize("used", [False, True], ids=["made before", "used before"])
def test_clients_work_in_processes_that_c_code_forks(grid: Cluster, tmp_path: Path, used: bool) -> None:
    """Each process has tasks of its own also without Python's handlers for forks, which uWSGI does not run.

    The program forks while its other threads sleep: a thread that waits for the GIL at such a fork leaves the child
    a lock that glibc never gives to it, whatever the program runs.
    """
    program = f"""
import asyncio, ctypes, os, pathlib, threading, time, distq

def switches():
    threads = sorted(pathlib.Path("/proc/self/task").iterdir())
    others = [thread for thread in threads if thread.name != str(threading.get_native_id())]
    return [(thread / "status").read_text().split("ctxt_switches:")[1:] for thread in others]

def fork():
    while (before := switches()) != (time.sleep(0.1), switches())[1]:
        pass
    return ctypes.PyDLL(None).fork()

client = distq.Client()
unused = distq.AsyncClient()
early = client.submit(abs, -1) if {used} else None
assert early is None or early.result(30) == 1
late = client.submit_named("nowhere:to_be_found") if {used} else None
assert client.flush(30)

async def first_of(async_client):
    async with async_client:
        return await (await async_client.submit(abs, -3))

children = []
for number in range(2):
    child = fork()
    if child == 0:
        if late is not None:
            try:
                late.result(30)
            except distq.FutureOfParent:
                pass
        assert [future.result(30) for future in [client.submit(abs, -n) for n in range(20)]] == [*range(20)]
        assert asyncio.run(first_of(unused)) == 3
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
assert client.submit(abs, -4).result(30) == 4
if late is not None:
    late.cancel()
"""
    grid.master()
    grid.tasks()
    output_of(start(grid, tmp_path, program))
    assert accepted(grid) == 2 * 21 + 1 + 2 * used


@pytest.mark.parametrize("case", ["made before", "used before", "in use"])
def test_an_asyncio_client_from_before_a_fork_works_in_each_child(grid: Cluster, tmp_path: Path, case: str) -> None:
    """Each process has a session of its own: every submit is one task, and returns the result of its own call."""
    program = f"""
import asyncio, os, distq
client = distq.AsyncClient()
mail = client.options(queue="mail")
later = None

async def use(first):
    global later
    numbers = range(first, first + 50)
    futures = [await one.submit(abs, -n) for n in numbers for one in (client, mail)]
    assert [await future for future in futures] == [n for n in numbers for _ in range(2)]
    later = later or await client.options(delay=3600).submit(abs, -1)
    await later.accepted()

async def use_in_child(first):
    of_parent = later
    try:
        await of_parent
    except distq.WrongLoop as error:
        assert "before a fork, by process" in str(error), error
    except distq.CannotReach as error:
        assert {case!r} == "used before", "the end of its event loop has closed the client"
    except TypeError:
        assert of_parent is None
    await use(first)
    client.abandon()

def fork():
    for first in (100, 200):
        if (child := os.fork()) == 0:
            asyncio.run(use_in_child(first))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

async def fork_in_use():
    await use(0)
    fork()
    await use(300)
    client.abandon()

if {case!r} == "in use":
    asyncio.run(fork_in_use())
elif {case!r} == "used before":
    asyncio.run(use(0))
    fork()
else:
    fork()
os.write(1, b"whole")
os._exit(0)  # without a warning about the client of the parent
"""
    grid.master()
    grid.tasks()
    assert output_of(start(grid, tmp_path, program)) == "whole"
    assert accepted(grid) == {"made before": 202, "used before": 301, "in use": 401}[case]


def test_a_program_ends_while_threads_of_it_wait(grid: Cluster, tmp_path: Path) -> None:
    """A daemon thread waits in `result()`, a thread calls `sys.exit`, or the client's block raises an exception."""
    program = """
import sys, threading, distq
client = distq.Client(wait_at_exit=False)
waits = client.submit(abs, -1)
client.flush(20)
threading.Thread(target=waits.result, daemon=True).start()
threading.Thread(target=lambda: (client.submit(abs, -2), sys.exit(3))).start()
try:
    with distq.Client() as other:
        other.submit(abs, -3).result(0.05)
except TimeoutError:
    print("after the block", flush=True)
"""
    grid.master()
    assert output_of(start(grid, tmp_path, program)).strip() == "after the block"
    assert accepted(grid) == 3


def test_a_client_for_each_request_costs_nothing_afterwards(grid: Cluster, tmp_path: Path) -> None:
    """After a thousand clients, threads, connections and memory are as before, and so are the master's connections."""
    program = """
import gc, os, pathlib, threading, time, distq

def request(n):
    assert distq.Client().submit(abs, -n).result(20) == n

def cost():
    until = time.monotonic() + 10
    while threading.active_count() > 1 and time.monotonic() < until: gc.collect(); time.sleep(0.05)  # no event
    memory = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4
    return threading.active_count(), len(os.listdir("/proc/self/fd")), memory

for n in range(100): request(n)
before = cost()
for n in range(900): request(n)
after = cost()
assert before[:2] == after[:2] and after[0] == 1, (before, after)
assert after[2] - before[2] < 8 * 1024, (before, after)
print("flat")
"""
    master = grid.master()
    grid.tasks(2)
    files = Path(f"/proc/{master.popen.pid}/fd")
    assert output_of(start(grid, tmp_path, program)).strip() == "flat"
    eventually(lambda: len(list(files.iterdir())) < 40, "the end of the connections at the master")
