"""A hostile client and a hostile worker, with the key of another queue, change nothing of the others."""

import asyncio
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.fuzz.values import Source
from tests.master.bench import DEFAULTS, Bench

from distq.protocol import methods
from distq.protocol.authority import Authority
from distq.protocol.heartbeat import ExecutorEnd, WorkerReport, write_report

TASKS = 4
HOSTILE = Authority("hostile", ("submit", "work"), ("hostile",))


class HostilePeers(RuleBasedStateMachine):
    """An honest client waits for tasks that an honest worker runs, and others call what they like."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.bench = Bench(DEFAULTS._replace(capacity=100_000, tasks_max=100_000))
        self.runner.run(self._begin())
        self.before = self._honest()

    async def _begin(self) -> None:
        bench = self.bench
        await bench.open()
        self.client = bench.client("honest")
        bench.worker("honest worker", queues=["honest"])
        self.executor = bench.executor(1, "honest worker")
        answer = await bench.submit(self.client, 1, [b"%d" % number for number in range(2 * TASKS)], queue="honest")
        self.keys = range(answer[1], answer[1] + 2 * TASKS)
        self.rows = await bench.exchange(self.executor, want=TASKS)
        assert len(self.rows) == TASKS
        self.hostile = [bench.connection("hostile", HOSTILE) for _ in range(3)]
        client, worker, executor = self.hostile
        worker_fields: dict[str, Any] = {"pool": "default", "slots": 2, "tasks": True, "queues": ["hostile"]}
        for answer in (
            bench.hello(client, "client", "hostile"),
            bench.hello(worker, "worker", "hostile worker", **worker_fields),
            bench.hello(executor, "executor", "hostile worker", index=1),
        ):
            assert isinstance(answer, dict), answer

    def _honest(self) -> list[tuple[Any, ...]]:
        tasks = self.bench.ledger.state.tasks
        return [
            (key, task.state, task.delivery, task.holder and task.holder.label, task.failures, task.lost, task.body)
            for key in self.keys
            for task in (tasks[key],)
        ]

    def teardown(self) -> None:
        """End the event loop."""
        self.runner.close()

    @rule(
        peer=st.integers(0, 2),
        method=st.sampled_from(methods.METHODS),
        data=st.binary(max_size=200),
        count=st.integers(0, 6),
    )
    def call_anything(self, peer: int, method: str, data: bytes, count: int) -> None:
        """Call a method with any plain values."""
        source = Source(data)
        self._ask(peer, method, *(source.value() for _ in range(count)))

    @rule(
        task=st.integers(0, 2 * TASKS - 1),
        delivery=st.sampled_from([0, 1, -1, 2, 3, 1 << 31, 1 << 63, 10**30]),
        outcome=st.integers(-1, 11),
        cause=st.text(max_size=5),
    )
    def settle_tasks_of_others(self, task: int, delivery: int, outcome: int, cause: str) -> None:
        """Settle a task of the honest worker, with its own delivery or another."""
        self._ask(2, "exchange", [(self.keys[task], delivery, outcome, b"forged", 0.1, cause)], 0, 0.0)

    @rule(want=st.sampled_from([1, 10_000, 1 << 40, 10**30]))
    def lease_everything(self, want: int) -> None:
        """Ask for more tasks than there are."""
        self._ask(2, "exchange", [], want, 0.0)

    @rule(holds=st.lists(st.integers(0, 2 * TASKS - 1), max_size=4))
    def claim_leases_of_others(self, holds: list[int]) -> None:
        """Say hello as a worker that holds the honest worker's tasks."""
        claimed = [(1, self.keys[one], 1) for one in holds]
        for queues in (["hostile"], ["honest"], None):
            connection = self.bench.connection("claiming", HOSTILE)
            self.bench.hello(connection, "worker", "claiming worker", queues=queues, slots=2, tasks=True, holds=claimed)
            executor = self.bench.connection("claiming", HOSTILE)
            self.bench.hello(executor, "executor", "claiming worker", index=1, holds=[lease[1:] for lease in claimed])
        self.runner.run(self.bench.run_until_idle())

    @rule(
        task=st.integers(0, 2 * TASKS - 1),
        delivery=st.sampled_from([0, 1, 2, 10**30]),
        kind=st.sampled_from(["signal", "exit", "memory", "timeout", "hung", "?"]),
    )
    def report_leases_of_others(self, task: int, delivery: int, kind: str) -> None:
        """Report in a heartbeat that an executor died with the tasks of others, and hand these tasks back."""
        lease = (self.keys[task], delivery)
        for number in (1, 2, 10**30):
            end = ExecutorEnd(number, "forged", kind, lease, "stack", 3, [lease])
            report = WorkerReport(0, 10**30, 1, 1, draining=True, exited=[end], released=[lease], stacks=[(*lease, "")])
            self._ask(1, "heartbeat", write_report(report), 0.0)

    @rule(
        session=st.sampled_from(["", "hostile", "claiming", "x" * 10_000]),
        first=st.integers(0, 2 * TASKS - 1),
        number=st.sampled_from([0, 1, 2, -1, 1 << 63, 10**30]),
    )
    def ask_for_results_of_others(self, session: str, first: int, number: int) -> None:
        """Ask for, follow, watch, cancel and acknowledge tasks of others, in sessions that come and go."""
        connection = self.bench.connection("coming and going", HOSTILE)
        self.bench.hello(connection, "client", session)
        key = self.keys[first]
        for method, args in (
            ("results", (number, [key], 0.0)),
            ("results", ([key], 0.0)),
            ("watch", ([key],)),
            ("stream", (key, number, 0.0)),
            ("cancel", ([key], True)),
            ("running", ([key],)),
            ("stuck", ([key],)),
            ("before", (key, 1, 0)),
            ("goodbye", ()),
        ):
            self.bench.call(connection, "broker", method, *args)
            self.runner.run(self.bench.run_until_idle())

    @rule(
        count=st.sampled_from([0, 1, 1000, 1 << 31, 1 << 64]),
        queue=st.sampled_from(["hostile", "honest", "", "x" * 300]),
        first=st.sampled_from([0, 1, -1, 1 << 40]),
        number=st.sampled_from([-1, 0, 1, 2, 1 << 63]),
    )
    def submit_with_huge_counts(self, count: int, queue: str, first: int, number: int) -> None:
        """Submit tasks whose entries name more bodies, or other dependencies, than there are."""
        depends = (None, 0, None, None, (first, count, 0, False), ())
        for entry in ((0, count), (count, 1), (0, 1, depends), (0, 1, depends, count)):
            self._ask(0, "submit", number, [(queue, "f", 4, None)], [entry], [b"body"], 0.0)

    def _ask(self, peer: int, method: str, *args: Any) -> None:
        connection = self.hostile[peer]
        if connection.waits:
            return  # a real connection passes one call at a time
        self.bench.call(connection, "broker", method, *args)
        self.runner.run(self.bench.run_until_idle())

    @invariant()
    def nothing_of_the_others_has_changed(self) -> None:
        """Neither a state nor a lease, and the master had no error of its own."""
        assert self._honest() == self.before
        assert not any(self.bench.broker.guard.counts.values()), self.bench.broker.guard.counts


def test_hostile_peers_change_nothing_of_the_others() -> None:
    """Wrong deliveries, huge counts, leases of others and any values: the honest tasks stay with their worker."""
    settings = hypothesis.settings(max_examples=30, stateful_step_count=30, deadline=None, derandomize=True)
    run_state_machine_as_test(HostilePeers, settings=settings)
