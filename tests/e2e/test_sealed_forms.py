"""P8: every way of submitting that exists runs with signed and encrypted payloads, in real processes."""

import asyncio
import json
from typing import Any

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.e2e.sealed_tasks import double, fail, grown
from tests.e2e.test_sealed import ENCRYPTED, SIGNED, client_of, dead_letters, worker_of
from tests.waiting import SOON_S

import distq
from distq.settings import Role, load

BOTH = SIGNED | ENCRYPTED


@pytest.fixture
def both(grid: Cluster) -> Cluster:
    """A cluster whose worker signs and encrypts."""
    grid.master(DISTQ_RETRY_BASE_S="0.01")
    worker_of(grid, **BOTH)
    return grid


def test_functions_by_value_run_with_keys(both: Cluster) -> None:
    """A function that only its client has travels in the sealed payload."""
    factor = 3
    settings = load({"DISTQ_ADDRESS": f"127.0.0.1:{both.port}", "DISTQ_AUTHKEY": KEY, **BOTH}, Role.CLIENT).settings
    with distq.Client(settings=settings, by_value=True) as client:
        assert client.submit(lambda number: number * factor, 4).result(SOON_S) == 12
        assert list(client.map(lambda number: number + factor, range(20), chunksize=5)) == list(range(3, 23))


def test_an_asyncio_client_runs_every_form_with_keys(both: Cluster) -> None:
    """Calls, chains, errors, and the task of another client."""

    async def run() -> None:
        environ = {"DISTQ_ADDRESS": f"127.0.0.1:{both.port}", "DISTQ_AUTHKEY": KEY, **BOTH}
        async with distq.AsyncClient(settings=load(environ, Role.CLIENT).settings) as client:
            future = await client.submit(double, 21)
            assert await future == 42
            assert await (await client.future(str(future.task_id))) == 42
            chained = await client.chain([distq.call(double, 1), distq.call(double, 2)])
            assert await chained == [2, 4]
            with pytest.raises(LookupError, match="no such thing"):
                await (await client.submit(fail, "no such thing"))

    asyncio.run(run())


def test_joblib_runs_with_keys(both: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, and an array that they share."""
    joblib = pytest.importorskip("joblib")
    numpy = pytest.importorskip("numpy")
    import distq.contrib.joblib  # noqa: PLC0415 - an extra

    for name, text in {"DISTQ_ADDRESS": f"127.0.0.1:{both.port}", "DISTQ_AUTHKEY": KEY, **BOTH}.items():
        monkeypatch.setenv(name, text)
    distq.contrib.joblib.register()
    shared = numpy.arange(400_000, dtype=float)
    with joblib.parallel_config("distq", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(double)(number) for number in range(6)) == list(range(0, 12, 2))
        sums = joblib.Parallel()(joblib.delayed(numpy.sum)(shared) for _ in range(4))
    assert sums == [shared.sum()] * 4


def test_large_bodies_run_with_keys(both: Cluster) -> None:
    """Arguments and results above a megabyte, up to nearly the limit of a payload."""
    with client_of(both, **BOTH) as client:
        for size in (1 << 20, (16 << 20) - 2_000):
            assert client.submit(grown, bytes(size)).result(SOON_S) == size
        assert len(client.submit(bytes, (16 << 20) - 2_000).result(SOON_S)) == (16 << 20) - 2_000


def test_commands_run_with_keys(both: Cluster) -> None:
    """`distq submit` signs, `distq result` and `distq dead` open what they have a key for."""
    submitted = both.run("submit", "double", "21", "--wait", **BOTH)
    assert submitted.ends() == 0, submitted.text
    assert "42" in submitted.text
    with client_of(both, **BOTH) as client:
        future = client.submit(double, 4)
        assert future.result(SOON_S) == 8
    result = both.run("result", str(future.task_id), **BOTH)
    assert result.ends() == 0, result.text
    assert json.loads(result.text.splitlines()[-1]) == 8
    stranger = both.run("result", str(future.task_id))
    assert stranger.ends() != 0
    assert "encrypted" in stranger.text
    assert "Traceback" not in stranger.text


def test_a_dead_letter_is_tried_again_with_keys(both: Cluster) -> None:
    """The payload is the one that its client has sealed; the task fails again with its own error."""
    with client_of(both, **BOTH) as client:
        future: Any = client.submit(fail, "no such thing")
        with pytest.raises(LookupError):
            future.result(SOON_S)
        task_id = str(future.task_id)
        retried = both.run("dead", "retry", task_id)
        assert retried.ends() == 0, retried.text
        with pytest.raises(LookupError, match="no such thing"):
            client.future(task_id).result(SOON_S)
    (row,) = dead_letters(both)
    assert "SealRefused" not in json.dumps(row)
