"""A task that waits for a task: refused where no slot can become free for that one, and nowhere else."""

from tests.master.bench import Bench, on_bench

from distq.core.task_ids import id_text


async def full(bench: Bench, slots: int = 2) -> tuple[list[int], int]:
    """A worker whose slots are all taken: the keys of what it runs, and the key of a task that waits."""
    await bench.submit(bench.client(), 1, [b"x"] * (slots + 1))
    bench.worker(slots=slots)
    lines = [bench.executor(index) for index in range(1, slots + 1)]
    keys = [(await bench.exchange(line))[0][0] for line in lines]
    (inner,) = [key for key in bench.ledger.state.tasks if key not in keys]
    return keys, inner


async def ask(bench: Bench, outer: int, inner: int) -> str:
    """What the master says to a task that waits for another."""
    told = await bench.admin("wait", task=id_text(outer), other=id_text(inner))
    return str(told["why"])


@on_bench()
async def test_of_those_that_wait_on_all_slots_one_is_refused(bench: Bench) -> None:
    """The last to say so; then the others wait for what its slot will serve."""
    (first, second), inner = await full(bench)
    assert await ask(bench, first, inner) == ""
    why = await ask(bench, second, inner)
    assert f"task {id_text(inner)}, which cannot begin: all 2 slots" in why
    assert await ask(bench, first, inner) == ""


@on_bench()
async def test_a_wait_that_can_end_is_not_refused(bench: Bench) -> None:
    """A slot is free; another task runs there; the queue is paused; what was said is old; the inner task has ended."""
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
