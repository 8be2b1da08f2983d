"""The relay of an outbox: claims rows, submits each to the master with the row's unique key, and deletes it.

A relay may die, or lose its database or its master, between any two steps. A row that it had claimed is claimed again,
and submitted again with the same key: the master answers with the task that it has. It knows the key for `ONCE_S` after
the submit. A row whose first submit is longer ago and was not deleted is *in doubt*: the relay asks the master about
it, and if the master does not know it, leaves the decision to an operator.
"""

from __future__ import annotations

import dataclasses
import logging
import select
import time
import uuid
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Final, NamedTuple, Protocol

from distq.client.client import Client, facts_of_unique, settings_of, submit_encoded
from distq.client.future import TaskFuture
from distq.client.master_connection import is_connection_error
from distq.client.refusals import RefusedSubmit
from distq.contrib.outbox.rows import ONCE_S, OutboxRow, queue_of, submit_options_of
from distq.core.errors import DistqError, PayloadTooLarge
from distq.core.plurals import counted
from distq.core.ranges import shown
from distq.wire.errors import RemoteRefusal
from distq.worker.executor.shutdown import ShutdownFlag

BATCH_ROWS: Final = 500
"""Maximum rows in one claim."""
CLAIM_S: Final = 60.0
"""Seconds after which another relay may claim the rows of a relay that does not delete them."""
INTERVAL_S: Final = 1.0
"""Seconds between two looks at an empty table."""
INTERVAL_MIN_S: Final = 0.01
INTERVAL_MAX_S: Final = 86_400.0
"""The range of that pause: more looks would load the database, and poll(2) takes no more than 24 days."""
PAUSE_MAX_S: Final = 30.0
"""Maximum seconds between two attempts while the database or the master is away."""
REFUSED_MAX_S: Final = 300.0
"""Maximum seconds until a row that the master has refused is submitted again."""
CLIENT_ROWS: Final = 10_000
"""Rows after which the relay begins a new session: the master sends it the result of each task of the old one."""
ANSWER_S: Final = 0.2
"""Seconds between two looks at a request to end while the relay waits for the master's answers."""
ERROR_CHARS_MAX: Final = 1_000
REFUSALS: Final = (RefusedSubmit, PayloadTooLarge, TypeError, ValueError)
"""What a submit raises for a row that the client cannot send, because it is too large or was changed."""
ROOM_S: Final = 2.0
"""Maximum seconds for which a batch waits for room in a full queue, or for a master: other rows wait behind it."""

log = logging.getLogger("distq")

_now = time.time  # noqa: TID251 - the edge: instants in the table are those of the clock


def relay_client(address: str | None = None, authkey: str | bytes | None = None) -> Client:
    """A client for a relay, with the defaults of `distq.Client`."""
    settings = settings_of(address, authkey, None)
    short = dataclasses.replace(settings, connect_wait_s=min(settings.connect_wait_s, ROOM_S))
    return Client(settings=short, wait_at_exit=False)


def checked_interval_s(field: str, value: object) -> float:
    """The seconds between two looks at an empty table; raises TypeError or ValueError."""
    sentence = f"{field} is a number of seconds from {INTERVAL_MIN_S} to {INTERVAL_MAX_S:,.0f}, not {shown(value)}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(sentence)
    try:
        interval_s = float(value)
    except OverflowError as error:  # a whole number of hundreds of digits
        raise ValueError(sentence) from error
    if not INTERVAL_MIN_S <= interval_s <= INTERVAL_MAX_S:
        raise ValueError(sentence)
    return interval_s


class Postponed(NamedTuple):
    """A claimed row that stays in the table."""

    id: int
    due_at: float | None
    """Instant from which on a relay may claim it; None: not before an operator has decided."""
    attempted_at: float | None
    """Instant of the first submit that may have reached the master; None: none has."""
    error: str


class OutboxStore(Protocol):
    """The table of an outbox; each method is a transaction of its own, committed when it returns."""

    errors: tuple[type[Exception], ...]
    """What the methods raise while the database is away."""

    def claim(self, token: str, limit: int, now: float, until_at: float) -> list[OutboxRow]:
        """Claim the oldest rows that are due at `now`: no other relay claims them before `until_at`.

        Sets the first instant of a claim where there is none, and counts the claim.
        """
        ...

    def delete(self, ids: Sequence[int]) -> None:
        """Delete rows that the master has accepted."""
        ...

    def postpone(self, token: str, rows: Sequence[Postponed]) -> None:
        """Give rows back, unless another relay has claimed them meanwhile."""
        ...

    def decide(self, *, submit: bool) -> int:
        """Submit the rows in doubt again, or delete them; returns their number."""
        ...

    def count(self) -> tuple[int, int]:
        """The number of rows that wait, and of rows in doubt."""
        ...

    def close(self) -> None:
        """Give up the connection, which an error may have broken."""
        ...


