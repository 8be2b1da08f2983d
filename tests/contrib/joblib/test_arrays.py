"""Tests of the arrays that batches of joblib share: each travels once to each process, and the master keeps none."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed
from tests.contrib.joblib import arrays
from tests.contrib.joblib.counting_relay import relaying
from tests.e2e.cluster import KEY
from tests.e2e.cluster import cluster as processes
from tests.waiting import eventually

import distq
import distq.contrib.joblib
from distq import testing
from distq.contrib.joblib import fetched_arrays, shared_arrays
from distq.contrib.joblib.fetched_arrays import ArrayFetcher, ArrayGone, ArrayReference
from distq.tasks.control import Snooze

MIB = 1 << 20


@pytest.fixture(name="running")
def running_cluster() -> Iterator[testing.Cluster]:
    """A test cluster of two executors, and joblib's backend for it."""
    distq.contrib.joblib.register()
    with testing.cluster(arrays, concurrency=2) as cluster:
        yield cluster


def parts_of(cluster: testing.Cluster) -> list[Any]:
    """The tasks that carry parts of arrays, of all calls so far."""
    return [task for task in cluster.submitted() if task.name.endswith(":keep_part")]


def live_parts(client: distq.Client) -> int:
    """The number of these tasks that the master still has."""
    rows = client._administer("list", {"states": ["delayed"], "limit": 1000})["tasks"]
    return sum(row["name"].endswith(":keep_part") for row in rows)


