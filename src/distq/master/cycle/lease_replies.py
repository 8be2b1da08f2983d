"""Replies with leased tasks, after their payloads have been read and their leases stored where that is needed.

The payload of a task may be in the store alone. The lease of a lease-bound task is stored before the reply: a restarted
master must know that the task runs, or more tasks than its concurrency limit allows would run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distq.core.payload_cache import how_many_fit
from distq.core.states import DEAD, LEASED, LIVE_STATES
from distq.master.cycle.payload_reads import ReadCallback, read_fitting, read_payloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distq.core.ports import CommitRefused
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle, LeaseRequest, Request

_WITH_PAYLOAD: Final = (*LIVE_STATES, DEAD)


class LeaseReplies:
    """Tasks that are leased and not sent yet, and bodies that requests have read from the store."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._unstored: list[tuple[LeaseRequest, list[Task]]] = []
        """Leased tasks whose leases the next commit stores, with the request that gets them."""
        self._unread: list[tuple[LeaseRequest | None, list[Task]]] = []
        """Tasks whose payloads are not read yet, with the request that gets them, or None if no request leased them."""
        self._reads: list[tuple[Request, Sequence[int], ReadCallback, int | None]] = []
        """Bodies that requests read from the store: the keys, the callback, the maximum bytes."""

    def give(self, request: LeaseRequest, tasks: list[Task], now: float) -> None:
        """Reply with tasks that were leased now: immediately, or after the commit and the read that they need."""
        if self._cycle.ledger.leasing.unstored and any(task.lease_bound for task in tasks):
            self._unstored.append((request, tasks))
            self._cycle.wake()
        else:
            self._give_committed(request, tasks, now)

    def fetch(self, task: Task) -> None:
        """Have the present or the next cycle read a task's payload into memory."""
        self._unread.append((None, [task]))
        self._cycle.wake()

    def read(self, request: Request, keys: Sequence[int], callback: ReadCallback, bytes_max: int | None) -> None:
        """Have the present or the next cycle read bodies from the store for a request, and pass them to `callback`."""
        self._reads.append((request, keys, callback, bytes_max))
        self._cycle.wake()

    async def committed(self, refused: CommitRefused | None, now: float) -> None:
        """Reply with the tasks whose leases the commit has stored; after a refusal, take the leases back.

        The cycle calls this before it answers other requests: replies on one connection must keep their order.
        """
        unstored, self._unstored = self._unstored, []
        for request, tasks in unstored:
            # During the commit a task may have been cancelled, or its holder may have gone.
            held = [task for task in tasks if task.state == LEASED and task.holder is request.holder]
            if refused is not None:
                self._cycle.ledger.leasing.take_back(held)
                held = []
            if held:
                self._give_committed(request, held, now)
            else:
                self._cycle.expire(request, now)
        if self._unread:
            await self.fetched(now)

    async def fetched(self, now: float) -> None:
        """Read the payloads and bodies that only the store has, and pass them on."""
        ledger, store = self._cycle.ledger, self._cycle.store
        gathered, self._unread = self._unread, []
        # A task that no request leased may have ended meanwhile: then it has no payload to read.
        unleased = [task for request, tasks in gathered if request is None for task in tasks]
        await read_payloads(ledger, store, (task for task in unleased if task.state in _WITH_PAYLOAD))
        for request, tasks in gathered:
            if request is not None:
                self._reply_with(
                    request, tasks, await read_fitting(ledger, store, tasks, self._cycle.reply_bytes_max), now
                )
        reads, self._reads = self._reads, []
        for reader, keys, callback, bytes_max in reads:
            bodies = await store.read(keys, bytes_max)
            try:
                callback(bodies)
            except Exception as exc:  # noqa: BLE001 - see guard
                self._cycle.guard.failed(reader, exc, "read", now)

    @property
    def has_reads(self) -> bool:
        """Whether a payload or a body is to be read from the store."""
        return bool(self._unread or self._reads)

    def _give_committed(self, request: LeaseRequest, tasks: list[Task], now: float) -> None:
        sizes = [-1 if task.body is None else len(task.body) for task in tasks]
        if min(sizes) < 0:
            self._unread.append((request, tasks))
        else:
            self._reply_with(request, tasks, how_many_fit(sizes, self._cycle.reply_bytes_max), now)

    def _reply_with(self, request: LeaseRequest, tasks: list[Task], fit: int, now: float) -> None:
        """Reply with the first `fit` tasks, whose payloads fit one reply; the others are ready again."""
        if fit < len(tasks):
            self._cycle.ledger.leasing.take_back(tasks[fit:])
            self._cycle.wake()
        given = tasks[:fit]
        try:
            request.give(self._cycle, given, now)
        except Exception as exc:  # noqa: BLE001 - see guard
            self._cycle.ledger.leasing.take_back([one for one in given if one.holder is request.holder])
            self._cycle.guard.failed(request, exc, "serve", now)
