"""What an executor has to settle: outcomes, progress, checkpoints and stream parts, and how much one frame holds.

Both kinds of executor keep their settlements here. A settlement that no frame holds becomes a final failure that says
so, alone: the settlements beside it arrive.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from distq.core.constraints import Headers, trace_id_of
from distq.core.errors import DistqError
from distq.core.outcome import Outcome
from distq.core.task_ids import id_text
from distq.protocol.exchange import SETTLEMENT_BODY, LeasedEnvelope, LeasedTask, LeaseReply, Settlement
from distq.protocol.hello import Greeting
from distq.tasks.failure import ResultNotSent, cause_of, pack_failure
from distq.wire.framing import PART_BYTES_MIN
from distq.wire.messages import beside
from distq.worker.executor.exchange import ANSWER_S, WAIT_S, lease_id_of, released, settlement_of
from distq.worker.executor.unaccepted_submits import ACCEPT_S, KEPT_MAX, POLL_S, KeptSettlements, Submits
from distq.worker.shared.clock import MONOTONIC
from distq.worker.shared.reports import Failed, Reporter, Succeeded, Trouble

if TYPE_CHECKING:
    from distq.worker.executor.handler import RunOutcome
    from distq.worker.executor.recycling import RecyclePolicy
    from distq.worker.executor.seals import ExecutorSeals
    from distq.worker.executor.shutdown import ShutdownFlag
    from distq.worker.shared.clock import Clock
    from distq.worker.shared.executor_config import ExecutorConfig
    from distq.worker.shared.lease_id import LeaseId
    from distq.worker.shared.page import ExecutorPage

FLUSH_BYTES: Final = 4 << 20
"""Bytes of settlements after which they are sent, and that one exchange carries if each alone is smaller."""
ROW_BYTES: Final = 128
"""Maximum bytes of a settlement in a frame besides its body and its text."""
CALL_BYTES: Final = 1024
"""Maximum bytes of a frame besides its settlements."""
CHAR_BYTES_MAX: Final = 4

FAILURES: Final = (Outcome.FAILURE, Outcome.TIMEOUT)
WITH_BODIES: Final = (Outcome.SUCCESS, Outcome.PART, Outcome.CHECKPOINT, Outcome.FATAL, *FAILURES)
"""Outcomes that a failure can replace; a settlement with another outcome has no body that could be refused."""
NOT_BEGUN: Final = (Outcome.UNKNOWN, Outcome.SNOOZED, Outcome.RELEASED)
"""Outcomes of tasks that the worker counts as released."""


class MasterTooOld(DistqError):
    """The master's version does not know what the task needs."""

    code = "MASTER_TOO_OLD"
    hint = "Upgrade the master before the workers."


