"""Separates the requests of a refused commit, so that the store refuses only the one that is the reason.

    refused ▸ what is due, alone ▸ the requests, in halves ▸ each refused request alone, again after growing pauses

A store may refuse one row for ever (a check constraint, a body that always exceeds the server's statement_timeout).
Committed together with it, every other request of the cycle would be refused too, again and again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from distq.core.plurals import counted
from distq.core.ports import CommitRefused, Row
from distq.logs import get_logger
from distq.master.cycle.due_changes import StoreDue
from distq.master.cycle.requests import REFUSED_PAUSE_S
from distq.master.cycle.unstored_leases import StoreLeases

if TYPE_CHECKING:
    from distq.master.cycle.decisions import Decisions
    from distq.master.cycle.requests import Cycle, Request

SEPARATION_S: Final = 1.0
"""Seconds after which the separation goes on in the next cycle: a refusal by a time limit of the server takes as long
as that limit, and new requests must not wait for several of them."""
PAUSE_MAX_S: Final = 60.0
"""Maximum seconds before a request that the store has refused for what it holds is committed again."""
LOG_PAUSE_S: Final = 10.0
"""Seconds between two log lines about refused commits: on a full disk the store refuses many in a second."""
REASON_MAX: Final = 1_000
"""Maximum characters of a store's text that are kept; a server may quote a whole row in it."""
NO_ROW: Final = -(1 << 63)
"""The key of no row: a commit that drops it changes nothing, and shows whether the store takes commits at all."""


