"""Between lease and reply: what stands in the way of a task that somebody was given.

The payload may be in the store alone. And where the task ends with its lease, the lease is stored first: a restarted
master must know that it runs, or more would run at once than may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core.payload_cache import how_many_fit
from distq.core.states import DEAD, LEASED, LIVE_STATES
from distq.master.cycle.payload_reads import Then, read_fitting, read_payloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.ports import CommitRefused
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle, LeaseRequest, Request

_WITH_PAYLOAD: Final = (*LIVE_STATES, DEAD)


class LeaseReplies:
    """What is leased and not handed over yet, and what else is to be read from the store."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._unstored: list[tuple[LeaseRequest, list[Task]]] = []
        """Leased tasks whose leases the next commit stores, and who waits for them."""
        self._bodiless: list[tuple[LeaseRequest | None, list[Task]]] = []
        """Leased tasks whose payloads are still to be read, and who waits for them."""
        self._reads: list[tuple[Request, Sequence[int], Then, int | None]] = []

    def give(self, take: LeaseRequest, tasks: list[Task], now: float) -> None:
        """Hand tasks over that were leased now, at once or when nothing stands in the way."""
        if self._cycle.ledger.leasing.unstored and any(task.lease_bound for task in tasks):
            self._unstored.append((take, tasks))
            self._cycle.wake()
        else:
            self._give_stored(take, tasks, now)

    def fetch(self, task: Task) -> None:
        """Have a task's payload in memory after the present or the next cycle."""
        self._bodiless.append((None, [task]))
        self._cycle.wake()

    def read(self, request: Request, keys: Sequence[int], then: Then, bytes_max: int | None) -> None:
        """Have the present or the next cycle read bodies from the store for a request, and hand them to `then`."""
        self._reads.append((request, keys, then, bytes_max))
        self._cycle.wake()

    async def committed(self, refused: CommitRefused | None, now: float) -> None:
        """The leases that waited for it are stored; if that was refused, nobody gets the tasks.

        Before anybody else is answered: answers on one connection must not overtake each other.
        """
        unstored, self._unstored = self._unstored, []
        for take, tasks in unstored:
            # Some may have been cancelled meanwhile, or whoever had leased them has gone.
            held = [task for task in tasks if task.state == LEASED and task.holder is take.holder]
            if refused is not None:
                self._cycle.ledger.leasing.take_back(held)
                held = []
            if held:
                self._give_stored(take, held, now)
            else:
                self._cycle.expire(take, now)
        if self._bodiless:
            await self.fetched(now)

    async def fetched(self, now: float) -> None:
        """Read what only the store has, and hand over what waits for it."""
        ledger, store = self._cycle.ledger, self._cycle.store
        gathered, self._bodiless = self._bodiless, []
        # What was only to be looked at may have ended meanwhile, and then there is nothing to read.
        looked_at = [task for take, tasks in gathered if take is None for task in tasks]
        await read_payloads(ledger, store, (one for one in looked_at if one.state in _WITH_PAYLOAD))
        for take, tasks in gathered:
            if take is not None:
                self._hand_over(take, tasks, await read_fitting(ledger, store, tasks, self._cycle.reply_bytes_max), now)
        reads, self._reads = self._reads, []
        for request, keys, then, bytes_max in reads:
            bodies = await store.read(keys, bytes_max)
            try:
                then(bodies)
            except Exception as exc:  # noqa: BLE001 - see guard
                self._cycle.guard.failed(request, exc, "read", now)

    @property
    def has_reads(self) -> bool:
        """Whether something is to be read from the store."""
        return bool(self._bodiless or self._reads)

    def _give_stored(self, take: LeaseRequest, tasks: list[Task], now: float) -> None:
        sizes = [-1 if task.body is None else len(task.body) for task in tasks]
        if min(sizes) < 0:
            self._bodiless.append((take, tasks))
        else:
            self._hand_over(take, tasks, how_many_fit(sizes, self._cycle.reply_bytes_max), now)

    def _hand_over(self, take: LeaseRequest, tasks: list[Task], fit: int, now: float) -> None:
        """Hand over the first of these tasks, whose payloads fit one reply; the others are ready again."""
        if fit < len(tasks):
            self._cycle.ledger.leasing.take_back(tasks[fit:])
            self._cycle.wake()
        given = tasks[:fit]
        try:
            take.give(self._cycle, given, now)
        except Exception as exc:  # noqa: BLE001 - see guard
            self._cycle.ledger.leasing.take_back([one for one in given if one.holder is take.holder])
            self._cycle.guard.failed(take, exc, "serve", now)
