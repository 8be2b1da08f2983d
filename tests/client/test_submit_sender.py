"""Tests of submits: batches, limits, refusals, closed connections."""

import os
import pickle
import threading
import types
from collections.abc import Callable
from concurrent.futures import CancelledError, as_completed, wait
from typing import Any

import pytest
from tests.client.functions import anything, bodies, double
from tests.client.masters import KEY, MasterState, client_of, never, serving
from tests.waiting import SOON_S, eventually

import distq
from distq.client.outbox import BATCH_TASKS_MAX, UNACCEPTED_MAX
from distq.core.errors import PayloadTooLarge
from distq.net.dial import CannotReach
from distq.tasks.function import NotATask
from distq.wire.errors import AuthenticationFailed, RemoteRefusal


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the waits for a master short."""
    monkeypatch.setenv("DISTQ_CONNECT_WAIT_S", "500ms")
    monkeypatch.setenv("DISTQ_RECONNECT_MAX_S", "100ms")


def test_submits_during_a_batch_form_the_next_batch() -> None:
    """Batches keep the order, have each envelope once and at most a thousand tasks; results arrive in any order."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        assert client.submit(double, 1).result(SOON_S) == 2
        state.gate.clear()
        futures = [client.submit(double, 0)]
        eventually(lambda: len(state.submits) == 2, "the lone submit")
        futures += [client.submit(double, n) for n in range(1, 1500)]
        state.gate.set()
        assert [future.result(SOON_S) for future in futures] == [2 * n for n in range(1500)]
        assert [len(bodies) for _, _, _, bodies, _ in state.submits] == [1, 1, BATCH_TASKS_MAX, 499]
        assert state.submits[2][1:3] == (
            [("default", "tests.client.functions:double", None, 0, None, None, None)],
            [(0, BATCH_TASKS_MAX)],
        )
        assert state.bodies[1:] == bodies(*range(1500))


def test_a_submit_blocks_while_ten_thousand_submits_wait() -> None:
    """Ten thousand submits may wait; the next one continues as soon as there is room."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        client.submit(double, 0)
        client.flush()
        state.gate.clear()
        passed = threading.Semaphore(0)
        for n in range(UNACCEPTED_MAX):
            client.submit(double, n)

        def one_more() -> None:
            client.submit(double, 1)
            passed.release()

        thread = threading.Thread(target=one_more)
        thread.start()
        assert not passed.acquire(timeout=0.2)
        state.gate.set()
        assert passed.acquire(timeout=SOON_S)
        thread.join()


def test_a_submit_without_a_reply_is_sent_again_with_its_number() -> None:
    """The master also sends results again after a lost reply."""
    state = MasterState()
    state.hang_up = {"submit": 2, "results": 2}
    with serving(state) as master, client_of(master) as client:
        assert [client.submit(double, n).result(SOON_S) for n in range(3)] == [0, 2, 4]
    assert len(state.bodies) == 3
    assert [number for number, *_ in state.submits] == [1, 1, 1, 2, 3]


def test_only_the_invalid_tasks_of_a_batch_are_refused() -> None:
    """The master accepts the others in order, and the error gives the reason."""
    state = MasterState()
    large = pickle.dumps(((13,), {}), 5)

    def refuse(_envelopes: list[Any], bodies: list[bytes]) -> tuple[bool, str, str] | None:
        return (False, "PAYLOAD_TOO_LARGE", "too large") if large in bodies else None

    state.refuse = refuse
    with serving(state) as master, client_of(master) as client:
        assert client.submit(double, 0).result(SOON_S) == 0
        state.gate.clear()
        client.submit(double, 0)
        futures = [client.submit(double, n) for n in range(100)]
        state.gate.set()
        with pytest.raises(distq.RefusedSubmit, match="too large") as caught:
            futures[13].result(SOON_S)
        assert caught.value.code == "PAYLOAD_TOO_LARGE"
        del futures[13]
        assert [future.result(SOON_S) for future in futures] == [2 * n for n in range(100) if n != 13]
    assert state.bodies[2:] == bodies(*(n for n in range(100) if n != 13))


def test_the_text_of_a_refusal_is_in_the_futures_error() -> None:
    """An example is a queue's name that is too long."""
    state = MasterState()

    def refuse(*_: Any) -> None:
        raise RemoteRefusal("the name is too long")

    state.refuse = refuse
    with serving(state) as master, client_of(master) as client, pytest.raises(distq.RefusedSubmit, match="too long"):
        client.submit(double, 1).result(SOON_S)


def test_a_missing_master_is_an_error_after_a_time(unused: int) -> None:
    """The submit itself raises the error."""
    client = distq.Client(f"127.0.0.1:{unused}", KEY)
    with pytest.raises(CannotReach, match="cannot be reached"):
        client.submit(double, 1)
    client.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        client.submit(double, 1)


