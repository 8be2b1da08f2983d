"""P8: programs that sign fork, use threads and pools, and change their keys meanwhile; each result is signed."""

from pathlib import Path

import pytest
from tests.e2e.cluster import Cluster
from tests.e2e.test_client_processes import output_of, start
from tests.e2e.test_sealed import ENCRYPTED, OLD_SIGNING, SIGNED, SIGNING, dead_letters, worker_of
from tests.tidy.tree import ROOT

KEYS = SIGNED | ENCRYPTED


@pytest.fixture(autouse=True)
def keys_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the programs of these tests the keys, and the tasks of the worker."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_a_client_from_before_a_fork_signs_in_parent_and_children(grid: Cluster, tmp_path: Path, executor: str) -> None:
    """No two tasks get one seal, which an executor would refuse as a copy; each process reads its own results."""
    program = """
import os, distq
from tests.e2e.sealed_tasks import double
client = distq.Client()
assert client.submit(double, 1).result(30) == 2
children = []
for number in range(4):
    if (child := os.fork()) == 0:
        futures = [client.submit(double, n) for n in range(50)]
        good = [future.result(30) for future in futures] == [2 * n for n in range(50)]
        good = good and list(client.map(double, range(20), chunksize=5)) == list(range(0, 40, 2))
        client.flush(20)
        os._exit(0 if good else 1)
    children.append(child)
assert list(client.map(double, range(100))) == list(range(0, 200, 2))
print([os.waitpid(child, 0)[1] for child in children])
client.shutdown()
"""
    grid.master()
    worker_of(grid, DISTQ_EXECUTOR=executor, **KEYS)
    assert output_of(start(grid, tmp_path, program)).strip() == "[0, 0, 0, 0]"
    assert not dead_letters(grid)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_and_one_of_threads_share_a_program_that_signs(
    grid: Cluster, tmp_path: Path, method: str
) -> None:
    """`concurrent.futures` and threads, which submit with one client at the same time as a fork may happen."""
    (tmp_path / "pooled.py").write_text(
        "import distq\n"
        "from tests.e2e.sealed_tasks import double\n"
        "def submitted(number):\n"
        "    with distq.Client() as client:\n"
        "        return client.submit(double, number).result(30)\n"
    )
    program = f"""
if __name__ == "__main__":
    import multiprocessing, distq
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    from tests.e2e.sealed_tasks import double
    from pooled import submitted
    client = distq.Client()
    with ThreadPoolExecutor(4) as threads, ProcessPoolExecutor(2, multiprocessing.get_context({method!r})) as processes:
        one = [threads.submit(lambda n=n: client.submit(double, n).result(30)) for n in range(100)]
        two = [processes.submit(submitted, n) for n in range(8)]
        assert [future.result(60) for future in one] == [2 * n for n in range(100)]
        assert [future.result(60) for future in two] == [2 * n for n in range(8)]
    client.shutdown()
    print("whole")
"""
    grid.master()
    worker_of(grid, **KEYS)
    assert output_of(start(grid, tmp_path, program)).strip() == "whole"
    assert not dead_letters(grid)


def test_an_asyncio_client_from_before_a_fork_signs_in_each_process(grid: Cluster, tmp_path: Path) -> None:
    """Each process has an event loop of its own."""
    program = """
import asyncio, os, distq
from tests.e2e.sealed_tasks import double
client = distq.AsyncClient()
async def run():
    async with client:
        futures = [await client.submit(double, n) for n in range(30)]
        assert [await future for future in futures] == [2 * n for n in range(30)]
child = os.fork()
asyncio.run(run())
if child == 0:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    grid.master()
    worker_of(grid, **KEYS)
    assert output_of(start(grid, tmp_path, program)).strip() == "0"
    assert not dead_letters(grid)


def test_threads_and_forks_go_on_while_a_key_file_changes(
    grid: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker knows both keys; a child has the key of its own last look, and no task is refused."""
    file = tmp_path / "signing"
    file.write_text(OLD_SIGNING)
    monkeypatch.delenv("DISTQ_SIGNING_KEY")
    monkeypatch.setenv("DISTQ_SIGNING_KEY_FILE", str(file))
    program = f"""
import os, threading, time, distq
from pathlib import Path
from tests.e2e.sealed_tasks import double
file = Path({str(file)!r})
client = distq.Client()
bad, stop = [], threading.Event()
def busy():
    while not stop.is_set():
        if client.submit(double, 3).result(30) != 6:
            bad.append(1)
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
for number in range(6):
    other = file.with_name("new")
    other.write_text([{SIGNING!r} + "," + {OLD_SIGNING!r}, {OLD_SIGNING!r} + "," + {SIGNING!r}][number % 2])
    other.rename(file)
    if (child := os.fork()) == 0:
        good = client.submit(double, 4).result(30) == 8
        client.flush(20)
        os._exit(0 if good else 1)
    bad.append(os.waitpid(child, 0)[1])
    time.sleep(1.1)  # clients look at a file once a second
stop.set()
for thread in threads: thread.join()
client.shutdown()
print(set(bad))
"""
    grid.master()
    worker_of(grid, DISTQ_SIGNING_KEY=f"{SIGNING},{OLD_SIGNING}", **ENCRYPTED)
    assert output_of(start(grid, tmp_path, program)).strip() == "{0}"
    assert not dead_letters(grid)