def test_an_array_travels_once_to_the_master_and_once_to_each_executor(tmp_path: Path) -> None:
    """Bytes on the connections of a program and of a worker with two executors; without sharing, each call has it."""
    array = np.random.default_rng(1).random(MIB // 4)  # 2 MiB
    distq.contrib.joblib.register()
    with processes(tmp_path) as grid:
        grid.master()
        with relaying(grid.port) as program, relaying(grid.port) as worker:
            grid.run(
                "worker", "tests.contrib.joblib.arrays", "--concurrency", "2", DISTQ_ADDRESS=f"127.0.0.1:{worker.port}"
            ).executors(2)
            client = distq.Client(f"127.0.0.1:{program.port}", KEY)
            counts = {}
            for max_nbytes in ("1M", None):
                before = program.sent_bytes, worker.received_bytes
                with joblib.parallel_config("distq", client=client):
                    found = Parallel(n_jobs=2, max_nbytes=max_nbytes, batch_size=1)(
                        delayed(arrays.part_sum)(array, index) for index in range(20)
                    )
                assert [total for _, total in found] == [array[n : n + 10].sum() for n in range(20)]
                counts[max_nbytes] = program.sent_bytes - before[0], worker.received_bytes - before[1]
            client.shutdown()
    shared, whole = counts["1M"], counts[None]
    assert array.nbytes < shared[0] < 1.1 * array.nbytes
    assert array.nbytes < shared[1] < 2.1 * array.nbytes
    assert whole[0] > 20 * array.nbytes
    assert whole[1] > 20 * array.nbytes


ARRAYS: dict[str, Any] = {
    "C": lambda: np.arange(300_000, dtype="i8").reshape(1000, 300),
    "Fortran": lambda: np.asfortranarray(np.arange(300_000, dtype="f8").reshape(1000, 300)),
    "strided": lambda: np.arange(1_000_000, dtype="f4").reshape(1000, 1000)[::2],
    "dates": lambda: np.arange(200_000).astype("M8[s]"),
    "records": lambda: np.zeros(100_000, dtype=[("a", "i4"), ("b", "f8")]),
    "texts": lambda: np.array(["abc", "defg"] * 60_000),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_arrives_whole_and_read_only(running: testing.Cluster, kind: str) -> None:
    """As with loky. Each kind of array is shared: its elements are no part of the batch."""
    array = ARRAYS[kind]()
    with joblib.parallel_config("distq", client=running.client):
        found = Parallel(n_jobs=2)(delayed(arrays.facts)(array) for _ in range(3))
    dtype, shape, _, fortran, checksum = arrays.facts(array)
    assert found == [(dtype, shape, False, fortran, checksum)] * 3
    assert len(parts_of(running)) == 1


def test_a_file_that_is_mapped_into_memory_is_shared_too(running: testing.Cluster, tmp_path: Path) -> None:
    """Workers on other machines do not have the file."""
    array = np.memmap(tmp_path / "file", dtype="f8", shape=(200_000,), mode="w+")
    array[:] = np.arange(200_000)
    with joblib.parallel_config("distq", client=running.client):
        found = Parallel(n_jobs=2)(delayed(arrays.part_sum)(array, n) for n in range(4))
    assert [total for _, total in found] == [sum(range(n, n + 10)) for n in range(4)]
    assert len(parts_of(running)) == 1


def test_arrays_below_the_size_and_arrays_of_objects_travel_with_their_batches(running: testing.Cluster) -> None:
    """`max_nbytes` sets the size; `mmap_mode=None` and `max_nbytes=None` share nothing."""
    small, objects = np.zeros(1000), np.array([1, None] * 100_000, dtype=object)
    large = np.zeros(200_000)
    with joblib.parallel_config("distq", client=running.client):
        assert Parallel(n_jobs=2)(delayed(len)(one) for one in (small, objects)) == [1000, 200_000]
        assert Parallel(n_jobs=2, max_nbytes=None)(delayed(len)(large) for _ in range(2)) == [200_000] * 2
        assert Parallel(n_jobs=2, mmap_mode=None)(delayed(len)(large) for _ in range(2)) == [200_000] * 2
        assert not parts_of(running)
        assert Parallel(n_jobs=2, max_nbytes="4K")(delayed(len)(small) for _ in range(2)) == [1000] * 2
    assert len(parts_of(running)) == 1


def test_a_call_that_writes_gets_a_copy_only_if_it_asks_for_one(running: testing.Cluster) -> None:
    """`mmap_mode="c"` gives each batch a copy; modes that write to shared memory are refused with a sentence."""
    array = np.zeros(200_000)
    with joblib.parallel_config("distq", client=running.client):
        with pytest.raises(ValueError, match="read-only"):
            Parallel(n_jobs=2)(delayed(arrays.writes)(array) for _ in range(2))
        assert Parallel(n_jobs=2, mmap_mode="c")(delayed(arrays.writes)(array) for _ in range(3)) == [7, 7, 7]
        with pytest.raises(ValueError, match=r"mmap_mode='r\+' lets calls write .* share no memory"):
            Parallel(n_jobs=2, mmap_mode="r+")(delayed(arrays.writes)(array) for _ in range(2))
    assert array[0] == 0


def test_a_large_array_travels_in_parts(running: testing.Cluster) -> None:
    """It may be larger than DISTQ_PAYLOAD_BYTES_MAX (16 MiB), and functions by value may use it."""
    array = np.random.default_rng(2).random(18 * MIB // 8)
    with joblib.parallel_config("distq", client=running.client):
        found = Parallel(n_jobs=2)(delayed(lambda one, n: float(one[n]))(array, n) for n in (0, 1_000_000, -1))
    assert found == [array[0], array[1_000_000], array[-1]]
    assert len(parts_of(running)) == 5


def test_the_master_keeps_no_array_after_the_call(running: testing.Cluster) -> None:
    """Also after an error, an unfinished generator, and a call in a block."""
    array = np.zeros(200_000)
    with joblib.parallel_config("distq", client=running.client):
        for _ in range(5):  # the end of a call overlaps with the beginning of the next one
            assert Parallel(n_jobs=2)(delayed(len)(array) for _ in range(3)) == [200_000] * 3
        eventually(lambda: live_parts(running.client) == 0, "the end of the arrays after calls")
        with pytest.raises(ValueError, match="200000 elements"):
            Parallel(n_jobs=2)(delayed(arrays.fails)(array) for _ in range(3))
        eventually(lambda: live_parts(running.client) == 0, "the end of the array after an error")
        results = Parallel(n_jobs=2, return_as="generator")(delayed(len)(array) for _ in range(3))
        assert next(results) == 200_000
        Parallel(n_jobs=2)(delayed(len)([]) for _ in range(3))  # another call begins and ends meanwhile
        assert list(results) == [200_000] * 2
        eventually(lambda: live_parts(running.client) == 0, "the end of the array after a generator")
        with Parallel(n_jobs=2) as parallel:
            for _ in range(2):
                array[:] += 1
                found = parallel(delayed(arrays.part_sum)(array, n) for n in range(2))
                assert [total for _, total in found] == [array[:10].sum()] * 2, "a second call sends new elements"
        eventually(lambda: live_parts(running.client) == 0, "the end of the array after a block")


def test_arrays_that_the_program_has_freed_leave_the_master_during_the_call(running: testing.Cluster) -> None:
    """A generator of arrays needs room for a few at a time."""
    most = 0

    def made() -> Iterator[Any]:
        nonlocal most
        for n in range(30):
            yield delayed(arrays.part_sum)(np.full(200_000, n, dtype="f8"), 0)
            gc.collect()
            most = max(most, live_parts(running.client))

    with joblib.parallel_config("distq", client=running.client):
        found = Parallel(n_jobs=2, batch_size=1)(made())
    assert [total for _, total in found] == [10.0 * n for n in range(30)]
    assert len(parts_of(running)) == 30
    assert most < 15, most


def test_an_executor_that_dies_or_joins_late_gets_the_array(tmp_path: Path) -> None:
    """The batch runs again on another executor; a worker that starts during the call takes part."""
    array = np.arange(200_000, dtype="f8")
    released = tmp_path / "released"
    distq.contrib.joblib.register()
    with processes(tmp_path) as grid:
        grid.master()
        first = grid.run("worker", "tests.contrib.joblib.arrays", "--concurrency", "2")
        first.executors(2)
        with grid.client() as client, joblib.parallel_config("distq", client=client):
            path = tmp_path / "died"
            found = Parallel(n_jobs=2, batch_size=1)(delayed(arrays.dies_once)(array, n, path) for n in range(8))
            assert found == [float(n) for n in range(8)]
            assert path.exists()
            results = Parallel(n_jobs=3, batch_size=1, return_as="generator", pre_dispatch="all")(
                delayed(arrays.waits_for)(array, n, released) for n in range(3)
            )
            eventually(lambda: sum(begun(released, n) for n in range(3)) == 2, "two calls run")
            grid.run("worker", "tests.contrib.joblib.arrays", "--concurrency", "1").executors()
            eventually(lambda: all(begun(released, n) for n in range(3)), "the third call runs on the new worker")
            first.destroy()
            released.touch()
            assert list(results) == [0.0, 1.0, 2.0]


def begun(path: Path, index: int) -> bool:
    """Whether that call of `waits_for` has begun."""
    return path.with_suffix(f".{index}").exists()


def test_the_arrays_of_a_program_that_dies_expire(running: testing.Cluster) -> None:
    """The tasks that carry them expire before they are ready."""
    shared = shared_arrays.shared_by(running.client)
    packed = shared.pack([np.zeros(200_000)], MIB, copied=False)
    assert len(packed.arrays) == 1
    (part,) = parts_of(running)
    assert part.expires_at - part.submitted_at == shared_arrays.EXPIRES_S < part.due_at - part.submitted_at
    running.advance(days=2, minutes=1)
    assert live_parts(running.client) == 0


def test_an_array_is_sent_again_before_it_expires(running: testing.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call may take days; what was sent before goes when no batch uses it any more."""
    shared = shared_arrays.shared_by(running.client)
    array = np.zeros(200_000)
    first, again = (shared.pack([array], MIB, copied=False) for _ in range(2))
    assert first.arrays == again.arrays
    later = shared_arrays._now() + shared_arrays.RENEWED_S
    monkeypatch.setattr(shared_arrays, "_now", lambda: later)
    renewed = shared.pack([array], MIB, copied=False)
    assert renewed.arrays != first.arrays
    assert live_parts(running.client) == 2
    shared.release(first.arrays)
    shared.release(again.arrays)
    shared.pack([], MIB, copied=False)
    assert live_parts(running.client) == 1
    shared.drop_all()
    assert live_parts(running.client) == 0


def test_a_batch_whose_array_is_gone_says_why(running: testing.Cluster) -> None:
    """An operator has purged the queue; the next batch sends the array again."""
    shared = shared_arrays.shared_by(running.client)
    array = np.zeros(200_000)
    (sent,) = shared.pack([array], MIB, copied=False).arrays
    (part_id,) = sent.reference.part_ids
    assert fetched_arrays.fetch(sent.reference).nbytes == array.nbytes
    running.client._administer("cancel", {"ids": [part_id], "running": False})
    with pytest.raises(ArrayGone, match=f"task {part_id} has ended"):
        fetched_arrays.fetch(sent.reference)
    eventually(lambda: not sent.is_usable, "the client receives the end of the task")
    (again,) = shared.pack([array], MIB, copied=False).arrays
    assert again is not sent


def test_a_batch_waits_for_a_master_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs again later, and the absence counts as no attempt."""
    monkeypatch.setenv("DISTQ_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    monkeypatch.setenv("DISTQ_CONNECT_WAIT_S", "10ms")
    with pytest.raises(Snooze, match="could not be fetched"):
        fetched_arrays.fetch(ArrayReference("key", b"", 8, ("1-1",)))


class Fetches:
    """Counts fetches, and makes the array of them."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, reference: ArrayReference) -> memoryview:
        """Fetch an array."""
        self.keys.append(reference.key)
        return memoryview(pickle.dumps(np.zeros(reference.size_bytes // 8)))


def reference_of(key: str) -> ArrayReference:
    """A reference to an array of 800 bytes."""
    return ArrayReference(key, b"", 800, ())


def test_a_process_keeps_the_arrays_of_its_last_batches() -> None:
    """The arrays of the newest batch stay, however large they are; of the others, those that were used last."""
    fetches = Fetches()
    fetcher = ArrayFetcher(fetches, kept_bytes_max=1600, idle_s=60)
    for key in ("a", "b", "c", "a", "d", "b", "a"):
        fetcher.arrays([reference_of(key)])
    assert fetches.keys == ["a", "b", "c", "d", "b"]
    large = [reference_of(key) for key in "vwxyz"]
    for _ in range(2):
        fetcher.arrays(large)
    assert fetches.keys[5:] == list("vwxyz")


def test_a_process_without_batches_drops_its_arrays() -> None:
    """Executors live longer than calls, and do not learn of their ends."""
    fetches = Fetches()
    fetcher = ArrayFetcher(fetches, kept_bytes_max=1600, idle_s=0.05)
    fetcher.arrays([reference_of("a")])
    eventually(lambda: not fetcher._kept, "the arrays of an idle process go")
    fetcher.arrays([reference_of("a")])
    assert fetches.keys == ["a", "a"]
    eventually(lambda: not fetcher._kept, "they go again")


@pytest.mark.parametrize(("threads", "expected"), [(None, "1"), (2, "2")])
def test_the_threads_of_libraries_are_bounded(threads: int | None, expected: str) -> None:
    """By default each slot has its share of the CPUs; `inner_max_num_threads` sets another number."""
    distq.contrib.joblib.register()
    with testing.cluster(arrays, concurrency=int(joblib.cpu_count())) as cluster:
        with joblib.parallel_config("distq", client=cluster.client, inner_max_num_threads=threads):
            found = Parallel(n_jobs=2)(delayed(arrays.thread_limits)(n) for n in range(2))
        array = np.zeros(200_000)
        with joblib.parallel_config("distq", client=cluster.client, inner_max_num_threads=threads):
            found += Parallel(n_jobs=2)(delayed(partial(limits_with, array))(n) for n in range(2))
    assert {variable for variable, _ in found} == {expected}
    assert {number for _, numbers in found for number in numbers} <= {int(expected), 1}
    assert any(numbers for _, numbers in found), "numpy has a library with threads"


def limits_with(_array: Any, number: int) -> Any:
    """Return the limits in a call that has an array."""
    return arrays.thread_limits(number)


def test_the_operators_limit_of_threads_wins_over_the_default(tmp_path: Path) -> None:
    """A worker with OMP_NUM_THREADS keeps it; `inner_max_num_threads` of a program wins."""
    distq.contrib.joblib.register()
    with processes(tmp_path) as grid:
        grid.master()
        limits = {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}
        grid.run("worker", "tests.contrib.joblib.arrays", "--concurrency", "1", **limits).executors()
        with grid.client() as client:
            for threads, expected in ((None, "3"), (2, "2"), (None, "3")):
                with joblib.parallel_config("distq", client=client, inner_max_num_threads=threads):
                    found = Parallel(n_jobs=2)(delayed(arrays.thread_limits)(n) for n in range(2))
                assert {variable for variable, _ in found} == {expected}


def test_scikit_learn_runs_on_the_workers(tmp_path: Path) -> None:
    """GridSearchCV, cross_val_score and a forest give the results that they give without distq."""
    with processes(tmp_path) as grid:
        grid.master()
        grid.tasks(2)
        done = subprocess.run(
            [sys.executable, "-m", "tests.contrib.joblib.learning", f"127.0.0.1:{grid.port}", KEY],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "ok\n"