def test_a_submit_waits_for_a_master_that_starts_in_time(unused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The submit continues as soon as a master listens."""
    monkeypatch.setenv("DISTQ_CONNECT_WAIT_S", "30")
    client = distq.Client(f"127.0.0.1:{unused}", KEY)
    futures: list[distq.TaskFuture[int]] = []
    thread = threading.Thread(target=lambda: futures.append(client.submit(double, 2)))
    thread.start()
    eventually(lambda: client._session._sender.master_connection.attempts, "the first attempt")
    with serving(MasterState(), port=unused):
        thread.join(SOON_S)
        assert futures[0].result(SOON_S) == 4
        client.shutdown()


def test_a_wrong_key_is_an_immediate_error_that_a_later_submit_can_avoid() -> None:
    """The submit raises; after the master accepts the key, the same client works."""
    with serving(MasterState(), [b"another key, that is also long"]) as master, client_of(master) as client:
        for _ in range(2):
            with pytest.raises(AuthenticationFailed):
                client.submit(double, 1)
        master._keys.append(KEY)
        assert client.submit(double, 1).result(SOON_S) == 2


def test_a_key_that_changes_fails_the_waiting_futures() -> None:
    """Pending futures get the error, and no thread waits forever."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        pending = client.submit(double, 1)
        client.flush()
        master._keys[:] = [b"another key, that is also long"]
        master.drop()
        with pytest.raises(AuthenticationFailed):
            pending.result(SOON_S)
        with pytest.raises(AuthenticationFailed):
            client.submit(double, 2).result(SOON_S)
        master._keys[:] = [KEY]
        state.outcome = lambda _: (3, pickle.dumps("again"), None)
        assert client.submit(anything, 3).result(SOON_S) == "again"


def test_a_master_that_refuses_hello_fails_the_submit() -> None:
    """An example is a master of another protocol."""
    state = MasterState()

    def refuse(info: Any) -> object:
        raise RemoteRefusal("Upgrade the older of the two.")

    state._hello = refuse  # type: ignore[method-assign]
    with serving(state) as master, client_of(master) as client, pytest.raises(distq.DistqError, match="Upgrade"):
        client.submit(double, 1)


def local() -> Callable[[], None]:
    """Stand for a function inside of a function."""

    def inner() -> None:
        pass

    return inner


class Greeter:
    """A class with a method."""

    def method(self) -> None:
        """Do nothing."""


def test_a_function_that_no_worker_can_import_is_refused_with_a_solution() -> None:
    """The caller gets the error before the client sends anything."""
    of_main = types.FunctionType(local.__code__, {}, "program")
    of_main.__module__ = "__main__"
    client = distq.Client("127.0.0.1:1", KEY)
    for function in (lambda: None, local(), of_main, Greeter().method, 5, threading.Lock()):
        with pytest.raises(NotATask) as caught:
            client.submit(function)  # type: ignore[call-overload]
        assert "top level of a module" in caught.value.hint


def test_arguments_that_do_not_fit_are_refused_at_the_submit() -> None:
    """The error is the TypeError of a call; chains count the preceding result, and `map` checks each row."""
    client = distq.Client("127.0.0.1:1", KEY)
    for submit in (
        lambda: client.submit(double),  # type: ignore[call-overload]
        lambda: client.submit(double, 1, 2),  # type: ignore[call-overload]
        lambda: client.submit(double, 1, retries=3),  # type: ignore[arg-type,call-arg]
        lambda: client.map(double, [1], [2]),
        lambda: client.map(double, [1], [2], chunksize=2),
        lambda: client.chain(distq.call(double)),
        lambda: client.chain(distq.call(double, 1), distq.call(double, 2)),
        lambda: client.options(every=1).schedule("nightly", double),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match=r"double\(\): "):
            submit()


@pytest.mark.parametrize(
    ("options", "submits", "hint"),
    [
        ({"every": 1}, "submit submit_named map chain", "call `schedule`"),
        ({"cron": "* * * * *", "timezone": "UTC"}, "submit submit_named map chain", "call `schedule`"),
        ({"overlap": False}, "submit submit_named map chain", "call `schedule`"),
        ({"catch_up": "all"}, "submit submit_named map chain", "call `schedule`"),
        ({"on_failure": "run"}, "submit submit_named map schedule schedule_named", "call `chain`"),
        ({"full": "raise"}, "schedule schedule_named", "leave it out"),
    ],
)
def test_an_option_without_effect_is_refused(options: dict[str, Any], submits: str, hint: str) -> None:
    """The client raises before it sends anything, and names the option and the alternative."""
    client = distq.Client("127.0.0.1:1", KEY).options(**options)
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: client.submit(double, 1),
        "submit_named": lambda: client.submit_named("a:b", [1], queue="mail"),
        "map": lambda: client.map(double, [1, 2], chunksize=2),
        "chain": lambda: client.chain(distq.call(double, 1)),
        "schedule": lambda: client.schedule("beat", double, 1),
        "schedule_named": lambda: client.schedule_named("beat", "a:b", [1]),
    }
    seen_as = {"submit_named": "submit", "map": "submit", "schedule_named": "schedule"}
    for name in submits.split():
        option = next(iter(options))
        with pytest.raises(TypeError, match=f"{option} has no effect on `{seen_as.get(name, name)}`") as caught:
            calls[name]()
        assert hint in str(caught.value)


