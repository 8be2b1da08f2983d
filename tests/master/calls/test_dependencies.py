"""Dependencies on the wire: what a submit may contain, and what executors and clients receive."""

from typing import Any

from tests.master.bench import DEFAULTS, WAITING, Bench, failed, on_bench

from distq.core.states import CANCELLED, DEAD, SUCCEEDED
from distq.master.calls.dependencies import ENDS_PER_REPLY
from distq.wire.errors import RemoteRefusal


def after(first: int, size: int, policy: str = "fail", *, single: bool = False) -> tuple[Any, ...]:
    """The constraints of a task with dependencies."""
    return None, None, None, None, "reject", (first, size, policy, single)


def done(row: Any, body: bytes) -> tuple[Any, ...]:
    """The settle of a leased row: success."""
    return row[0], row[1], 0, body, 0.1, ""


def peers(bench: Bench) -> tuple[Any, Any]:
    """A client, and an executor of a worker that runs all tasks."""
    bench.worker()
    return bench.client(), bench.executor()


async def submit(bench: Bench, connection: Any, number: int, *runs: tuple[int, Any], queue: str = "q") -> Any:
    """Submit tasks, a number of them for each pair of number and constraints."""
    rows = [(0, size, None, constraints) for size, constraints in runs]
    bodies = [b"%d" % index for index in range(sum(size for size, _ in runs))]
    return await bench.ask(connection, "broker", "submit", number, [(queue, "f")], rows, bodies, 0.0)


@on_bench()
async def test_a_callback_is_leased_with_the_number_of_its_dependencies(bench: Bench) -> None:
    """The executor that leases the callback can read the results of its dependencies in order."""
    client, executor = peers(bench)
    _, first = await submit(bench, client, 1, (3, None), (1, after(0, 3)))
    rows = await bench.exchange(executor, want=10)
    assert [row[0] for row in rows] == [first, first + 1, first + 2]
    answers = [done(row, b"r%d" % index) for index, row in enumerate(rows)]
    answer = await bench.ask(executor, "broker", "exchange", answers, 10, 0.0)
    (callback,) = answer[1]
    assert answer[2:] == ({}, {first + 3: (3, False)})
    ends = await bench.ask(executor, "broker", "before", callback[0], callback[1], 1)
    assert ends == [(True, b"r1", []), (True, b"r2", [])]


@on_bench()
async def test_a_client_receives_the_end_of_the_last_task_only(bench: Bench) -> None:
    """The results of its dependencies go only to the executor that runs it."""
    client, executor = peers(bench)
    collector = bench.client()
    _, first = await submit(bench, client, 1, (1, None), (1, after(0, 1, single=True)))
    bench.call(collector, "broker", "results", 0, 60.0)
    await bench.exchange(executor, [done(row, b"r") for row in await bench.exchange(executor)])
    rows = bench.rows(executor)
    assert collector.answer() is WAITING
    await bench.exchange(executor, [done(rows[0], b"last")])
    assert collector.answer()[1] == [(first + 1, SUCCEEDED, b"last", None)]


@on_bench()
async def test_an_executor_reads_the_error_of_a_failed_dependency(bench: Bench) -> None:
    """The reply has the error alone, although the body of the dead letter has the arguments too."""
    client, executor = peers(bench)
    _, first = await submit(bench, client, 1, (2, None), (1, after(0, 2, "run")))
    one, two = await bench.exchange(executor, want=2)
    await bench.ask(client, "broker", "cancel", [two[0]], True)
    (callback,) = await bench.exchange(executor, [failed(one, outcome=3)], want=1)
    ends = await bench.ask(executor, "broker", "before", callback[0], callback[1], 0)
    assert [(good, causes) for good, _, causes in ends] == [(False, [ends[0][2][0]]), (False, ["by its client"])]
    executor = bench.connection("executor")
    holds = [(callback[0], callback[1])]
    bench.hello(executor, "executor", "w", index=1, holds=holds, states=True)
    ends = await bench.ask(executor, "broker", "before", callback[0], callback[1], 0)
    assert [(good, state) for good, _, _, state in ends] == [(False, DEAD), (False, CANCELLED)]
    assert callback[0] == first + 2