class Settlements:
    """The settlements of one executor that the master has not confirmed yet, the oldest first."""

    def __init__(
        self,
        config: ExecutorConfig,
        page: ExecutorPage,
        reporter: Reporter,
        recycling: RecyclePolicy,
        clock: Clock = MONOTONIC,
        seals: ExecutorSeals | None = None,
    ) -> None:
        self.seals = seals
        """Signs and encrypts outcomes; None in a worker without keys."""
        self.rows: list[Settlement] = []
        """The thread of a task may append without a lock; only the holder of the connection removes, at the front."""
        self.kept = KeptSettlements(clock, lambda why: reporter.send(Trouble(why)))
        """Settlements that are not in `rows` yet, because submits of their tasks were not answered."""
        self.size_bytes = 0
        """Bytes of the bodies that are not sent yet."""
        self.takes_notes = False
        """Whether the master takes progress and checkpoints: one of the release before refuses the whole exchange."""
        self._page = page
        self._reporter = reporter
        self._recycling = recycling
        self._verbose = config.verbose
        self._sends_split = False
        """Whether the master reads split frames."""
        self._own_frame_bytes_max = self._frame_bytes_max = config.frame_bytes_max
        self._is_limit_known = False
        """Whether the master has named its limit of a frame; until then it is taken to be the worker's own."""
        self._count_max: float = math.inf
        """Maximum settlements of one exchange; lowered after the master has refused several together."""
        self._refused: tuple[int, ...] = ()
        """The lease whose settlement the master refused alone; its replacement is sent once."""

    def greeted(self, greeting: Greeting) -> None:
        """Take the abilities and limits of a master from its greeting; older masters name fewer."""
        limit_bytes = greeting.frame_bytes_max
        self._is_limit_known = limit_bytes is not None
        self._frame_bytes_max = self._own_frame_bytes_max if limit_bytes is None else limit_bytes
        self.takes_notes = bool(greeting.notes)
        self._sends_split = bool(greeting.split)

    @property
    def held(self) -> list[LeaseId]:
        """The leases that these settlements belong to."""
        return [lease_id_of(row) for row in (*self.rows, *self.kept.settlements)]

    def __bool__(self) -> bool:
        """Whether there is a settlement that the master has not confirmed."""
        return bool(self.rows or self.kept)

    # -- adding --------------------------------------------------------------------------------------

    def add_outcome(
        self,
        row: LeasedTask,
        envelope: LeasedEnvelope,
        headers: Headers,
        outcome: RunOutcome,
        run_s: float,
        submits: Submits | None = None,
    ) -> None:
        """Settle the lease of a task whose run has ended, once its `submits` were answered; count and report it."""
        settlement = settlement_of(row, outcome, run_s)
        if self.seals is not None:
            settlement = self.seals.sealed(settlement)
        if not submits or not self.kept.keep(settlement, submits):
            self.rows.append(settlement)
            self.size_bytes += len(settlement[3] or b"")
        self._recycling.tasks_left -= outcome.outcome != Outcome.UNKNOWN
        if outcome.outcome in NOT_BEGUN:
            self._page.count_released(1)
        elif outcome.outcome in (Outcome.SUCCESS, Outcome.DISCARDED):
            self._page.count_ended(1, 0, run_s)
            self.report_success(row, envelope, headers, run_s)
        else:
            self._page.count_ended(0, 1, run_s)
            # The text of an encrypted task is in no log either.
            text = outcome.text if self.seals is None else settlement[5]
            self._reporter.send(Failed(id_text(row[0]), envelope[1], row[2], text, trace_id_of(headers)))

    def report_success(self, row: LeasedTask, envelope: LeasedEnvelope, headers: Headers, run_s: float) -> None:
        """Report a task that has succeeded, if the supervisor logs these."""
        if self._verbose:
            self._reporter.send(Succeeded(id_text(row[0]), envelope[1], row[2], run_s, trace_id_of(headers)))

    def release(self, lease_ids: Iterable[LeaseId]) -> None:
        """Hand tasks back that have not begun."""
        rows = released(lease_ids)
        if self.seals is not None:
            for row in rows:
                self.seals.forget(row[0])
        self._page.count_released(len(rows))
        self.rows += rows

    def opened(self, reply: LeaseReply) -> Sequence[LeasedTask]:
        """The leased tasks of a reply, with opened payloads in a worker that has keys."""
        seals = self.seals
        return reply.rows if seals is None else [seals.opened(row, reply) for row in reply.rows]

    def opened_cursor(self, task_key: int, cursor: bytes | None) -> bytes | None:
        """The checkpoint of an earlier attempt; raises SealRefused."""
        return cursor if self.seals is None else self.seals.opened_cursor(task_key, cursor)

    def add_note(self, lease_id: LeaseId, notes: dict[int, Settlement], outcome: int, body: bytes) -> bool:
        """Take what a task sends while it runs; False if the master does not take it.

        Every part of a stream is kept. Of progress and checkpoints the newest is kept in `notes`, by outcome.

        Raises:
            MasterTooOld: the task streams, and the master takes no parts.
        """
        if not self.takes_notes:
            if outcome == Outcome.PART:
                raise MasterTooOld("the master takes no parts of streams.")
            return False
        row: Settlement = (*lease_id, outcome, body, 0.0, "")
        if self.seals is not None:
            row = self.seals.sealed(row)
        if outcome == Outcome.PART:
            self.rows.append(row)
            self.size_bytes += len(row[3] or b"")
        else:
            notes[outcome] = row
        return True

    def take_notes(self, notes: dict[int, Settlement]) -> None:
        """Send the newest progress and checkpoint of a task with the next exchange."""
        while notes:
            with suppress(KeyError):  # another thread may take it at the same time
                self.rows.append(notes.popitem()[1])

    @property
    def flush_bytes(self) -> int:
        """Bytes of settlements after which they are sent."""
        return min(FLUSH_BYTES, self._frame_bytes_max // 2)

    def wait_for_room(self, clock: Clock, shutdown: ShutdownFlag, pause_s: float) -> None:
        """Keep a task waiting that streams faster than the master takes the parts, for at most `ANSWER_S`."""
        until_at = clock() + ANSWER_S
        while self.size_bytes >= self.flush_bytes and clock() < until_at and not shutdown.is_set:
            time.sleep(pause_s)

    # -- sending -------------------------------------------------------------------------------------

    def take_accepted(self, wait_s: float = ACCEPT_S, *, last: bool = False) -> None:
        """Make those settlements ready to send whose tasks' submits were answered; waits up to `wait_s` for answers.

        With `last`, the others become ready too.
        """
        if self.kept:
            before_bytes = self.kept.size_bytes
            self.rows += self.kept.take(wait_s, last=last)
            self.size_bytes += before_bytes - self.kept.size_bytes

    def ask_for(self, want: int) -> tuple[int, float]:
        """How many of the `want` tasks to ask for, and for how many seconds the master may keep the exchange."""
        if not self.kept:
            return want, WAIT_S
        if len(self.kept) >= KEPT_MAX or self.kept.size_bytes >= FLUSH_BYTES:
            return 0, 0.0
        return want, POLL_S

    def fit(self, begin: int = 0) -> int:
        """How many settlements, from index `begin` on, go into the next exchange; at least one, if there is one.

        A settlement that is too large for any frame is replaced where it stands.
        """
        rows = self.rows
        limit_bytes = self._frame_bytes_max - CALL_BYTES
        room_bytes = min(limit_bytes, FLUSH_BYTES)
        if begin == 0:  # nearly always all fit, which this finds out at a third of the cost
            sizes = [ROW_BYTES + len(row[3] or b"") + CHAR_BYTES_MAX * len(row[5]) for row in rows]
            if len(sizes) <= self._count_max and sum(sizes) <= room_bytes:
                return len(sizes)
        count = size_bytes = 0
        for index in range(begin, len(rows)):
            row_bytes = _bytes_of(rows[index])
            if row_bytes > limit_bytes and self._is_limit_known:
                rows[index] = row = self._shortened(rows[index], self._too_large(rows[index]))
                row_bytes = _bytes_of(row)
            size_bytes += row_bytes
            if count and (size_bytes > room_bytes or count >= self._count_max):
                break
            count += 1
        return count

    def packed(self, begin: int, end: int) -> Sequence[tuple[Any, ...]]:
        """The settlements of an exchange as it carries them: large bodies travel beside its pickle."""
        rows = self.rows[begin:end]
        return beside(rows, SETTLEMENT_BODY) if self._sends_split and self.size_bytes >= PART_BYTES_MIN else rows

    def confirmed(self, count: int) -> None:
        """Forget the first `count` settlements: the master has taken them."""
        self._count_max, self._refused = math.inf, ()
        del self.rows[:count]
        if not self.rows:
            self.size_bytes = 0

    def refused(self, count: int, error: Exception) -> None:
        """Send half of the first `count` settlements next time: the master has refused them together.

        One that is refused alone becomes a failure that says so. If the master refuses that too, it is dropped:
        otherwise it would be sent for ever, and with it all those behind it.
        """
        self._count_max = max(count // 2, 1)
        if count != 1:
            return
        row = self.rows[0]
        if self._refused == row[:2]:
            self._reporter.send(Trouble(f"The master refused the outcome of task {id_text(row[0])}: {error}"))
            del self.rows[:1]
            return
        self._refused = row[:2]
        if row[2] in WITH_BODIES:
            self.rows[0] = self._shortened(row, f"was refused by the master: {str(error).rstrip('.')}")

    def _too_large(self, row: Settlement) -> str:
        return (
            f"has {len(row[3] or b''):,} bytes, and the master takes {self._frame_bytes_max:,} in one frame: "
            "raise its DISTQ_FRAME_BYTES_MAX"
        )

    def _shortened(self, row: Settlement, why: str) -> Settlement:
        """A failure in the place of a settlement that cannot be sent; final, unless the task had failed anyway."""
        error = ResultNotSent(why)
        outcome = row[2] if row[2] in FAILURES else Outcome.FATAL
        self._reporter.send(Trouble(f"Task {id_text(row[0])}: {error}"))
        return row[0], row[1], outcome, pack_failure(error), row[4], cause_of(error), *row[6:]


def _bytes_of(row: Sequence[Any]) -> int:
    return ROW_BYTES + len(row[3] or b"") + CHAR_BYTES_MAX * len(row[5])
