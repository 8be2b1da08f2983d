"""Tests of `distq.AsyncClient` against fake masters, on the event loops of asyncio and of uvloop."""

import asyncio
import gc
import os
import pickle
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import pytest
import uvloop
from tests.client.functions import anything, bodies, double
from tests.client.masters import KEY, MasterState, never, serving
from tests.net.fake_master import FakeMaster
from tests.waiting import SOON_S

import distq
import distq.testing
from distq.client import master_connection
from distq.client.aio.link import MasterLink
from distq.client.outbox import BATCH_TASKS_MAX, UNACCEPTED_MAX
from distq.client.submit_steps import submitted
from distq.core.states import CANCELLED, DEAD, SUCCEEDED
from distq.core.task import BY_CLIENT
from distq.tasks.call import call
from distq.tasks.failure import pack_failure
from distq.wire.errors import AuthenticationFailed

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the waits for a master short."""
    monkeypatch.setenv("DISTQ_CONNECT_WAIT_S", "500ms")
    monkeypatch.setenv("DISTQ_RECONNECT_MAX_S", "100ms")


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return what runs a coroutine on a new event loop."""
    runner: Run = request.param
    return runner


def client_of(master: FakeMaster, key: bytes = KEY) -> distq.AsyncClient:
    """Return a client of that master."""
    return distq.AsyncClient(f"127.0.0.1:{master.address[1]}", key)


async def until(fact: Callable[[], object], what: str) -> None:
    """Wait until `fact()` is true; the test fails with `what` when it is not within SOON_S."""
    async with asyncio.timeout(SOON_S):
        while not fact():  # noqa: ASYNC110 - no event announces the fact
            await asyncio.sleep(0.005)
    assert fact(), what


def test_a_submit_gives_an_awaitable_future_and_no_thread_starts(run: Run) -> None:
    """Submits during a batch form the next batch, in order; several coroutines may await one future."""
    state = MasterState()

    async def program(master: FakeMaster) -> None:
        before = threading.active_count()
        async with client_of(master) as client:
            assert await (await client.submit(double, 1)) == 2
            state.gate.clear()
            futures = [await client.submit(double, n) for n in range(1500)]
            assert not futures[7].done()
            with pytest.raises(asyncio.InvalidStateError, match="has no outcome yet"):
                futures[7].result()
            state.gate.set()
            assert await asyncio.gather(*futures, futures[3]) == [*(2 * n for n in range(1500)), 6]
            assert (futures[7].result(), futures[7].exception(), futures[7].cancelled()) == (14, None, False)
            ended = threading.active_count()
            # The fake master serves each of the client's connections in a thread of this process.
            assert ended - before == 2

    with serving(state) as master:
        run(program(master))
    assert state.bodies[1:] == bodies(*range(1500))
    assert max(len(sent) for _, _, _, sent, _ in state.submits) <= BATCH_TASKS_MAX
    assert state.goodbyes == 1


def test_submit_waits_while_ten_thousand_submits_are_not_accepted(run: Run) -> None:
    """The client keeps at most that many; a coroutine that is cancelled while it waits leaves no task."""
    state = MasterState()

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            await (await client.submit(double, 0))
            state.gate.clear()
            for n in range(UNACCEPTED_MAX):
                await client.submit(double, n)
            more = [asyncio.create_task(client.submit(double, -n)) for n in range(1, 5)]
            _, waiting = await asyncio.wait(more, timeout=0.2)
            assert len(waiting) == 4
            unsent = client._session._outbox
            assert len(unsent.waiting) + unsent._unanswered_count == UNACCEPTED_MAX
            more[0].cancel()
            more[2].cancel()
            state.gate.set()
            assert await (await more[1]) == -4
            assert await (await more[3]) == -8
            with pytest.raises(asyncio.CancelledError):
                await more[0]

    with serving(state) as master:
        run(program(master))
    assert len(state.bodies) == 1 + UNACCEPTED_MAX + 2


