"""`exchange`: the one call by which an executor settles tasks and leases others, in one round trip."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distq.core.constraints import NO_CONSTRAINTS
from distq.core.failure import pack_failure_text
from distq.core.head import NameTooLong, check_names
from distq.core.option_values import PLAIN
from distq.core.outcome import Outcome
from distq.core.queue import Queue
from distq.core.stream_parts import PARTS_MAX
from distq.core.task import Envelope, Task
from distq.master.calls.dependencies import upstream_of
from distq.master.calls.refused_settlements import RefusedSettlements
from distq.master.cycle.requests import LeaseRequest, Request
from distq.master.sessions.unknown_names import try_again_later
from distq.protocol.exchange import CheckedSettlement, write_lease_reply
from distq.wire.errors import BadCall
from distq.wire.messages import pack_returned, returned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.ports import CommitRefused
    from distq.master.cycle.requests import Cycle
    from distq.master.sessions.worker_session import ExecutorHolder
    from distq.net.serve import ServerConnection

PROGRESS_BYTES_MAX: Final = 3_000
"""Maximum bytes of a progress report; the master ignores a larger one."""
WHAT_IS_LARGE: Final = {Outcome.SUCCESS: "return value", Outcome.PART: "part", Outcome.CHECKPOINT: "cursor"}
"""Names of the bodies by outcome. If one is too large, its task fails; a too large error is replaced by a short one."""
TOO_MANY: Final = f"it streams more than {PARTS_MAX:,} parts"
TOO_MANY_PARTS: Final = pack_failure_text("TooManyParts", TOO_MANY)
NO_TASKS: Final = returned(([], []))


class ExchangeCall(LeaseRequest):
    """Settle `settled`, then lease at most `want` tasks; wait until there is one, or until the executor calls again."""

    __slots__ = (
        "executor",
        "limit",
        "noted",
        "only_ends",
        "refusals",
        "refused",
        "results",
        "settled",
        "stops",
        "wait_s",
    )
    may_come_back = True

    def __init__(
        self,
        connection: ServerConnection,
        executor: ExecutorHolder,
        settled: list[CheckedSettlement],
        want: int,
        wait_s: float,
        results: ResultQueues,
    ) -> None:
        super().__init__(connection, executor, want)
        self.executor = executor
        self.settled = settled
        self.wait_s = wait_s
        self.results = results
        self.stops: list[tuple[int, int]] = []
        """Key and delivery of each task that this cycle ends while it runs: its executor must stop it."""
        self.only_ends = True
        """Whether the request only ends tasks; False if it brings a plain item's value, a part or a cursor."""
        self.noted = 0
        """Number of entries of `settled` that the ledger has noted."""
        self.refusals = 0
        """Value of `Cycle.refusals` when the entries were noted; while it stays the same, the store has the entries."""
        self.limit = 0
        """Maximum entries that one commit gets, after the store has refused more of them; 0 for all."""
        self.refused: RefusedSettlements | None = None
        """The settlements that the store has refused alone; None for none."""

    def wanted(self, name: str) -> bool:  # noqa: D102 - as LeaseRequest
        return self.executor.session.wanted(name)

    def weight(self) -> tuple[int, int]:  # noqa: D102 - as Request
        return len(self.settled), sum(len(row[3] or b"") for row in self.settled)

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: D102 - as Request
        if self.noted:
            if self.refusals == cycle.refusals:
                del self.settled[: self.noted]
            self.noted = 0
        self.refusals = cycle.refusals
        limit = cycle.ledger.defaults.payload_bytes_max
        rows = self.settled[: self.limit] if self.limit else self.settled
        for row in rows:
            fits = row[3] is None or len(row[3]) <= limit
            noted = row if fits else _too_large(row, limit)
            if not self._settle(cycle, noted if self.refused is None else self.refused.replaced(noted), now):
                return False
            self.noted += 1
        return rows is self.settled or len(rows) == len(self.settled)

    def _settle(self, cycle: Cycle, settled: CheckedSettlement, now: float) -> bool:
        """Note one settlement; False if a later cycle must decide the request again."""
        task_key, delivery, outcome, body, run_s, cause, *_ = settled
        ledger = cycle.ledger
        if outcome == Outcome.PROGRESS:
            with suppress(ValueError, TypeError, RecursionError):
                ledger.note_progress(task_key, delivery, *_progress(body or b""))
            return True
        if outcome in (Outcome.CHECKPOINT, Outcome.PART):
            self.only_ends = False
            with suppress(ValueError):
                if not ledger.save_part(task_key, delivery, outcome, body or b""):
                    if not ledger.settle(task_key, delivery, Outcome.FATAL, TOO_MANY_PARTS, run_s, TOO_MANY):
                        return False
                    self.stops.append((task_key, delivery))
            return True
        task = ledger.state.tasks.get(task_key)
        answers = None
        if task is not None and task.envelope.kind == PLAIN and outcome == Outcome.SUCCESS:
            answers = self.results.of(cycle, task.envelope.queue.name)
            if answers.queue.room < 1:
                # The result queue has no room for the return value: the executor waits, its lease is renewed meanwhile.
                cycle.park_until_room(self, answers.queue)
                return False
        if outcome == Outcome.UNKNOWN and task is not None:
            try_again_later(cycle, self.executor.session.unknown, task.envelope.name, cause, now)
            task.envelope.queue.recheck_eligibility(task.envelope)
        if not ledger.settle(*settled):
            return False
        if answers is not None and body is not None and ledger.succeeds(task_key):
            self.only_ends = False
            ledger.submit(answers, (body,), None, now)
        return True

    def undo(self) -> None:  # noqa: D102 - as Request
        self.noted = 0

    def shift(self, by_s: float) -> None:  # noqa: D102 - as Request
        super().shift(by_s)
        if self.refused is not None:
            self.refused.shift(by_s)

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: D102 - as Request
        self.stops.clear()
        self.noted = 0
        if not self.settled:
            self.answer(cycle, now)
        elif exc.is_general:
            cycle.refused.ask_later(self, exc, now)  # the tasks have run: their outcomes must not be lost
        else:
            if self.refused is None:
                self.refused = RefusedSettlements()
            self.refused.add(self.settled[0][0], str(exc), now)
            self._ask_rest(cycle, now)

    def parts(self) -> Sequence[Request]:  # noqa: D102 - as Request
        if self.noted < 2:
            return ()
        self.limit = self.noted // 2
        return (self,)

    def refusal_of(self, task_key: int) -> str:  # noqa: D102 - as Request
        return "" if self.refused is None else self.refused.reason(task_key)

    def note_stored(self) -> None:  # noqa: D102 - as Request
        if self.refused is not None:
            self.refused.stored(self.settled[: self.noted])
        del self.settled[: self.noted]
        self.noted = 0
        self.limit *= 2

    def resume(self, cycle: Cycle, now: float) -> None:  # noqa: D102 - as Request
        if self.refused is None or not self.settled:
            cycle.refused.ask_now(self)
        else:
            self._ask_rest(cycle, now)

    def _ask_rest(self, cycle: Cycle, now: float) -> None:
        """Have the settlements decided that the store has not refused alone, or the refused one that is due next."""
        assert self.refused is not None
        self.settled, self.limit, at = self.refused.in_order(self.settled)
        if at <= now:
            cycle.refused.ask_now(self)
        else:
            cycle.refused.ask_suspect(self, self.refused.count(self.settled[0][0]), at)

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: D102
        settled, self.settled, self.noted = bool(self.settled), [], 0
        self.refused = None
        stops, self.stops = self.stops, []
        for task_key, delivery in stops:
            self.executor.session.stop(cycle, task_key, delivery)
        if not self.connection.open:
            return
        if self.executor.connection is not self.connection:
            # The executor's end was reported, its session has ended, or it uses another connection now: no peer
            # would renew or end a lease that this connection receives.
            self.connection.reply(NO_TASKS)
            return
        queues = self.executor.session.queues
        if self.want and cycle.lease(self, queues, now):
            return
        if self.until_at is None:
            self.until_at = now + self.wait_s
        patient = not self.connection.has_called_again and not (settled and cycle.draining)
        if self.want and self.until_at > now and patient:
            cycle.park(self, queues)
        else:
            self.connection.reply(NO_TASKS)

    def expire(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        self.connection.reply(NO_TASKS)

    def give(self, cycle: Cycle, tasks: list[Task], now: float) -> None:  # noqa: ARG002, D102
        ledger = cycle.ledger
        headers = {
            task.task_key: task.constraints.headers
            for task in tasks
            if task.constraints is not NO_CONSTRAINTS and task.constraints.headers
        }
        lease_bound = [task.task_key for task in tasks if task.lease_bound] if ledger.leasing.has_lease_bound else []
        answer = write_lease_reply(
            tasks,
            ledger.state.checkpoints.cursors,
            upstream_of(tasks, ledger.state.dependencies),
            headers,
            lease_bound,
            split=self.connection.reads_split,
        )
        self.connection.reply_parts(pack_returned(answer))


class ResultQueues:
    """The result queues for the return values of plain handlers, by work queue."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def of(self, cycle: Cycle, work: str) -> Envelope:
        """The envelope of plain items on the result queue of `work`."""
        return cycle.ledger.registry.envelope(self.names.get(work, "result"), PLAIN, PLAIN)


def _progress(report: bytes) -> tuple[float, str]:
    """Fraction and text of an executor's progress report; raises ValueError or TypeError for anything else."""
    if len(report) > PROGRESS_BYTES_MAX:
        raise ValueError
    fraction, text = json.loads(report)
    if not (type(fraction) is float and 0 <= fraction <= 1 and isinstance(text, str)):
        raise TypeError
    return fraction, text


def _too_large(settled: CheckedSettlement, limit: int) -> CheckedSettlement:
    """The failure that replaces a settlement whose body is larger than the limit."""
    task_key, delivery, outcome, body, run_s, *_ = settled
    what = WHAT_IS_LARGE.get(outcome, "error")
    text = f"its {what} has {len(body or b'')} bytes; the limit is {limit}"
    outcome = Outcome.FATAL if outcome in WHAT_IS_LARGE else outcome
    return task_key, delivery, outcome, pack_failure_text("PayloadTooLarge", text), run_s, text, None


def queues_of(cycle: Cycle, names: object) -> tuple[Queue[Task], ...] | None:
    """The queues that a worker names, None for all; raises BadCall if a name cannot be the name of a queue."""
    if not isinstance(names, list | tuple) or not names:
        return None
    try:
        for name in names:
            check_names(name, "")
    except (AttributeError, TypeError, UnicodeEncodeError, NameTooLong) as exc:
        raise BadCall(f"a worker's queues are a list of names: {exc}.") from exc
    return tuple(cycle.ledger.registry.queue(name) for name in names)
