"""`exchange`: the only lease and the only settle of executors, in one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distq.core.queue import Queue
from distq.core.task import OUTCOME_NAMES, PLAIN, Envelope, Outcome, Task
from distq.master.requests import Lose, Take
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.master.broker import Broker
    from distq.master.workers import Executor
    from distq.net.serve import Line

WANT_MAX: Final = 10_000
NO_TASKS: Final = returned(([], []))

Settled = tuple[int, int, int, bytes | None, float, str]
"""Key, delivery, outcome, body, seconds that it ran, cause of a failure."""


class Exchange(Take):
    """Settle these, then lease up to so many or wait until there is one."""

    __slots__ = ("executor", "results", "settled", "wait_s")

    def __init__(
        self, line: Line, executor: Executor, settled: list[Settled], want: int, wait_s: float, results: ResultQueues
    ) -> None:
        super().__init__(line, executor, want)
        self.executor = executor
        self.settled = settled
        self.wait_s = wait_s
        self.results = results

    def wanted(self, name: str) -> bool:  # noqa: D102 - as Take
        return self.executor.session.wanted(name)

    def decide(self, broker: Broker, now: float) -> bool:  # noqa: D102 - as Request
        ledger = broker.ledger
        for done, (key, delivery, outcome, body, run_s, cause) in enumerate(self.settled):
            task = ledger.tasks.get(key)
            answers = None
            if task is not None and task.envelope.kind == PLAIN and outcome == Outcome.SUCCESS:
                answers = self.results.of(broker, task.envelope.queue.name)
                if answers.queue.room < 1:
                    # The return value would have no place: the executor waits, its lease is renewed meanwhile.
                    self.settled = self.settled[done:]
                    broker.park_for_room(self, answers.queue)
                    return False
            if outcome == Outcome.UNKNOWN and task is not None:
                self.executor.session.unknown.add(task.envelope.name)
            if not ledger.settle(key, delivery, outcome, body, run_s, cause):
                self.settled = self.settled[done:]
                return False
            if answers is not None and body is not None and ledger.succeeds(key):
                ledger.submit(answers, (body,), None, now)
        self.settled = []
        return True

    def answer(self, broker: Broker, now: float) -> None:  # noqa: D102
        if not self.line.open:
            return
        queues = self.executor.session.queues
        if self.want and broker.lease(self, queues, now):
            return
        if self.want and self.wait_s > 0:
            self.until = now + self.wait_s
            broker.park(self, queues)
        else:
            self.line.reply(NO_TASKS)

    def expire(self, broker: Broker, now: float) -> None:  # noqa: ARG002, D102
        self.line.reply(NO_TASKS)

    def give(self, broker: Broker, tasks: list[Task], now: float) -> None:  # noqa: ARG002, D102
        self.line.reply(leased(tasks))
        if not self.line.open:
            broker.ask(Lose(self.holder, "connection", "its connection was lost", running=0))


class ResultQueues:
    """Where the return values of plain handlers go, by work queue."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def of(self, broker: Broker, work: str) -> Envelope:
        """The envelope of plain items on the result queue of `work`."""
        return broker.ledger.names.envelope(self.names.get(work, "result"), PLAIN, PLAIN)


def leased(tasks: list[Task]) -> bytes:
    """The reply that hands tasks over: their envelopes once each, then (key, delivery, attempt, envelope, body)."""
    envelopes: dict[Envelope, int] = {}
    rows = [
        (task.id, task.delivery, task.attempt, envelopes.setdefault(task.envelope, len(envelopes)), task.body)
        for task in tasks
    ]
    table = [(one.queue.name, one.name, one.kind, one.time_limit_s) for one in envelopes]
    return returned((table, rows))


def read_exchange(args: tuple[Any, ...]) -> tuple[list[Settled], int, float]:
    """The arguments of an exchange, each checked; raises BadCall."""
    try:
        settled, want, wait_s = args
        rows = [_settled(*row) for row in settled]
        want, wait_s = int(want), float(wait_s)
    except (TypeError, ValueError) as exc:
        raise BadCall(f"exchange(settled, want, wait_s) was called with something else: {exc}.") from exc
    return rows, min(max(want, 0), WANT_MAX), wait_s


def _settled(key: int, delivery: int, outcome: int, body: bytes | None, run_s: float, cause: str = "") -> Settled:
    good = (
        type(key) is int
        and type(delivery) is int
        and type(outcome) is int
        and 0 <= outcome < len(OUTCOME_NAMES)
        and isinstance(cause, str)
    )
    if not good or not (body is None or type(body) is bytes) or not isinstance(run_s, float | int) or run_s < 0:
        raise TypeError("a settled entry is (key, delivery, outcome, body, run_s[, cause])")
    return key, delivery, outcome, body, float(run_s), cause[:200]


def queues_of(broker: Broker, names: object) -> tuple[Queue, ...] | None:
    """The queues that a worker names, None for all."""
    if not isinstance(names, list | tuple) or not names:
        return None
    return tuple(broker.ledger.names.queue(name) for name in names if isinstance(name, str))
