"""Arguments of a client that have a wrong type: each is an error, where it was given, that says what is accepted."""

import asyncio
import concurrent.futures
import copy
import pickle
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.testing import jobs

import distq
from distq import testing
from distq.settings import SettingsError

KEY = "a key of the tests that is long enough"


@pytest.mark.parametrize("address", [9000, ("host",), ("host", 9000), b"host:9000", [], Path("host"), True])
def test_an_address_is_a_text(address: Any) -> None:
    """The error has the form that is accepted, and the value."""
    with pytest.raises(TypeError, match="address is a text, host:port, such as 'localhost:9000'") as found:
        distq.Client(address, KEY)
    assert repr(address) in str(found.value)


@pytest.mark.parametrize("authkey", [5, True, ["secret"], Path("/run/secret"), object()])
def test_a_key_is_a_text_or_bytes(authkey: Any) -> None:
    """The error never shows the value: it may be the key in a wrong form."""
    with pytest.raises(TypeError, match="authkey is the key as text or bytes, not a ") as found:
        distq.Client("127.0.0.1:1", authkey)
    assert "secret" not in str(found.value)
    assert ("DISTQ_AUTHKEY_FILE" in str(found.value)) == isinstance(authkey, Path)


@pytest.mark.parametrize(
    ("authkey", "sentence"),
    [
        ("", "authkey is empty."),
        (b" ", "authkey is empty."),
        (b"\xff\xfe" * 20, "authkey has bytes that are no text in UTF-8."),
        ("\udcff" * 20, "DISTQ_AUTHKEY has bytes that are no text in UTF-8."),
    ],
)
def test_a_key_that_cannot_be_one_is_a_sentence(
    authkey: str | bytes, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of the environment is not taken in its place."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    with pytest.raises(SettingsError, match=sentence):
        distq.Client("127.0.0.1:1", authkey)


@pytest.mark.parametrize("authkey", ["schl\u00fcssel" * 4, bytearray(KEY.encode()), memoryview(KEY.encode())])
def test_a_key_may_have_any_letters_and_any_type_of_bytes(authkey: Any) -> None:
    """The client holds its bytes in UTF-8."""
    with testing.eager():
        client = distq.Client("127.0.0.1:1", authkey)
    assert client._settings.authkeys == (authkey.encode() if isinstance(authkey, str) else bytes(authkey),)


def test_settings_are_loaded_ones() -> None:
    """A mapping of names and texts is for `distq.settings.load`."""
    with pytest.raises(TypeError, match=r"settings are those of distq.settings.load\(...\).settings, not \{"):
        distq.Client(settings={"DISTQ_ADDRESS": "127.0.0.1:1"})  # type: ignore[arg-type]


def test_a_future_as_an_argument_is_refused_with_what_to_do() -> None:
    """Every way to submit says so; a chain passes results, and `.result()` waits for one."""
    with testing.eager() as eager:
        client, add = eager.client, jobs.add
        future: Any = client.submit(add, 1)
        for submit in (
            lambda: client.submit(add, future),
            lambda: client.submit(add, 1, b=future),
            lambda: client.submit(add, [future]),  # type: ignore[call-overload]
            lambda: client.submit_named("shop:pay", [future]),
            lambda: client.submit_named("shop:pay", kwargs={"of": future}),
            lambda: client.chain(distq.call(add, future)),
            lambda: list(client.map(add, [future])),
            lambda: list(client.map(add, [future], chunksize=2)),
            lambda: client.options(every=60).schedule("sums", add, future),
        ):
            with pytest.raises(distq.NotPicklable, match="a future belongs to the process that submitted") as found:
                submit()
            assert "future.result()" in str(found.value)
            assert "client.chain(" in str(found.value)


def numbers() -> Iterator[int]:
    """Be a generator function."""
    yield 1


async def numbers_later() -> AsyncIterator[int]:
    """Be an asynchronous generator function."""
    yield 1


async def number() -> int:
    """Be a coroutine function."""
    return 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            concurrent.futures.Future,
            r"a future belongs to the process that made it. Pass its result, future.result\(\).",
        ),
        (
            lambda: asyncio.Future(loop=asyncio.new_event_loop()),
            "a future of asyncio belongs to its event loop. Await it",
        ),
        (number, "a coroutine or a future of asyncio belongs to its event loop. Await it, and pass its result."),
        (numbers, "a generator belongs to the process that made it. Pass a list of its values."),
        (numbers_later, "a generator belongs to the process that made it. Pass a list of its values."),
    ],
)
@pytest.mark.parametrize("by_value", [False, True])
def test_an_argument_that_belongs_to_this_process_is_refused_with_what_to_do(
    make: Callable[[], Any], sentence: str, *, by_value: bool
) -> None:
    """The sentence is not pickle's or JSON's own; it does not matter how deep the argument is."""
    value = make()
    with testing.eager():
        client = distq.Client("127.0.0.1:1", KEY, by_value=by_value)
        for submit in (
            lambda: client.submit(jobs.add, value),
            lambda: client.submit(jobs.add, 1, b=value),
            lambda: client.submit(jobs.add, {"deep": [Box(value)]}),  # type: ignore[call-overload]
            lambda: client.submit_named("shop:pay", [[value]]),
            lambda: client.chain(distq.call(jobs.add, value)),
            lambda: list(client.map(jobs.add, [value], chunksize=2)),
        ):
            with pytest.raises(distq.NotPicklable, match=sentence):
                submit()
    if isinstance(value, Coroutine):
        value.close()
    elif isinstance(value, asyncio.Future):
        value.get_loop().close()


