"""Programs that need only the standard library, from Python 3.8 on; the tests run each as a process of its own."""

import os
import subprocess

# Does what the recipe's two programs do, and more; prints "done" if every answer was right.
CLIENT = """
import collections, dataclasses, datetime, decimal, enum, queue, sys, threading
from multiprocessing.managers import AutoProxy, BaseManager

class Manager(BaseManager): pass
Manager.register("get_work_queue")
Manager.register("get_result_queue")

@dataclasses.dataclass
class Point:
    x: int
    label: str

class Colour(enum.Enum):
    RED = 1

class Outer:
    class Inner(tuple):
        pass

items = [
    1, None, "text \\u00e9", b"bytes", [1, [2, {"a": (3,)}]], {(1, 2): {3}}, 2.5, 2**70,
    datetime.datetime(2024, 2, 29, 1, 2, 3), decimal.Decimal("1.10"),
    Point(1, "p"), Colour.RED, Outer.Inner([1, 2]), collections.OrderedDict(a=1),
    b"x" * 20000, b"x" * 10_000_000, list(range(100000)),
]

def exchange(work, result):
    for item in items:
        work.put(item)
    for item in items:
        got = work.get(timeout=5)
        assert got == item and type(got) is type(item), (item, got)
    for item in items[:14]:
        work.put(item, True, 5)
        work.put(item, block=False)
        work.put(item=item)
        work.put_nowait(item)
        assert work.qsize() == 4
        for _ in range(4):
            assert work.get_nowait() == item
    result.put((1, 2))
    assert work.empty() and not result.empty()
    assert result.get() == (1, 2)
    try:
        work.get(timeout=0.01)
    except queue.Empty:
        pass
    else:
        raise AssertionError("no queue.Empty")

def main():
    manager = Manager(address=("127.0.0.1", int(sys.argv[1])), authkey=sys.argv[2].encode())
    manager.connect()
    work, result = manager.get_work_queue(), manager.get_result_queue()
    exchange(work, result)
    # Each thread has a connection of its own.
    thread = threading.Thread(target=exchange, args=(work, result))
    thread.start()
    thread.join()
    assert work.qsize() == 0
    try:
        work._callmethod("no_such_method")
    except Exception as exc:
        assert "no_such_method" in str(exc), exc
    else:
        raise AssertionError("no refusal")
    # A proxy that knows no methods asks for them.
    assert AutoProxy(work._token, "pickle", authkey=manager._authkey).qsize() == 0
    print("done")

main()
"""

# The recipe's server; prints its port.
SERVER = """
import queue, sys
from multiprocessing.managers import BaseManager

class Manager(BaseManager): pass

work, result = queue.Queue(), queue.Queue(maxsize=1)
Manager.register("get_work_queue", callable=lambda: work)
Manager.register("get_result_queue", callable=lambda: result)
server = Manager(address=("127.0.0.1", 0), authkey=sys.argv[1].encode()).get_server()
print(server.address[1], flush=True)
server.serve_forever()
"""

# Connects, and prints in one word whether the server accepted it.
KNOCK = """
import sys
from multiprocessing import AuthenticationError
from multiprocessing.managers import BaseManager
try:
    BaseManager(address=("127.0.0.1", int(sys.argv[1])), authkey=sys.argv[2].encode()).connect()
except AuthenticationError:
    print("AuthenticationError")
else:
    print("connected")
"""


def start(interpreter: str, program: str, *args: str) -> "subprocess.Popen[str]":
    """Start a program on an interpreter, with its standard library only."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.Popen(
        [interpreter, "-I", "-c", program, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )


def run(interpreter: str, program: str, *args: str) -> str:
    """Run a program to its end within a minute, and return what it printed; fail with its errors if it fails."""
    with start(interpreter, program, *args) as process:
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return printed.strip()
