"""The simulated database of several masters: an epoch that fences, sessions that break, and messages that are late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from tests.sim.master import Disk, Host, Reply, SlowStore
from tests.sim.world import World

from distq.core.head import split
from distq.core.payload_cache import how_many_fit
from distq.core.policy import POLICIES
from distq.core.ports import FORGET, KEEP, Batch, CommitRefused, CommitUnknown, Fenced, Heads, StoreError
from distq.core.schedule import SCHEDULES, unpack_schedule
from distq.core.states import CANCELLED, DEAD, EXPIRED, SUCCEEDED

ENDS: Final = (SUCCEEDED, DEAD, CANCELLED, EXPIRED)
CHANGES_KEPT: Final = 60
"""Commits in the log of changes; a standby that has read none for longer begins again."""

LATE_S_MAX: Final = 9.0
"""Maximum seconds that a message travels between a master and the database: longer than a lease."""


class LinkLost(StoreError):
    """The sessions of a master with the database have ended."""


class Look(NamedTuple):
    """What a standby finds out about the leader."""

    epoch: int
    beat: int
    released: bool
    same_server: bool
    leader: Any
    has_lock: bool
    """Whether the standby has the lock now."""
    has_committer: bool
    """Whether the leader of this epoch has a session."""


class Database:
    """Rows, an epoch and a lease; all that it has confirmed survives its crash. It checks each commit it stores."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fences = True
        """Whether a commit of an earlier epoch is rejected; a test shows what happens without."""
        self.fenced = 0
        """Number of commits that came from the master of an earlier epoch."""
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Begin with no rows."""
        self.rows: Disk = {}
        self.epoch = epoch
        self.leader: Any = None
        self.committer: Link | None = None
        """The sessions of the master that has begun this epoch."""
        self.lock: Link | None = None
        self.beat = 0
        self.released = False
        self.starts = 1
        self.renewed_in = 0
        """The start of the server in which the lease was renewed last."""
        self.number = 0
        self.log: deque[tuple[int, tuple[int, ...]]] = deque([(0, ())], maxlen=CHANGES_KEPT)
        """Numbers and keys of the newest commits."""
        self.ends: dict[int, int] = {}
        """The state in which each task has ended, by key."""
        self.instants: set[tuple[int, float, float]] = set()
        """Scheduled runs that have become tasks: the schedule's row, its interval or 0, and the instant."""

    # -- leadership ----------------------------------------------------------------------------

    def look(self, link: Link) -> Look:
        """Read the leader's lease, and take the lock if it is free."""
        if self.lock is None:
            self.lock = link
        alive = self.committer is not None and self.committer.is_open_there
        same_server = self.renewed_in == self.starts
        return Look(self.epoch, self.beat, self.released, same_server, self.leader, self.lock is link, alive)

    def end_lock(self) -> None:
        """End the sessions of the master that has the lock, but not those of its commits."""
        self.lock = None

    def lead(self, link: Link, leader: object) -> int:
        """Begin an epoch; the log of changes has a row of it."""
        self.epoch += 1
        self.leader, self.committer, self.released = leader, link, False
        self._log(())
        return self.epoch

    def renew(self, link: Link, epoch: int) -> int | None:
        """Renew the lease of this epoch; None if another one has begun."""
        if epoch != self.epoch:
            return None
        if self.lock is None:
            self.lock = link
        self.beat += 1
        self.renewed_in = self.starts
        return self.beat

    def release(self, link: Link, epoch: int) -> None:
        """End the lease of this epoch."""
        if epoch == self.epoch:
            self.released = True
        if self.lock is link:
            self.lock = None

    def session_ended(self, link: Link) -> None:
        """Release what a session held."""
        if self.lock is link:
            self.lock = None

    # -- rows ----------------------------------------------------------------------------------

    def commit(self, epoch: int, batch: Batch) -> None:
        """Store the batch, unless it is of an earlier epoch; check that no task ends twice."""
        if epoch != self.epoch:
            self.fenced += 1
            if self.fences:
                raise Fenced("another master leads.")
        if any(change is not None and change[1] is KEEP and key not in self.rows for key, change in batch.items()):
            raise CommitRefused("the batch keeps the body of a key that is not there")
        for key, change in batch.items():
            self._check(key, change)
            if change is None:
                self.rows.pop(key, None)
            else:
                head, body = change
                self.rows[key] = (head, body if isinstance(body, bytes) else self.rows[key][1])
        self._log(tuple(batch))

    def _log(self, keys: tuple[int, ...]) -> None:
        self.number += 1
        self.log.append((self.number, keys))

    def _check(self, key: int, change: Any) -> None:
        """Check a change: each task ends once, each instant of a schedule makes one task."""
        before = self.rows.get(key)
        if key > 0 and change is not None:
            state = split(change[0]).numbers[0]
            if state in ENDS:
                known = None if before is None else split(before[0]).numbers[0]
                assert known not in ENDS or known == state, f"{key:x} has ended twice in the store: {known}, {state}"
                if known in ENDS and isinstance(change[1], bytes):
                    assert before is not None
                    assert change[1] == before[1], f"{key:x} has two outcomes"
                self.ends[key] = state
            assert before is not None or key not in self.ends, f"{key:x} was dropped, and is stored again"
        elif key > 0 and before is not None:
            self.ends.setdefault(key, split(before[0]).numbers[0])
        elif POLICIES < key <= SCHEDULES and before is not None and change is not None:
            self._check_schedule(key, before[0], change[0])

    def _check_schedule(self, key: int, before: bytes, after: bytes) -> None:
        old, new = unpack_schedule(before), unpack_schedule(after)
        if (
            old.spec == new.spec
            and new.progress.runs > old.progress.runs
            and new.progress.next_at != old.progress.next_at
        ):
            instant = (key, old.spec.timing.every_s or 0.0, old.progress.next_at)
            assert instant not in self.instants, f"{old.spec.name} ran twice for {old.progress.next_at}"
            self.instants.add(instant)

    def changes_after(self, number: int) -> tuple[int, list[int]] | None:
        """The number of the newest commit and the keys changed since a number; None if the log begins later."""
        if number < self.log[0][0]:
            return None
        return self.number, [key for at, keys in self.log if at > number for key in keys]

    def heads_of(self, keys: Iterable[int]) -> list[tuple[int, bytes | None]]:
        """The present heads of these keys."""
        return [(key, self.rows[key][0] if key in self.rows else None) for key in sorted(set(keys))]

    def crash(self, links: Iterable[Link]) -> None:
        """Crash and start again: all sessions end, and what was confirmed is there."""
        self.starts += 1
        for link in links:
            link.end(here_in_s=self.world.delay_s(), there_in_s=0.0)


