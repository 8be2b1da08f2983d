"""A task that waits for a task: the master refuses this only if no slot can become free for the other task."""

from tests.master.bench import Bench, on_bench

from distq.core.task_ids import id_text


async def full(bench: Bench, slots: int = 2) -> tuple[list[int], int]:
    """Have a worker take all its slots; return the keys of its tasks and the key of a waiting task."""
    await bench.submit(bench.client(), 1, [b"x"] * (slots + 1))
    bench.worker(slots=slots)
    connections = [bench.executor(index) for index in range(1, slots + 1)]
    keys = [(await bench.exchange(connection))[0][0] for connection in connections]
    (inner,) = [key for key in bench.ledger.state.tasks if key not in keys]
    return keys, inner


async def ask(bench: Bench, outer: int, inner: int) -> str:
    """Return the master's reply to a task that waits for another."""
    reply = await bench.admin("wait", task=id_text(outer), other=id_text(inner))
    return str(reply["why"])


@on_bench()
async def test_the_last_of_the_tasks_that_wait_on_all_slots_is_refused(bench: Bench) -> None:
    """The master refuses the last one; the others wait for tasks that can use its slot."""
    (first, second), inner = await full(bench)
    assert await ask(bench, first, inner) == ""
    explanation = await ask(bench, second, inner)
    assert f"task {id_text(inner)}, which cannot begin: tasks that wait for tasks hold 2 slots" in explanation
    assert await ask(bench, first, inner) == ""


@on_bench()
async def test_a_wait_that_can_end_is_not_refused(bench: Bench) -> None:
    """A slot is free, another task runs there, the queue is paused, the report is old, or the inner task has ended."""
    (first, second), inner = await full(bench)
    await ask(bench, first, inner)
    await bench.admin("pause", queue="q")
    assert await ask(bench, second, inner) == ""
    await bench.admin("resume", queue="q")
    await bench.advance(7.0)
    assert await ask(bench, second, inner) == ""
    assert await ask(bench, 5, inner) == ""
    assert await ask(bench, second, first) == ""
    bench.worker("other", slots=1)
    bench.executor(1, "other")
    assert await ask(bench, first, inner) == ""