class RefusedCommits:
    """The requests whose commits were refused, until each of them is stored or has its refusal as a reply."""

    def __init__(
        self,
        cycle: Cycle,
        decisions: Decisions,
        commit: Callable[[dict[int, Row], float], Awaitable[CommitRefused | None]],
        answer: Callable[[Request, CommitRefused | None, float], None],
    ) -> None:
        self.count = 0
        """Number of commits that the store has refused."""
        self.suspects: dict[Request, int] = {}
        """Requests that the store has refused for what they hold and that are committed again, each alone, with the
        number of these refusals."""
        self.reason = ""
        """The store's text of the newest refusal of one of them."""
        self.sweep_at = 0.0
        """The instant before which no cycle decides what is due in the ledger, because the store has refused that."""
        self._cycle = cycle
        self._decisions = decisions
        self._commit = commit
        self._answer = answer
        self.groups: list[list[Request]] = []
        """Groups of requests to commit, the next one last."""
        self._logged_at = float("-inf")
        self._unlogged = 0

    # -- what a cycle asks ---------------------------------------------------------------------

    def take_suspects(self, gathered: list[Request]) -> list[Request]:
        """Return the requests that are no suspects; the suspects are committed after them, each alone."""
        suspects = [request for request in gathered if request in self.suspects]
        self.groups += [[one] for one in sorted(suspects, key=_body_bytes, reverse=True)]
        return [request for request in gathered if request not in self.suspects]

    async def separate(
        self,
        members: list[Request],
        refused: CommitRefused,
        now: float,
        lease_replies: Callable[[CommitRefused | None, float], Awaitable[None]],
    ) -> None:
        """After a refused commit, store what is due, then the requests in halves; answer them or put them back.

        `lease_replies` replies with the leases that were to be stored, before any other reply.
        """
        self.note(refused, now)
        has_due, due_refused = await self._store_due(members, refused, now)
        await lease_replies(due_refused, now)
        if due_refused is not None and due_refused.is_general:
            refused = due_refused
        whole = not has_due
        if refused.is_general:
            # A full store takes requests that only end tasks, and gains room by them; the smallest go first.
            ends = sorted((one for one in members if one.only_ends), key=_body_bytes)
            for request in members:
                if not request.only_ends:
                    self._answer(request, refused, now)
            whole, members = whole and len(ends) == len(members), ends
        if whole and len(members) == 1:
            await self._refused_alone(members[0], refused, now)
        else:
            for request in reversed(members):
                request.undo()
            self._add_halves(members) if whole else self._add(members)
        await self.go_on(now)

    async def _store_due(
        self, members: list[Request], refused: CommitRefused, now: float
    ) -> tuple[bool, CommitRefused | None]:
        """Commit what is due in the ledger, and the leases to store, without the requests of the refused commit.

        Returns whether the refused commit had such content, and the store's refusal of it.
        """
        ledger = self._cycle.ledger
        alone: CommitRefused | None = refused
        if members:
            if now >= self.sweep_at:
                self._decisions.sweep(now)
            if not ledger.changed:
                return False, None
            _, alone = await self._store([], now)
        if alone is None:
            return True, None
        self.sweep_at = now + REFUSED_PAUSE_S
        alone = await self._checked(alone)
        if not alone.is_general:
            tasks = ledger.sweeper.set_apart(now)
            ledger.forget()
            if tasks:
                self._add([StoreDue(ledger.sweeper, tasks)])
            leases, stopped = ledger.take_unstored_leases()
            if leases or stopped:
                self._add([StoreLeases(leases, stopped)])
        return True, alone

    async def go_on(self, now: float) -> None:
        """Commit the groups that wait; after SEPARATION_S the next cycle goes on with the rest."""
        clock = self._cycle.clock
        ends_at = clock.now() + SEPARATION_S
        has_stored = False
        while self.groups and clock.now() < ends_at:
            has_stored |= await self._try(self.groups.pop(), now)
        if has_stored or self.groups:
            self._cycle.wake()  # what was stored has results to send and tasks to lease

    # -- what a request asks -------------------------------------------------------------------

    def ask_now(self, request: Request) -> None:
        """Have a request committed alone next."""
        self.groups.append([request])

    def ask_later(self, request: Request, refused: CommitRefused, now: float) -> None:
        """Have a refused request committed again after a pause, which grows if its content is the reason."""
        if refused.is_general:
            self._cycle.ask_at(now + REFUSED_PAUSE_S, request)
            return
        count = self.suspects.get(request, 0) + 1
        self.ask_suspect(request, count, now + pause_s(count))

    def ask_suspect(self, request: Request, count: int, at: float) -> None:
        """Have a request that was refused `count` times for what it holds committed alone at an instant."""
        self.suspects[request] = count
        self._cycle.ask_at(at, request)

    def refusal_of(self, task_key: int) -> str:
        """The store's text if it refuses now what the executor of a task has settled, otherwise ''."""
        return next(filter(None, (request.refusal_of(task_key) for request in self.suspects)), "")

    # -- groups --------------------------------------------------------------------------------

    def _add(self, group: list[Request]) -> None:
        if group:
            self.groups.append(group)

    def _add_halves(self, group: list[Request]) -> None:
        middle = len(group) // 2
        self._add(group[middle:])
        self._add(group[:middle])

    async def _try(self, group: list[Request], now: float) -> bool:
        """Commit one group, and answer its requests; cut a refused group into halves, and return False."""
        unfinished: list[Request] = []
        decided = [request for request in group if self._decisions.decide(request, now, unfinished.append)]
        refused = None
        if self._cycle.ledger.changed or self._decisions.rows:
            decided, refused = await self._store(decided, now)
        parked = [request for request in group if request.parked]
        if refused is None:
            for request in group:
                self.suspects.pop(request, None)
            for request in (*parked, *unfinished):
                request.note_stored()
            for request in unfinished:
                request.resume(self._cycle, now)
            for request in decided:
                self._answer(request, None, now)
            return True
        leases, stopped = self._cycle.ledger.take_unstored_leases()
        if (leases or stopped) and not isinstance(group[0], StoreLeases):
            self._add([StoreLeases(leases, stopped)])
        known = {*decided, *unfinished}
        again = [request for request in group if request in known]
        if len(group) == 1 and again:
            await self._refused_alone(again[0], refused, now)
            return False
        for request in reversed([*again, *parked]):
            request.undo()
        self._add_halves(again)
        return False

    async def _refused_alone(self, request: Request, refused: CommitRefused, now: float) -> None:
        """Cut a request that was refused alone into parts; if it has none, put it back.

        If the store refuses every batch, all other requests that wait are put back too.
        """
        refused = await self._checked(refused)
        if refused.is_general:
            groups, self.groups = self.groups, []
            for other in (request, *(one for group in reversed(groups) for one in group)):
                self._answer(other, refused, now)
            return
        if parts := request.parts():
            self.suspects.pop(request, None)
            for part in reversed(parts):
                part.undo()
                self._add([part])
            return
        self.reason = str(refused)[:REASON_MAX]
        self._answer(request, refused, now)

    # -- the store -----------------------------------------------------------------------------

    async def _store(self, decided: list[Request], now: float) -> tuple[list[Request], CommitRefused | None]:
        batch, decided = self._decisions.batch(decided, now)
        refused = await self._commit(batch, now)
        if refused is not None:
            self.note(refused, now)
        return decided, refused

    async def _checked(self, refused: CommitRefused) -> CommitRefused:
        """The refusal, as a general one if the store also refuses a commit that changes nothing."""
        if not refused.is_general:
            try:
                await self._cycle.store.commit({NO_ROW: None})
            except CommitRefused:
                return CommitRefused(str(refused), is_general=True)
        return refused

    def note(self, refused: CommitRefused, now: float) -> None:
        """Count a refused commit, and log it unless another one was logged less than LOG_PAUSE_S ago."""
        self.count += 1
        self._unlogged += 1
        if abs(now - self._logged_at) < LOG_PAUSE_S:
            return
        get_logger().warning(
            "commit_refused",
            reason=str(refused)[:REASON_MAX],
            every_commit=refused.is_general,
            commits=self._unlogged,
            requests=len(self.suspects),
        )
        self._logged_at, self._unlogged = now, 0

    def shift(self, by_s: float) -> None:
        """Follow a clock that was set."""
        self.sweep_at += by_s
        for group in self.groups:
            for request in group:
                request.shift(by_s)

    def sentence(self) -> str:
        """What the store refuses now for what it holds, as a sentence; '' for nothing."""
        if not self.suspects:
            return ""
        what = counted(len(self.suspects), "request")
        return f"The store refuses the content of {what}, and takes all others: {self.reason}"


def pause_s(count: int) -> float:
    """Seconds before a request is committed again that was refused `count` times for what it holds."""
    return min(REFUSED_PAUSE_S * 2.0 ** min(count - 1, 10), PAUSE_MAX_S)


def _body_bytes(request: Request) -> int:
    return request.weight()[1]