class Relay:
    """Submits the rows of one outbox; several relays may share it."""

    def __init__(self, store: OutboxStore, make_client: Callable[[], Client], interval_s: float = INTERVAL_S) -> None:
        self._interval_s = checked_interval_s("interval_s", interval_s)
        self.stop = ShutdownFlag()
        """Set, also by a signal handler, to have `run` return after the rows that are on their way."""
        self._store = store
        self._transient: tuple[type[Exception], ...] = (*store.errors, DistqError)
        self._make_client = make_client
        self._client: Client | None = None
        self._client_rows = 0

    def run(self, *, once: bool = False) -> None:
        """Submit rows until `stop` is set; with `once`, until none is due.

        Raises:
            AuthenticationFailed and others: the master refuses the relay. Without a master or database `run` waits.
        """
        failures = 0
        try:
            while not self.stop.is_set:
                try:
                    count = self._submit_due()
                except self._transient as error:
                    if isinstance(error, DistqError) and not is_connection_error(error):
                        raise
                    log.warning("The relay of the outbox waits: %s", error)
                    self._store.close()
                    self._wait(min(self._interval_s * 2**failures, PAUSE_MAX_S))
                    failures = min(failures + 1, 10)
                    continue
                failures = 0
                if not count and once:
                    return
                if not count:
                    self._wait(self._interval_s)
        finally:
            self._end_session()
            self._store.close()

    def _submit_due(self) -> int:
        """Submit the rows that are due, at most BATCH_ROWS; returns how many this relay has claimed."""
        client = self._session()  # before the claim: without settings no row counts as submitted
        now, token = _now(), uuid.uuid4().hex
        rows = self._store.claim(token, BATCH_ROWS, now, now + CLAIM_S)
        if not rows:
            return 0
        self._client_rows += len(rows)
        accepted: list[int] = []
        postponed: list[Postponed] = []
        certain = [row for row in rows if row.attempted_at >= now - ONCE_S]
        error = self._submit(certain, now, client, accepted, postponed)
        for row in rows:
            if row.attempted_at < now - ONCE_S and error is None:
                error = self._look_for(client, row, accepted, postponed)
        if accepted:
            self._store.delete(accepted)
            log.debug("The relay of the outbox has submitted %s.", counted(len(accepted), "row"))
        if postponed:
            self._store.postpone(token, postponed)
        if error is not None:
            raise error
        return len(rows)

    def _submit(
        self, rows: Sequence[OutboxRow], now: float, client: Client, accepted: list[int], postponed: list[Postponed]
    ) -> DistqError | None:
        """Submit rows, and note what the master answers; returns the error if it cannot be reached."""
        futures: list[tuple[OutboxRow, TaskFuture[Any]]] = []
        unreached: DistqError | None = None
        for row in rows:
            if unreached is not None:
                postponed.append(Postponed(row.id, now, _attempted_before(row, now), str(unreached)))
                continue
            try:
                futures.append((row, submit_encoded(client, submit_options_of(row, now), row.body)))
            except REFUSALS as error:
                postponed.append(_refused(row, now, error))
            except DistqError as error:
                unreached = error
                postponed.append(Postponed(row.id, now, _attempted_before(row, now), str(error)))
        self._await_answers(client, [future for _, future in futures])
        for row, future in futures:
            reason = future.exception(0) if future.task_key is None and future.has_ended else None
            if future.task_key is not None:
                accepted.append(row.id)
            elif isinstance(reason, RefusedSubmit):
                postponed.append(_refused(row, now, reason))
            elif isinstance(reason, DistqError):  # the master may have the row: the next claim submits it again
                unreached = unreached or reason
        return unreached

    def _await_answers(self, client: Client, futures: Sequence[TaskFuture[Any]]) -> None:
        """Wait until the master has answered every submit, also while it is away; not after a request to end."""
        while any(future.task_key is None and not future.has_ended for future in futures):
            if client.flush(ANSWER_S) or self.stop.is_set:
                return

    def _look_for(
        self, client: Client, row: OutboxRow, accepted: list[int], postponed: list[Postponed]
    ) -> DistqError | None:
        """Ask the master about a row in doubt, which waits for an operator if the master does not know it.

        Returns the error if the master cannot be reached; the row is claimed again later then.
        """
        try:
            facts_of_unique(client, queue_of(row), row.key)
        except RemoteRefusal:
            error = (
                f"A relay submitted it {(_now() - row.attempted_at) / 3600:,.0f} hours ago and did not delete it. "
                "The master does not know it (any more), so its task may have run."
            )
            log.warning("Row %d of the outbox (key %s) is in doubt. %s", row.id, row.key, error)
            postponed.append(Postponed(row.id, None, row.attempted_at, error))
        except DistqError as unreached:
            return unreached
        else:
            accepted.append(row.id)
        return None

    def _session(self) -> Client:
        if self._client is not None and self._client_rows >= CLIENT_ROWS:
            self._end_session()
        if self._client is None:
            self._client, self._client_rows = self._make_client(), 0
        return self._client

    def _end_session(self) -> None:
        if self._client is not None:
            self._client.abandon()
            self._client = None

    def _wait(self, pause_s: float) -> None:
        poll = select.poll()
        poll.register(self.stop, select.POLLIN)
        poll.poll(pause_s * 1000)


def _attempted_before(row: OutboxRow, now: float) -> float | None:
    """The instant of an earlier submit that may have reached the master; None if the claim at `now` is the first."""
    return None if abs(row.attempted_at - now) < 0.001 else row.attempted_at


def _refused(row: OutboxRow, now: float, error: BaseException) -> Postponed:
    """What becomes of a row that the master has refused: it is submitted again later."""
    pause_s = min(2.0 ** min(row.attempts, 20), REFUSED_MAX_S)
    text = f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX]
    log.warning("Row %d of the outbox (key %s) is submitted again in %g s. %s", row.id, row.key, pause_s, text)
    return Postponed(row.id, now + pause_s, _attempted_before(row, now), text)
