"""An executor at distq's own master: one `exchange` settles what was run and leases what comes next."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final, cast

from distq.core.errors import DistqError
from distq.core.task import Outcome, text_of
from distq.net.dial import Connection
from distq.wire.errors import RemoteRefusal
from distq.worker.clock import Clock
from distq.worker.handler import Handler, failure, run_handler
from distq.worker.orders import Orders
from distq.worker.pace import Pace
from distq.worker.quit import Quit
from distq.worker.reports import Failed, Reporter, Succeeded, Trouble
from distq.worker.word import Word

WAIT_S: Final = 10.0
"""How long the master may keep an exchange for which there is no task."""
ANSWER_S: Final = 20.0
"""How much longer its answer may take, before the connection counts as lost."""
SETTLED_S: Final = 0.25
"""What was sent so long ago is taken as settled when this executor is to end: the master settles first and waits
for tasks then. Were it not so, the lease would end and the task run again; nothing is lost."""
FLUSH_S: Final = 0.05
"""Results of a batch do not wait longer than this for the batch to end."""
FLUSH_BYTES: Final = 4 << 20
RELEASE_S: Final = 0.15
"""A batch that takes three times as long as it was meant to is handed back: others may be free."""

Settled = tuple[int, int, int, bytes | None, float, str]
"""Task, delivery, outcome, body, seconds that it ran, and a failure's short text."""
Envelope = tuple[str, str, str, float | None]
Leased = tuple[int, int, int, int, bytes]


class Broker:
    """What one executor holds and owes, and its exchanges."""

    def __init__(
        self,
        orders: Orders,
        handler: Handler,
        word: Word,
        reporter: Reporter,
        quit_: Quit,
        lifeline_fd: int,
        clock: Clock,
    ) -> None:
        self._handler = handler
        self._word = word
        self._reporter = reporter
        self._quit = quit_
        self._lifeline_fd = lifeline_fd
        self._clock = clock
        self._verbose = orders.verbose
        self._result_bytes_max = orders.payload_bytes_max
        self._pace = Pace()
        self._settled: list[Settled] = []
        self._settled_bytes = 0
        self._pending: deque[Leased] = deque()
        self._envelopes: Sequence[Envelope] = ()
        self._refusals = 0
        self._asked_at = math.inf
        self._likely_settled = 0

    @property
    def owes(self) -> bool:
        """Whether there is something to settle of which the master has probably not heard."""
        return len(self._settled) > self._likely_settled

    @property
    def holds(self) -> list[tuple[int, int]]:
        """The deliveries for which this executor still has an answer."""
        return [(task_id, delivery) for task_id, delivery, *_ in self._settled]

    def serve(self, connection: Connection) -> None:
        """Exchange and run until told to end; then everything is settled."""
        while self._exchange(connection):
            self._work(connection)

    def parted(self) -> None:
        """The connection is gone: what has not begun goes back, because others may be connected."""
        if self._clock() - self._asked_at >= SETTLED_S:
            self._likely_settled = len(self._settled)
        self._asked_at = math.inf
        self._release()

    def _exchange(self, connection: Connection) -> bool:
        """Settle and lease; False when this executor is to end and owes nothing."""
        if self._quit.asked:
            self._settle(connection)
            return False
        self._asked_at = self._clock()
        connection.ask("broker", "exchange", (self._settled, self._pace.want, WAIT_S), timeout_s=ANSWER_S)
        in_time = connection.wait((self._quit, self._lifeline_fd), timeout_s=WAIT_S + ANSWER_S)
        if not in_time and self._quit.asked and not self._answers_soon(connection):
            self._settled = []
            return False  # whatever is on its way to us goes back when the supervisor reports our end
        self._answer(connection, ANSWER_S if in_time or self._quit.asked else 0.0)
        return True

    def _answers_soon(self, connection: Connection) -> bool:
        """Whether there is something to wait for, and it comes before what we sent can be taken as settled."""
        left_s = self._asked_at + SETTLED_S - self._clock()
        return bool(self._settled) and left_s > 0 and connection.wait((self._lifeline_fd,), timeout_s=left_s)

    def _settle(self, connection: Connection) -> None:
        if self._settled:
            self._asked_at = self._clock()
            connection.ask("broker", "exchange", (self._settled, 0, 0.0), timeout_s=ANSWER_S)
            self._answer(connection, ANSWER_S)

    def _answer(self, connection: Connection, timeout_s: float) -> None:
        try:
            reply = connection.answer(timeout_s=timeout_s)
        except RemoteRefusal as error:
            self._refused(error)
            raise
        self._refusals = self._likely_settled = 0
        self._settled = []
        self._settled_bytes = 0
        envelopes, leased = cast("tuple[Sequence[Envelope], Sequence[Leased]]", reply)
        if leased:
            self._envelopes = envelopes
            self._pending.extend(leased)
            self._pace.leased(len(leased))

    def _work(self, connection: Connection) -> None:
        """Run what was leased; what takes too long is answered for, or handed back, on the way."""
        pending, clock = self._pending, self._clock
        began = flushed = clock()
        while pending and not self._quit.asked:
            self._run(pending.popleft())
            now = clock()
            if pending and now - began >= RELEASE_S:
                break
            if pending and (now - flushed >= FLUSH_S or self._settled_bytes >= FLUSH_BYTES):
                self._settle(connection)
                flushed = now
        self._release()

    def _release(self) -> None:
        self._word.releases(len(self._pending))
        self._settled += [
            (task_id, delivery, Outcome.RELEASED, None, 0.0, "") for task_id, delivery, *_ in self._pending
        ]
        self._pending.clear()

    def _run(self, leased: Leased) -> None:
        task_id, delivery, attempt, envelope, payload = leased
        word, clock = self._word, self._clock
        word.starts(task_id, delivery)
        began = clock()
        outcome, body, text = run_handler(self._handler, payload, self._result_bytes_max)
        run_s = clock() - began
        failed = outcome != Outcome.SUCCESS
        word.ends(run_s, failed=failed)
        self._pace.ran(run_s)
        self._settled.append((task_id, delivery, outcome, body, run_s, text))
        self._settled_bytes += len(body)
        if failed:
            self._reporter.send(Failed(text_of(task_id), self._envelopes[envelope][1], attempt, text))
        elif self._verbose:
            self._reporter.send(Succeeded(text_of(task_id), self._envelopes[envelope][1], attempt, run_s))

    def _refused(self, error: RemoteRefusal) -> None:
        """The master does not take our answers: first they become failures that say so, then they are dropped.

        Otherwise one result that it can never take would be sent for ever, and all others with it.
        """
        self._refusals += 1
        if self._refusals > 1:
            self._reporter.send(Trouble(f"The master refused the answers to {len(self._settled)} tasks: {error}"))
            self._settled = []
            return
        refused = failure(DistqError(f"the master refused the result: {error}"))
        self._settled = [
            (task_id, delivery, refused.outcome, refused.body, run_s, refused.text)
            if outcome == Outcome.SUCCESS
            else (task_id, delivery, outcome, body, run_s, text)
            for task_id, delivery, outcome, body, run_s, text in self._settled
        ]