def test_a_submit_without_a_reply_is_sent_again_with_its_number(run: Run) -> None:
    """The master also sends results again after a lost reply; nothing is lost or accepted twice."""
    state = MasterState()
    state.hang_up = {"submit": 2, "results": 2}

    async def program(master: FakeMaster) -> list[int]:
        async with client_of(master) as client:
            return [await (await client.submit(double, n)) for n in range(3)]

    with serving(state) as master:
        assert run(program(master)) == [0, 2, 4]
    assert len(state.bodies) == 3
    assert [number for number, *_ in state.submits] == [1, 1, 1, 2, 3]


def test_a_cancelled_coroutine_leaves_the_task_alone(run: Run) -> None:
    """After a timeout the future can be awaited again; `future.cancel()` alone asks the master to cancel."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            future, other = await client.submit(double, 1), await client.submit(double, 2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.05)
            waiting = asyncio.create_task(_awaited(future))
            await until(lambda: future.has_callbacks, "the wait")
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            assert (state.cancels, future.done(), future.has_callbacks) == ([], False, False)
            assert await future.accepted() == "1-1"
            state.end(1 << 40 | 1, SUCCEEDED, pickle.dumps(77))
            assert await future == 77
            assert not await future.cancel()
            assert await other.cancel()
            assert (state.cancels, other.cancelled()) == ([([1 << 40 | 2], False)], True)
            with pytest.raises(distq.TaskCancelled, match="by this client"):
                await other
            state.end(1 << 40 | 2, CANCELLED, None, [BY_CLIENT])

    with serving(state) as master:
        run(program(master))


async def _awaited(future: distq.AsyncFuture[Any]) -> Any:
    return await future


def test_a_task_that_was_not_sent_is_cancelled_without_the_master(run: Run) -> None:
    """It never reaches the master, and the coroutine that awaits it continues with an ordinary exception."""
    state = MasterState()

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            await (await client.submit(double, 0))
            state.gate.clear()
            first, second = await client.submit(double, 1), await client.submit(double, 2)
            waiting = asyncio.create_task(_awaited(second))
            await until(lambda: second.has_callbacks, "the wait")
            assert await second.cancel()
            with pytest.raises(distq.TaskCancelled):
                await waiting
            with pytest.raises(distq.TaskCancelled):
                await second.accepted()
            state.gate.set()
            assert await first == 2

    with serving(state) as master:
        run(program(master))
    assert (state.bodies, state.cancels) == (bodies(0, 1), [])


def test_a_chain_whose_coroutine_is_cancelled_is_cancelled_once_it_is_accepted(run: Run) -> None:
    """No code has its future; a chain that the client has not sent yet is never sent."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            await (await client.submit(double, 0)).accepted()
            state.gate.clear()
            sent = asyncio.create_task(client.chain(call(double, 1), call(double)))
            await until(lambda: len(state.submits) == 2, "the submit of the chain")
            unsent = asyncio.create_task(client.chain(call(double, 7), call(double)))
            await asyncio.sleep(0)
            for one in (sent, unsent):
                one.cancel()
            await asyncio.wait([sent, unsent])
            state.gate.set()
            await until(lambda: state.cancels, "the cancel")
            assert state.cancels == [([1 << 40 | 2, 1 << 40 | 3], False)]
            client.abandon()

    with serving(state) as master:
        run(program(master))
    assert len(state.bodies) == 3


def test_outcomes_are_those_of_the_threaded_client(run: Run) -> None:
    """An exception arrives as its type, and a cancel by another program as TaskCancelled."""
    state = MasterState(lambda arguments: outcomes[arguments[0][0]])
    outcomes: dict[int, tuple[int, bytes | None, list[str] | None]] = {
        1: (DEAD, pack_failure(ValueError("wrong")), ["it failed"]),
        2: (CANCELLED, None, ["by an operator"]),
        3: (CANCELLED, None, [BY_CLIENT]),
    }

    async def program(master: FakeMaster) -> list[Any]:
        async with client_of(master) as client:
            futures = [await client.submit(double, n) for n in outcomes]
            return await asyncio.gather(*futures, return_exceptions=True)

    with serving(state) as master:
        errors = run(program(master))
    assert [type(error) for error in errors] == [ValueError, distq.TaskCancelled, distq.TaskCancelled]