class Box:
    """An object with another one."""

    def __init__(self, value: object) -> None:
        self.value = value


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ("abc", None, "args is a list or tuple of the task's arguments, not 'abc'"),
        (5, None, "args is a list or tuple of the task's arguments, not 5"),
        ({"a": 1}, None, "args is a list or tuple of the task's arguments, not {'a': 1}"),
        ([], 5, "kwargs is a mapping of parameter names and arguments, not 5"),
        ([], {1: 2}, "kwargs is a mapping of parameter names and arguments, not {1: 2}"),
    ],
)
def test_the_arguments_of_a_named_task_are_a_list_and_a_mapping(args: Any, kwargs: Any, sentence: str) -> None:
    """A text was sent as its letters, and a number was an error without words."""
    with testing.eager() as eager:
        with pytest.raises(TypeError) as found:
            eager.client.submit_named("shop:pay", args, kwargs)
        assert str(found.value) == sentence
        with pytest.raises(TypeError):
            eager.client.options(every=60).schedule_named("pay", "shop:pay", args, kwargs)
        assert eager.submitted() == ()


@pytest.mark.parametrize("authkey", [KEY, 5, True, Path("/run/secret")])
def test_the_key_of_a_manager_is_bytes(authkey: Any) -> None:
    """The standard library made a key of five zeros of the number 5, and one of the path's own text."""
    with pytest.raises(TypeError, match="authkey is the key as bytes, not a ") as found:
        distq.QueueManager(("127.0.0.1", 9000), authkey)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("address", [("host", "9000"), ("host", 1.5), (b"host", 9000), ("host", True)])
def test_the_address_of_a_manager_is_a_host_and_a_port(address: Any) -> None:
    """The error comes from the constructor, not from a later call."""
    with pytest.raises(TypeError, match=r"the address must be \(host, port\), a text and a whole number, not "):
        distq.QueueManager(address, KEY.encode())


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_belongs_to_its_process(copied: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of threads, one with options, and one of coroutines say where to make another."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    client = distq.AsyncClient("127.0.0.1:1")
    with testing.eager() as eager:
        for one in (eager.client, eager.client.options(priority=1), client, client.options(priority=1)):
            with pytest.raises(TypeError, match="a client belongs to the process that made it"):
                copied(one)


@pytest.mark.parametrize("by_value", [False, True])
def test_a_client_as_an_argument_is_refused_with_what_to_do(by_value: bool) -> None:
    """Also one that a function sent by value uses."""
    with testing.eager():
        client = distq.Client(by_value=by_value)
        with pytest.raises(distq.NotPicklable, match="cannot be pickled: a client belongs to the process that made it"):
            client.submit(print, [client])
        if by_value:
            with pytest.raises(distq.NotPicklable, match="something that it uses cannot be pickled: a client belongs"):
                client.submit(lambda: client.refused)


def test_sizes_of_a_map_have_no_maximum() -> None:
    """A size beyond what the machine counts means all calls; one far below 1 is shown short."""
    with testing.eager() as eager:
        for sizes in ({"chunksize": 10**30}, {"buffersize": 10**30}, {"chunksize": 10**30, "buffersize": 10**30}):
            assert list(eager.client.map(jobs.add, [1, 2], **sizes)) == [1, 2]  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="chunksize is at least 1, not a whole number of about 5,001 digits"):
            eager.client.map(jobs.add, [1], chunksize=-(10**5_000))


def test_a_future_is_not_copied_either() -> None:
    """A copy would never get the outcome."""
    with testing.eager() as eager:
        future = eager.client.submit(jobs.add, 1)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a future belongs to the process"):
            copied(future)
