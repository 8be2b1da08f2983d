"""Hello and greeting: the bytes that are written, and the values that are read."""

import pickle
import platform
from typing import Any

import pytest

from distq._version import __version__
from distq.protocol.hello import (
    CLIENT,
    ExecutorHello,
    Greeting,
    WorkerHello,
    read_executor_hello,
    read_greeting,
    read_hello,
    read_worker_hello,
    with_holds,
    write_executor_hello,
    write_greeting,
    write_hello,
    write_worker_hello,
)
from distq.protocol.methods import BROKER, HELLO
from distq.wire.errors import BadCall
from distq.wire.inert import read_call
from distq.wire.messages import encode_call

WORKER_HELLO = WorkerHello("gpu", "node", 7, 4, ["mail"], plain=False, tasks=True, labels=["eu"])
EXECUTOR_HELLO = ExecutorHello(2, 8, [(5, 1)])


def travelled(info: dict[str, object]) -> Any:
    """Return a hello as the master's unpickler reads it, which makes no classes."""
    return read_call(encode_call(BROKER, HELLO, (info,))).args[0]


def test_a_client_sends_the_same_bytes_as_the_release_before() -> None:
    """The keys, their order, and plain values; behind them, that it reads split frames, which older masters ignore."""
    info = {
        "role": "client",
        "protocol": (1, 1),
        "version": __version__,
        "python": platform.python_version(),
        "name": "shop",
        "session": "5e55",
        "split": True,
    }
    call = encode_call(BROKER, HELLO, (write_hello(CLIENT, "shop", "5e55"),))
    assert call == pickle.dumps(("broker", "hello", (info,), {}), 5)


def test_the_master_reads_a_workers_hello_as_it_was_written() -> None:
    """The hello includes the tasks that the executors hold, which differ between connections."""
    info = travelled(with_holds(write_worker_hello("w1", "5e55", WORKER_HELLO), [(1, 5, 2)]))
    assert read_hello(info)[:4] == ("worker", "w1", "5e55", __version__)
    assert read_worker_hello(info) == WORKER_HELLO._replace(labels=frozenset({"eu"}), holds=[(1, 5, 2)])


def test_the_master_reads_an_executors_hello_as_it_was_written() -> None:
    """The key of its slots on the wire is that of the first release."""
    info = travelled(write_executor_hello("w1", "5e55", EXECUTOR_HELLO))
    assert info["seats"] == 8
    assert read_executor_hello(info) == EXECUTOR_HELLO


@pytest.mark.parametrize("value", [None, "x", -1, 1.5, [[1]], [("a", "b")], {}])
def test_an_executor_whose_values_cannot_be_used_counts_as_one_that_left_them_out(value: object) -> None:
    """The master answers its hello; a later version may give these fields a meaning."""
    info = {"index": value, "seats": value, "holds": value, "states": value}
    assert read_executor_hello(info) == ExecutorHello(0, 1, [], reads_states=False)


def test_a_hello_of_another_protocol_is_refused_with_both_versions() -> None:
    """The error also says what to do."""
    with pytest.raises(BadCall, match=r"speaks protocol 1, you \('9.9'\) speak 2 to 3. Upgrade the older of the two"):
        read_hello({"role": "client", "session": "s", "protocol": [2, 3], "version": "9.9"})


def test_a_greeting_is_read_as_it_was_written() -> None:
    """The greeting says that the master accepts goodbyes; unknown keys of a later version are left out."""
    greeting = Greeting("1.0", 3, "a1", 30.0, 10.0, 5, durable=True, notes=True, declares=True, frame_bytes_max=1 << 20)
    written = {**write_greeting(greeting, 1000.0), "later": 1}
    assert list(written)[:10] == [
        "version",
        "epoch",
        "instance",
        "lease_s",
        "heartbeat_s",
        "max_deliveries",
        "durable",
        "notes",
        "declares",
        "frame_bytes_max",
    ]
    assert (written["protocol"], written["now"], written["goodbye"]) == (1, 1000.0, True)
    assert read_greeting(written) == greeting._replace(goodbye=True, split=True)


def test_a_greeting_of_an_older_master_has_nothing_that_came_later() -> None:
    """Such a master accepts no goodbye, no progress and no schedules, and does not give its frame limit."""
    greeting = read_greeting({"epoch": 2, "lease_s": 30.0, "heartbeat_s": 5.0, "frame_bytes_max": "large"})
    assert not any((greeting.goodbye, greeting.notes, greeting.declares, greeting.split))
    assert greeting.frame_bytes_max is None
    assert (greeting.epoch, greeting.heartbeat_s) == (2, 5.0)