def test_only_the_invalid_tasks_of_a_batch_are_refused(run: Run) -> None:
    """The others are accepted; `flush` says that the program has not looked at the refusal."""
    state = MasterState()
    large = pickle.dumps(((13,), {}), 5)
    state.refuse = lambda _envelopes, sent: (False, "PAYLOAD_TOO_LARGE", "too large") if large in sent else None

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            futures = [await client.submit(double, n) for n in range(50)]
            assert not await client.flush()
            assert client.refused == 1
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert isinstance(results[13], distq.PayloadTooLarge)
            assert [one for one in results if one is not results[13]] == [2 * n for n in range(50) if n != 13]
            with pytest.raises(distq.RefusedSubmit, match="too large"):
                await futures[13].accepted()
            assert await client.flush()

    with serving(state) as master:
        run(program(master))


def test_a_wrong_key_and_a_missing_master_are_the_errors_of_the_threaded_client(run: Run, unused: int) -> None:
    """The submit itself raises them."""

    async def submitting(client: distq.AsyncClient) -> None:
        async with client:
            await client.submit(double, 1)

    with serving(MasterState()) as master, pytest.raises(AuthenticationFailed, match="does not let us in"):
        run(submitting(client_of(master, b"another key of the tests")))
    with pytest.raises(distq.CannotReach, match="cannot be reached: Connection refused") as caught:
        run(submitting(distq.AsyncClient(f"127.0.0.1:{unused}", KEY)))
    assert caught.value.__notes__ == [distq.CannotReach.hint]


