"""Tests of `distq.QueueManager`: the class of the standard-library examples, with a distq master."""

import os
import signal
import subprocess
import sys
from multiprocessing import ProcessError
from multiprocessing.context import AuthenticationError
from pathlib import Path
from queue import Empty

import pytest
from tests.e2e.cluster import KEY, Cluster, fork, lives
from tests.ports import free_port
from tests.tidy.tree import ROOT
from tests.waiting import eventually

import distq

LONG_KEY = KEY.encode()


def on_distq(program: str, folder: Path) -> Path:
    """Return an example program whose import and class lines are changed, and no others."""
    lines = (ROOT / "examples/recipe" / program).read_text().splitlines(keepends=True)
    marks = [number for number, line in enumerate(lines) if line.rstrip().endswith(("# 1", "# 2"))]
    first, second = marks[-2:]
    lines[first], lines[second] = "import distq\n", "class QueueManager(distq.QueueManager):\n"
    changed = folder / program
    changed.write_text("".join(lines))
    return changed


def test_the_recipes_programs_run_by_changing_their_import_and_class_lines(tmp_path: Path) -> None:
    """The example's server and worker use a short key, as many examples do; the server's end ends its master."""
    environ = {**os.environ, "RECIPE_PORT": str(free_port()), "RECIPE_AUTHKEY": "abc"}
    server, worker = on_distq("server.py", tmp_path), on_distq("worker.py", tmp_path)
    with subprocess.Popen([sys.executable, server], env=environ, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout
        serving.stdout.readline()
        done = subprocess.run(
            [sys.executable, worker], env=environ, capture_output=True, text=True, timeout=30, check=True
        )
        assert serving.communicate(timeout=30)[0].count("result: ") == 10
        assert serving.returncode == 0
    assert done.stdout in {"the work queue is empty\n", "the server is gone\n"}


class Manager(distq.QueueManager):
    """A subclass, as every example has one."""


Manager.register("get_work_queue", callable=lambda: pytest.fail("no client calls it"))
Manager.register("get_jobs")


def test_a_manager_starts_a_master_on_a_free_port_and_shuts_it_down() -> None:
    """The manager has several queues, their methods and Empty; each custom name has a queue of its own."""
    with Manager(authkey=LONG_KEY) as manager:
        assert manager.address[1] != 0
        work, results, jobs = manager.get_work_queue(), manager.get_result_queue(), manager.get_jobs()  # type: ignore[attr-defined] # registered
        work.put({"a": 1})
        jobs.put("other")
        assert manager.get_task_queue().get(timeout=5) == {"a": 1}
        assert jobs.get(timeout=5) == "other"
        with pytest.raises(Empty):
            results.get(timeout=0.01)
        other = Manager(manager.address, LONG_KEY)
        other.connect()
        other.get_result_queue().put("from elsewhere")
        assert manager.get_done_queue().get(timeout=5) == "from elsewhere"
        address = manager.address
    with pytest.raises(ConnectionRefusedError):
        Manager(address, LONG_KEY).connect()


def test_any_bytes_are_a_key() -> None:
    """A key may even contain bytes that no environment variable can; the default is the process's authkey."""
    with Manager(authkey=b"a,b\0\n\xff") as manager:
        with pytest.raises(AuthenticationError):
            Manager(manager.address, b"a").connect()
        Manager(manager.address, b"a,b\0\n\xff").connect()
    with Manager() as manager:
        Manager(manager.address).connect()


def test_a_taken_address_is_an_oserror_as_in_the_standard_library() -> None:
    """`start()` raises the error immediately."""
    with Manager(authkey=LONG_KEY) as manager, pytest.raises(OSError, match="in use"):
        Manager(manager.address, LONG_KEY).start()


def test_an_unsupported_argument_is_refused_immediately() -> None:
    """Another serializer, a UNIX socket and a second start raise immediately."""
    with pytest.raises(ValueError, match="pickle"):
        Manager(authkey=LONG_KEY, serializer="xmlrpclib")
    with pytest.raises(ValueError, match="TCP"):
        Manager("/tmp/socket", LONG_KEY)  # type: ignore[arg-type] # what is tested
    with Manager(authkey=LONG_KEY) as manager, pytest.raises(ProcessError):
        manager.start()


SERVE = """
import os, sys, distq
manager = distq.QueueManager(("127.0.0.1", int(sys.argv[1])), sys.argv[2].encode())
server = manager.get_server()
print(server._process.pid, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_serves_ends_with_its_master(number: signal.Signals, grid: Cluster) -> None:
    """The master ends with the program, whichever way that ends; Ctrl-C ends it in order."""
    command = [sys.executable, "-c", SERVE, str(grid.port), KEY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout
        pid = int(serving.stdout.readline())
        grid.manager().get_work_queue().put(1)
        serving.send_signal(number)
        assert serving.wait(20) == (0 if number == signal.SIGINT else -number)
    eventually(lambda: not lives(pid), "the end of the master")


def test_a_forked_child_does_not_end_the_master() -> None:
    """The child has a copy of the manager, but does not own the master."""
    with Manager(authkey=LONG_KEY) as manager:
        child = fork()
        if child == 0:
            exit_code = 1
            try:
                manager.shutdown()
                exit_code = 0
            finally:
                os._exit(exit_code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        Manager(manager.address, LONG_KEY).connect()