def test_an_option_of_one_call_without_effect_in_its_chain_is_refused() -> None:
    """A chain is one submit: its last call, or the client, sets the behaviour for a full queue."""
    client = distq.Client("127.0.0.1:1", KEY)
    raising, plain = distq.call(double, 1).options(full="raise"), distq.call(double)
    for stages in ([raising, plain], [[raising]], [[raising], plain], [raising, []]):
        with pytest.raises(TypeError, match="full has no effect on one call of a chain"):
            client.chain(*stages)
    with pytest.raises(TypeError, match="every has no effect on `chain`"):
        client.chain(distq.call(double, 1).options(every=5))


@pytest.mark.parametrize("option", ["retry_for", "no_retry_for"])
def test_an_option_that_is_not_sent_is_refused_by_a_client(option: str) -> None:
    """The worker reads the option in its own copy of the code: sent with a task, it would be lost."""
    for options in (distq.Client("127.0.0.1:1", KEY).options, distq.call(double, 1).options):
        with pytest.raises(TypeError, match=f"{option} does not travel with a task.*decorator"):
            options(**{option: ValueError})  # type: ignore[arg-type] # refused by a type checker, too


def test_an_argument_of_a_class_of_the_program_is_refused_at_the_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's `__main__` is another program; a text that contains the word is accepted."""
    monkeypatch.setattr(Greeter, "__module__", "__main__")
    monkeypatch.setattr("__main__.Greeter", Greeter, raising=False)
    client = distq.Client("127.0.0.1:1", KEY)
    for submit in (
        lambda: client.submit(anything, {"deep": [Greeter()]}),
        lambda: client.map(anything, [Greeter()], chunksize=2),
    ):
        with pytest.raises(distq.NotPicklable, match="needs Greeter, which the program itself") as caught:
            submit()
        assert "Move the class to a module" in caught.value.hint


def test_arguments_that_cannot_travel_are_refused() -> None:
    """The error has the function's name and pickle's reason; `map` raises it too."""
    client = distq.Client("127.0.0.1:1", KEY)
    lock = threading.Lock()
    for submit in (
        lambda: client.submit(anything, lock),
        lambda: list(client.map(anything, [lock], chunksize=2)),
        lambda: list(client.map(anything, [lock])),
    ):
        with pytest.raises(distq.NotPicklable, match=r"functions:anything cannot be pickled: .*lock"):
            submit()
    with pytest.raises(distq.NotPicklable, match="JSON cannot write the arguments"):
        client.submit_named("a:b", [lock])
    with pytest.raises(PayloadTooLarge, match="bytes"):
        client.submit(anything, os.urandom(17 << 20))


def test_a_task_can_be_submitted_by_name_with_json_arguments() -> None:
    """The client imports nothing, and the program may choose the queue."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        client.submit_named("no.such:thing", [1, "two"], {"three": None}, queue="mail")
        client.flush()
        assert state.bodies == [b'{"args":[1,"two"],"kwargs":{"three":null}}']
        assert state.submits[0][1][0][:2] == ("mail", "no.such:thing")


@pytest.mark.parametrize("odd", ["", "\ud800", "n" * 200, 5])
def test_names_out_of_range_are_refused_by_the_client(odd: str) -> None:
    """The client checks the name of a task, its queue and a task id before it sends anything."""
    client = distq.Client("127.0.0.1:1", KEY)
    for call in (
        lambda: client.submit_named(odd),
        lambda: client.options(every=1).schedule_named("beat", odd),
        lambda: client.submit_named("a:b", queue=odd),
        lambda: distq.task(name=odd or "\ud800")(anything),
    ):
        with pytest.raises((TypeError, ValueError), match="is a text"):
            call()
    with pytest.raises(ValueError, match="a task id is two hexadecimal numbers"):
        client.future(odd)


def test_a_submit_that_is_not_sent_can_be_cancelled() -> None:
    """Waiting threads see the cancel; a submit that is in flight cannot be cancelled."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        client.submit(double, 0)
        client.flush()
        state.gate.clear()
        under_way = client.submit(double, 1)
        eventually(lambda: len(state.submits) == 2, "the submit")
        futures = [client.submit(double, n) for n in range(2, 6)]
        called_back: list[Any] = []
        futures[0].add_done_callback(called_back.append)
        assert not under_way.cancel()
        assert futures[0].cancel()
        assert futures[2].cancel()
        assert futures[2].cancel()
        assert called_back == [futures[0]]
        assert wait(futures[:1], SOON_S).done == {futures[0]}
        assert list(as_completed([futures[2]], SOON_S)) == [futures[2]]
        with pytest.raises(CancelledError):
            futures[0].result(SOON_S)
        state.gate.set()
        assert client.flush(SOON_S)
        assert state.bodies == bodies(0, 1, 3, 5)