def test_a_warning_says_that_no_master_answers(
    unused: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the address and the reason."""
    monkeypatch.setattr(master_connection, "SILENT_S", 0.1)

    async def program() -> None:
        async with distq.AsyncClient(f"127.0.0.1:{unused}", KEY) as client:
            with pytest.raises(distq.CannotReach):
                await client.submit(double, 1)

    asyncio.run(program())
    assert f"No master has answered at 127.0.0.1:{unused}" in caplog.text


def test_a_client_works_in_one_event_loop(run: Run) -> None:
    """A second loop is a clear error, for the client and for its futures; a loop that is closed too."""
    state = MasterState(never)

    async def use(client: distq.AsyncClient) -> distq.AsyncFuture[Any]:
        future = await client.submit(double, 1)
        await future.accepted()
        client.abandon()
        return future

    with serving(state) as master:
        client = client_of(master)
        run(use(client))
        with pytest.raises(distq.WrongLoop, match="is closed") as caught:
            run(use(client))
        assert "async with" in caught.value.__notes__[0]


def test_a_future_is_not_awaited_in_another_loop() -> None:
    """The loop of the client goes on."""
    state = MasterState(never)
    raised: list[BaseException] = []

    async def program(master: FakeMaster) -> None:
        client = client_of(master)
        future = await client.submit(double, 1)

        def elsewhere() -> None:
            try:
                asyncio.run(_awaited(future))
            except distq.WrongLoop as error:
                raised.append(error)

        await asyncio.to_thread(elsewhere)
        state.end(1 << 40 | 1, SUCCEEDED, pickle.dumps(77))
        assert await future == 77
        await client.shutdown()

    with serving(state) as master:
        asyncio.run(program(master))
    assert [str(error) for error in raised] == ["This AsyncClient was used in another event loop."]


def test_a_client_that_was_shut_down_before_a_fork_begins_anew_in_the_child() -> None:
    """As `distq.Client` does: it has a session of its own, which looks for the master; here the master is gone."""
    with serving(MasterState()) as master:
        client = client_of(master)

        async def use() -> None:
            async with client:
                assert await (await client.submit(double, 4)) == 8

        asyncio.run(use())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process of a test may have threads
        child = os.fork()
    if child == 0:
        signal.alarm(int(SOON_S))
        code = 1
        try:
            asyncio.run(use())
        except distq.CannotReach:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_as_completed_yields_futures_in_the_order_of_their_ends(run: Run) -> None:
    """Each future comes once; a timeout raises TimeoutError and leaves the tasks alone."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            futures = [await client.submit(double, n) for n in range(3)]
            await asyncio.gather(*(future.accepted() for future in futures))
            found = client.as_completed([*futures, futures[0]])
            for n in (2, 0):
                state.end(1 << 40 | n + 1, SUCCEEDED, pickle.dumps(n))
                assert await anext(found) is futures[n]
            timed = client.as_completed(futures, timeout=0.05)
            assert {await anext(timed), await anext(timed)} == {futures[0], futures[2]}
            with pytest.raises(TimeoutError):
                await anext(timed)
            assert not state.cancels
            state.end(1 << 40 | 2, SUCCEEDED, pickle.dumps(1))
            assert [one async for one in found] == [futures[1]]

    with serving(state) as master:
        run(program(master))


async def _endless() -> AsyncIterator[int]:
    n = 0
    while True:
        yield n
        n += 1


def test_map_has_at_most_that_many_tasks_without_a_yielded_result(run: Run) -> None:
    """The iterables may be endless and asynchronous; an early end cancels the tasks that are left."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            results = client.map(anything, _endless(), range(1000), concurrency=5)
            first = asyncio.ensure_future(anext(results))
            await until(lambda: len(state.bodies) == 5, "five tasks")
            await asyncio.sleep(0.05)  # a sixth task would be submitted in this time
            assert len(state.bodies) == 5
            state.end(1 << 40 | 1, SUCCEEDED, pickle.dumps("first"))
            assert await first == "first"
            second = asyncio.ensure_future(anext(results))
            await until(lambda: len(state.bodies) == 6, "a sixth task")
            second.cancel()
            await asyncio.wait([second])
            await until(lambda: state.cancels, "the cancel")
            assert state.cancels == [([1 << 40 | n for n in range(2, 7)], False)]
            client.abandon()

    with serving(state) as master:
        run(program(master))
    assert state.bodies[5] == pickle.dumps(((5, 5), {}), 5)


def test_map_yields_in_order_also_in_chunks_and_checks_its_sizes(run: Run) -> None:
    """A chunk is one task; sizes below one are errors where they are given."""
    state = MasterState()

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            assert [n async for n in client.map(double, range(250), concurrency=7)] == [2 * n for n in range(250)]
            accepted = len(state.bodies)
            assert [n async for n in client.map(double, range(10), chunksize=4)] == [2 * n for n in range(10)]
            assert len(state.bodies) - accepted == 3
            wrong: list[dict[str, Any]] = [{"concurrency": 0}, {"chunksize": 0}]
            for sizes in wrong:
                with pytest.raises(ValueError, match="is at least 1, not 0"):
                    client.map(double, range(3), **sizes)

    with serving(state) as master:
        run(program(master))


def test_a_master_without_a_store_that_was_restarted_has_lost_the_tasks(run: Run) -> None:
    """The futures fail with TaskLost; later submits go to the new master."""
    state = MasterState(never)

    async def program() -> None:
        with serving(state) as master:
            client = client_of(master)
            lost = await client.submit(double, 1)
            await lost.accepted()
            port = master.address[1]
        with serving(MasterState(epoch=2), port=port):
            with pytest.raises(distq.TaskLost, match="restarted without a store"):
                await lost
            assert await (await client.submit(double, 4)) == 8
            await client.shutdown()

    run(program())


def test_a_block_that_an_exception_ends_waits_only_for_acceptance(run: Run) -> None:
    """After the block the client accepts no more submits."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        client = client_of(master)
        futures: list[distq.AsyncFuture[int]] = []

        async def failing() -> None:
            async with client:
                futures.append(await client.submit(double, 1))
                raise LookupError

        with pytest.raises(LookupError):
            await failing()
        with pytest.raises(distq.CannotReach, match="was closed before the task's result"):
            await futures[0]
        with pytest.raises(RuntimeError, match="was shut down"):
            await client.submit(double, 2)

    with serving(state) as master:
        run(program(master))
    assert state.bodies == bodies(1)


def test_a_block_ends_when_every_future_has_its_outcome(run: Run) -> None:
    """The results need not be awaited in it."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> int:
        async with client_of(master) as client:
            future = await client.submit(double, 3)
            await future.accepted()
            asyncio.get_running_loop().call_later(0.05, state.end, 1 << 40 | 1, SUCCEEDED, pickle.dumps(6))
        return future.result()

    with serving(state) as master:
        assert run(program(master)) == 6


def test_a_shutdown_can_cancel_the_tasks_that_are_left(run: Run) -> None:
    """Those that were not sent never are."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        client = client_of(master)
        accepted = await client.submit(double, 1)
        await accepted.accepted()
        state.gate.clear()
        sent, unsent = await client.submit(double, 2), await client.submit(double, 3)
        await until(lambda: len(state.submits) == 2, "the second submit")
        ended = asyncio.create_task(client.shutdown(cancel_futures=True))
        await until(unsent.cancelled, "the cancel of the unsent task")
        state.gate.set()
        for key in (1, 2):
            state.end(1 << 40 | key, CANCELLED, None, [BY_CLIENT])
        await ended
        assert accepted.cancelled()
        assert sent.cancelled()

    with serving(state) as master:
        run(program(master))
    assert state.bodies == bodies(1, 2)


def test_a_client_that_was_not_shut_down_warns_and_ends_with_its_futures() -> None:
    """Its futures still get their outcomes."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        client = client_of(master)
        future = await client.submit(double, 1)
        session = client._session
        await future.accepted()
        with pytest.warns(ResourceWarning, match="was not shut down"):  # noqa: PT031 - both end the client
            del client
            gc.collect()
        state.end(1 << 40 | 1, SUCCEEDED, pickle.dumps(77))
        assert await future == 77
        await until(lambda: session.closed, "the end of the session")

    with serving(state) as master:
        asyncio.run(program(master))


def test_a_running_task_and_a_future_by_its_id(run: Run) -> None:
    """`running` asks the master; a task that the master does not know is TaskUnknown."""
    state = MasterState(never)

    async def program(master: FakeMaster) -> None:
        async with client_of(master) as client:
            future = await client.submit(double, 1)
            task_id = await future.accepted()
            state.running.add(1 << 40 | 1)
            assert await future.running()
            assert "running" in repr(future)
            same = await client.future(task_id)
            state.end(1 << 40 | 1, SUCCEEDED, pickle.dumps(77))
            assert (await same, await future) == (77, 77)
            with pytest.raises(distq.TaskUnknown):
                await client.result("1-99")
            with pytest.raises(ValueError, match="a task id is"):
                await client.future("nonsense")

    with serving(state) as master:
        run(program(master))


def test_the_eager_mode_has_no_asyncio_client() -> None:
    """The error says what to use."""
    with distq.testing.eager(), pytest.raises(RuntimeError, match=r"Use distq\.testing\.cluster"):
        distq.AsyncClient()


class ClosingConnection:
    """A connection whose transport is being closed, and whose loss is not known yet."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.sends_split = False

    def ask(self, *_: object) -> None:
        """Refuse the call."""
        raise distq.ConnectionLost("it is being closed")


def test_a_call_on_a_connection_that_is_being_closed_is_kept_for_the_next_one() -> None:
    """The steps go on with the answer that the next connection brings."""

    async def program() -> bool:
        link = MasterLink(cast("Any", None), cast("Any", None), lambda _: None, lambda _: None)
        link._connection = cast("Any", ClosingConnection())
        link.start(submitted((1,), 0.0), lambda _result, _error: None)
        return link.is_busy

    assert asyncio.run(program())
