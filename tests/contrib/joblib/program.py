"""A program that uses `joblib.Parallel`, as `__main__` with a cluster of three executors; prints `ok` at the end."""

import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import joblib
from joblib import Parallel, delayed
from tests.testing import jobs
from tests.waiting import eventually

import distq
import distq.contrib.joblib
from distq import testing


def process_of(_: int) -> int:
    """Return the process that runs the call."""
    time.sleep(0.02)  # other executors take calls meanwhile
    return os.getpid()


def fails(number: int) -> int:
    """Raise an error for one number."""
    if number == 3:
        raise ValueError("three")
    return number


def stays(path: Path) -> None:
    """Write a file when it begins, and when it is stopped."""
    begun = path.with_suffix(".begun")
    begun.touch()
    try:
        time.sleep(300)  # until it is stopped
    finally:
        path.touch()


def fails_when(path: Path) -> None:
    """Raise an error when the other call has begun."""
    eventually(path.with_suffix(".begun").exists, "the other call begins")
    raise ValueError("the other call runs")


def summed(count: int) -> int:
    """Use `Parallel` in a task."""
    with Parallel(n_jobs=2) as parallel:
        total: int = sum(parallel(delayed(pow)(number, 2) for number in range(count)))
    assert joblib.effective_n_jobs(-1) == 1, "a task has one slot"
    return total


def check(client: distq.Client, folder: Path) -> None:
    """Run each feature of `Parallel` that depends on its backend."""
    squares = [number * number for number in range(1000)]
    assert Parallel()(delayed(pow)(number, 2) for number in range(1000)) == squares
    assert Parallel(n_jobs=-1)(delayed(lambda number: -number)(number) for number in range(5)) == [0, -1, -2, -3, -4]
    assert joblib.effective_n_jobs(-1) == 3
    assert joblib.effective_n_jobs(-2) == 2
    assert joblib.effective_n_jobs(7) == 7
    assert os.getpid() not in Parallel(n_jobs=3)(delayed(process_of)(number) for number in range(6))
    assert Parallel(n_jobs=1)(delayed(process_of)(number) for number in range(2)) == [os.getpid()] * 2
    parts = Parallel(n_jobs=2, return_as="generator")(delayed(math.sqrt)(number * number) for number in range(50))
    assert next(parts) == 0
    assert list(parts) == list(range(1, 50))
    if not joblib.__version__.startswith("1.3."):
        some = Parallel(n_jobs=2, return_as="generator_unordered")(delayed(pow)(number, 2) for number in range(9))
        assert sorted(some) == squares[:9]
    assert Parallel(n_jobs=2)(delayed(summed)(count) for count in range(5)) == [0, 0, 1, 5, 14]
    check_errors(client, folder)


def check_errors(client: distq.Client, folder: Path) -> None:
    """Errors arrive with their tracebacks, and calls that run are stopped."""
    error = caught(Parallel(n_jobs=2), (delayed(fails)(number) for number in range(20)))
    assert repr(error) == "ValueError('three')"
    assert "in fails" in str(error.__cause__)
    path = folder / "stopped"
    error = caught(Parallel(n_jobs=2, pre_dispatch="all"), [delayed(stays)(path), delayed(fails_when)(path)])
    assert str(error) == "the other call runs"
    eventually(path.exists, "the running call is stopped")
    error = caught(Parallel(n_jobs=2, timeout=0.2), [delayed(time.sleep)(300)])
    assert type(error).__module__ == "multiprocessing.context", "the TimeoutError that users of joblib know"
    error = caught(Parallel(n_jobs=2), [delayed(len)(sys.stdin)])
    assert isinstance(error, distq.NotPicklable), error
    error = caught(Parallel(n_jobs=2), [delayed(len)(bytes(17 << 20))])
    assert isinstance(error, distq.PayloadTooLarge), error
    with joblib.parallel_config("distq", client=client.options(queue="learning"), slots=12):
        assert joblib.effective_n_jobs(-1) == 12
        assert Parallel()(delayed(pow)(number, 2) for number in range(3)) == [0, 1, 4]


def caught(parallel: Any, calls: Any) -> BaseException:
    """Return the error of a call of `Parallel`."""
    try:
        parallel(calls)
    except Exception as error:  # noqa: BLE001 - the check examines it
        return error
    raise AssertionError("there was no error")


def main(folder: Path) -> None:
    """Run with a cluster of three executors."""
    with testing.cluster(jobs, concurrency=3) as cluster:
        distq.contrib.joblib.register()
        with joblib.parallel_config("distq", client=cluster.client):
            check(cluster.client, folder)
        assert {task.queue for task in cluster.submitted()} == {"default", "learning"}
    print("ok", joblib.__version__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