def test_shutdown_cancels_unsent_submits_or_waits_for_all() -> None:
    """The behaviour is that of `Executor.shutdown`."""
    state = MasterState()
    with serving(state) as master:
        with distq.Client(f"127.0.0.1:{master.address[1]}", KEY) as client:
            client.submit(double, 0).result(SOON_S)
            state.gate.clear()
            under_way = client.submit(double, 1)
            eventually(lambda: len(state.submits) == 2, "the submit")
            waiting = client.submit(double, 2)
            client.shutdown(wait=False, cancel_futures=True)
            assert waiting.cancelled()
            state.gate.set()
        assert under_way.result(0) == 2
        assert not any(thread.is_alive() for thread in client._session._threads)


def test_shutdown_without_waiting_lets_results_arrive() -> None:
    """The client closes its connections after the last result."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        future = client.submit(double, 1)
        client.shutdown(wait=False)
        with pytest.raises(RuntimeError):
            client.submit(double, 2)
        assert not future.done()
        eventually(lambda: state.known, "the task")
        state.end(1 << 40 | 1, 3, pickle.dumps(2))
        assert future.result(SOON_S) == 2
        for thread in client._session._threads:
            thread.join(SOON_S)
            assert not thread.is_alive()


def test_a_chunk_is_sent_as_one_task() -> None:
    """The client separates the results in order; the size of a chunk is at least one."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        assert list(client.map(double, range(10), chunksize=4)) == [2 * n for n in range(10)]
        assert len(state.bodies) == 3
        assert list(client.map(double, range(3))) == [0, 2, 4]
        assert list(client.map(double, [])) == []
        with pytest.raises(ValueError, match="at least 1"):
            client.map(double, [1], chunksize=0)
        state.outcome = never
        with pytest.raises(TimeoutError):
            list(client.map(double, [1], timeout=0.05))


def test_a_clients_options_precede_the_functions() -> None:
    """A call with its own times is a separate run; the other options stay."""
    state = MasterState()
    with serving(state) as master, client_of(master) as client:
        client.submit(double, 0).result(SOON_S)
        state.gate.clear()
        first = client.submit(double, 1)
        eventually(lambda: len(state.submits) == 2, "the lone submit")
        later = client.options(delay=5, queue="mail")
        futures = [first, *(to.submit(double, n) for n, to in enumerate((client, later, later, client), 2))]
        later.submit_named("named", [6])
        state.gate.set()
        assert [future.result(SOON_S) for future in futures] == [2, 4, 6, 8, 10]
        assert list(later.map(double, [7])) == [14]
        envelopes, runs = state.submits[2][1:3]
        when = (5, None, None)
        assert [(envelopes[run[0]][0], *run[1:]) for run in runs] == [
            ("default", 1),
            ("mail", 2, when),
            ("default", 1),
            ("mail", 1, when),
        ]
        client.abandon()  # no worker runs the named task


def test_a_submit_that_was_just_sent_can_be_cancelled() -> None:
    """The cancel works although the client has not read the acceptance yet."""
    state = MasterState(never)
    with serving(state) as master, client_of(master) as client:
        client.submit(double, 0)
        client.flush()
        futures = [client.submit(double, n) for n in range(1, 4)]
        assert [future.cancel() for future in futures] == [True] * 3
        assert len({key for keys, running in state.cancels for key in keys if not running}) == 3
        client.abandon()


def test_wrong_options_are_refused_immediately() -> None:
    """The error does not wait for the first submit."""
    with serving(MasterState()) as master, client_of(master) as client:
        with pytest.raises(TypeError, match="there is no option 'delai'"):
            client.options(delai=5)  # type: ignore[call-arg] # refused by a type checker, too
        view = client.options(queue="mail")
        view.shutdown()
        assert view.submit(double, 2).result(SOON_S) == 4