class Link:
    """The sessions of one master with the database, which end together."""

    def __init__(self, world: World, database: Database, machine: Host) -> None:
        self.separated_until = 0.0
        """Until when no message arrives, in either direction."""
        self.is_open_there = True
        self._is_open_here = True
        self._world = world
        self._database = database
        self._machine = machine
        self._pending: dict[Reply, None] = {}
        self._unsent_is_lost = False

    def ask(self, work: Callable[[], object]) -> Reply:
        """Let the database do `work`, and return the answer to wait for; it may be LinkLost although it is done."""
        reply = Reply()
        if self._is_open_here:
            self._pending[reply] = None
            self._travel(lambda: self._arrive(work, reply))
        else:
            self._machine.later(0.0, lambda: reply.come(LinkLost("the sessions have ended.")))
        return reply

    def end(self, here_in_s: float, there_in_s: float, *, unsent_is_lost: bool = False) -> None:
        """End the sessions; each end notices it after its time, and messages on their way may arrive before."""
        self._unsent_is_lost = unsent_is_lost
        self._world.later(here_in_s, self._end_here)
        self._world.later(there_in_s, self._end_there)

    def terminate(self, here_in_s: float) -> None:
        """End the sessions at the database, at once and whether or not messages pass."""
        self._world.later(here_in_s, self._end_here)
        self.is_open_there = False
        self._database.session_ended(self)

    def _end_here(self) -> None:
        self._is_open_here = False
        for reply in list(self._pending):
            self._answer(reply, LinkLost("the sessions have ended."))

    def _end_there(self) -> None:
        wait_s = self.separated_until - self._world.at
        if wait_s > 0:  # the end of a connection arrives after what was sent before
            self._world.later(wait_s + self._world.rng.random(), self._end_there)
            return
        self.is_open_there = False
        self._database.session_ended(self)

    def _travel(self, arrived: Callable[[], None]) -> None:
        def arrive() -> None:
            wait_s = self.separated_until - self._world.at
            if wait_s > 0:
                self._world.later(wait_s + self._world.delay_s(), arrive)  # TCP sends it again
            else:
                arrived()

        late_s = self._world.rng.random() * LATE_S_MAX if self._world.chance(0.01) else self._world.delay_s()
        self._world.later(late_s, arrive)

    def _arrive(self, work: Callable[[], object], reply: Reply) -> None:
        if not self.is_open_there:
            self._travel(self._end_here)
            return
        if self._unsent_is_lost:
            return
        try:
            outcome = work()
        except StoreError as exc:
            outcome = exc
        self._travel(lambda: self._answer(reply, outcome))

    def _answer(self, reply: Reply, outcome: object) -> None:
        if reply in self._pending:
            del self._pending[reply]
            self._machine.later(0.0, lambda: reply.come(outcome))


class ReplicatedStore(SlowStore):
    """The store of one leader in the database."""

    def __init__(self, machine: Host, database: Database, link: Link, epoch: int) -> None:
        super().__init__(machine, epoch, database.rows)
        self._database = database
        self._link = link

    async def commit(self, batch: Batch) -> None:
        """Store the batch; a master that dies meanwhile does not know whether it is stored."""
        if self._world.chance(0.003):
            raise CommitRefused("the disk is full.")
        changes = dict(batch)
        try:
            await self._link.ask(lambda: self._database.commit(self.epoch, changes))
        except LinkLost as exc:
            raise CommitUnknown(str(exc)) from None

    async def read(self, keys: Sequence[int], bytes_max: int | None = None) -> list[bytes | None]:
        """The bodies, as the database has them."""

        def bodies() -> list[bytes | None]:
            return [self._rows[key][1] if key in self._rows else None for key in keys]

        try:
            found: list[bytes | None] = await self._link.ask(bodies)
        except LinkLost as exc:
            raise CommitUnknown(str(exc)) from None
        return found if bytes_max is None else found[: how_many_fit([len(body or b"") for body in found], bytes_max)]


class LogReader:
    """Reads the log of changes, and then the heads of their keys, as a standby does."""

    def __init__(self, database: Database, link: Link) -> None:
        self._database = database
        self._link = link
        self._number: int | None = None

    async def step(self) -> Heads:
        """Return the heads that have changed, after FORGET all of them."""
        database = self._database
        if self._number is None:
            number, heads = await self._link.ask(lambda: (database.number, database.heads_of(database.rows)))
            self._number = number
            return list(heads)
        since = self._number
        changes = await self._link.ask(lambda: database.changes_after(since))
        if changes is None:
            self._number = None
            return FORGET
        number, keys = changes
        heads = await self._link.ask(lambda: database.heads_of(keys)) if keys else []
        self._number = number
        return list(heads)