@on_bench(defaults=DEFAULTS._replace(capacity=10_000))
async def test_the_results_of_many_dependencies_come_in_several_replies(bench: Bench) -> None:
    """Each reply fits a frame, whatever the number of results."""
    client, executor = peers(bench)
    size = 2 * ENDS_PER_REPLY + 1
    await submit(bench, client, 1, (size, None), (1, after(0, size)))
    rows = await bench.exchange(executor, want=10_000)
    (callback,) = await bench.exchange(executor, [done(row, b"r") for row in rows])
    counts: list[int] = []
    while sum(counts) < size:
        ends = await bench.ask(executor, "broker", "before", callback[0], callback[1], sum(counts))
        counts.append(len(ends))
    assert counts == [ENDS_PER_REPLY, ENDS_PER_REPLY, 1]


@on_bench(defaults=DEFAULTS._replace(payload_bytes_max=3 << 20))
async def test_a_reply_has_as_many_large_results_as_fit(bench: Bench) -> None:
    """The executor asks again for the results that did not fit."""
    client, executor = peers(bench)
    await submit(bench, client, 1, (5, None), (1, after(0, 5)))
    rows = await bench.exchange(executor, want=5)
    large = b"x" * (3 << 20)
    (callback,) = await bench.exchange(executor, [done(row, large) for row in rows], want=1)
    ends = await bench.ask(executor, "broker", "before", callback[0], callback[1], 0)
    assert [body for _, body, _ in ends] == [large, large]
    ends = await bench.ask(executor, "broker", "before", callback[0], callback[1], 4)
    assert len(ends) == 1


@on_bench()
async def test_the_client_of_the_last_task_receives_the_failure_of_a_dependency(bench: Bench) -> None:
    """The cause names the dependency that failed, over any number of stages."""
    client, executor = peers(bench)
    _, first = await submit(bench, client, 1, (1, None), (1, after(0, 1)), (1, after(1, 1)))
    bench.call(client, "broker", "results", 0, 60.0)
    (row,) = await bench.exchange(executor)
    await bench.exchange(executor, [failed(row, outcome=3)])
    await bench.advance(0.0)
    ((key, state, body, causes),) = client.answer()[1]
    assert (key, state) == (first + 2, DEAD)
    assert causes[0].startswith(f"TaskBefore: 1-2 has failed: TaskBefore: 1-{first & 0xFF:x} has failed: ")
    assert b"has failed" in body


REFUSED: list[tuple[list[tuple[int, Any]], str]] = [
    ([(1, None), (1, after(0, 2))], "before it in the same submit"),
    ([(1, after(0, 1))], "before it in the same submit"),
    ([(2, None), (1, after(-1, 1))], "before it in the same submit"),
    ([(2, None), (1, after(0, 2, single=True))], "a single dependency is 1 task"),
    ([(1, None), (1, after(0, 1, "perhaps"))], "fail, cancel, run"),
    ([(1, None), (1, (*after(0, 1)[:5], (0, "1", "fail", False)))], "(index, number of tasks"),
    ([(1, None), (1, (*after(0, 1)[:5], (0, 1, ["fail"], False)))], "fail, cancel, run"),
    ([(1, None), (1, (*after(0, 1)[:5], 7))], "submit"),
    ([(1, (None, None, "x", None, "reject")), (1, after(0, 1))], "has no unique key"),
]


@on_bench()
async def test_a_submit_with_impossible_dependencies_is_refused_whole(bench: Bench) -> None:
    """The master answers with an error and accepts no task of the submit."""
    client = bench.client()
    for number, (runs, explanation) in enumerate(REFUSED, 1):
        answer = await submit(bench, client, number, *runs)
        assert isinstance(answer, RemoteRefusal), answer
        assert explanation in str(answer)
    assert bench.counts("q") == {}


@on_bench()
async def test_only_the_holder_of_a_task_can_read_the_results_of_its_dependencies(bench: Bench) -> None:
    """The master also refuses a request for a task without dependencies, and a request of wrong values."""
    client, executor = peers(bench)
    _, first = await submit(bench, client, 1, (2, None))
    (row,) = await bench.exchange(executor)
    for args, explanation in [
        ((row[0], row[1], 0), "has no dependencies"),
        ((first + 1, 1, 0), "not leased by that delivery"),
        ((first + 9, 1, 0), "not leased by that delivery"),
        ((row[0], row[1]), "three whole numbers"),
        ((row[0], row[1], -1), "three whole numbers"),
    ]:
        answer = await bench.ask(executor, "broker", "before", *args)
        assert isinstance(answer, RemoteRefusal), answer
        assert explanation in str(answer)
    answer = await bench.ask(client, "broker", "before", row[0], row[1], 0)
    assert "before() is for executors" in str(answer)
