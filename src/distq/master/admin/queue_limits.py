"""Operators' requests about queues: pause and resume a queue or the tasks of a name, and set or reset limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from distq.core.head import new_queue_name
from distq.core.nearest import did_you_mean
from distq.core.policy import OPEN, Policy
from distq.core.ranges import shown
from distq.master.cycle.requests import CallRequest
from distq.wire.errors import BadCall
from distq.wire.messages import returned

if TYPE_CHECKING:
    from distq.core.ports import CommitRefused
    from distq.core.queue import Queue
    from distq.core.registry import Registry
    from distq.core.task import Task
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

ACTIONS: Final = ("pause", "resume", "queue_set", "queue_reset")


class SetQueueLimits(CallRequest):
    """`admin(action, {queue, name, running, rate, capacity})`: changes queues; the reply has their new policies."""

    __slots__ = ("action", "asked", "queues")

    def __init__(self, action: str, connection: ServerConnection, asked: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self.action = action
        self.asked = asked
        self.queues: list[Queue[Task]] = []
        for field in ("queue", "name"):
            if not isinstance(asked.get(field), str | None) or asked.get(field) == "":
                raise BadCall(f"{field} is a text of at least one character, not {shown(asked[field])}.")

    def decide(self, cycle: Cycle, now: float) -> bool:  # noqa: ARG002, D102 - as Request
        ledger, name = cycle.ledger, self.asked.get("name")
        self.queues = self._named(cycle)
        for queue in self.queues:
            if self.action == "queue_reset":
                own = OPEN
            elif self.action == "queue_set":
                own = queue.own.changed(self.asked)
            else:
                own = queue.own.paused_as(paused=self.action == "pause", name=name)
            ledger.policies.set_policy(queue, own)
        return True

    def _named(self, cycle: Cycle) -> list[Queue[Task]]:
        """Return the named queue, or all queues that have had or have paused tasks of the name."""
        registry, queue, name = cycle.ledger.registry, self.asked.get("queue"), self.asked.get("name")
        if queue is not None:
            if queue not in registry.queues:
                self._may_create(registry, queue)
            return [registry.queue(queue, lasts=False)]
        if name is None or self.action not in ("pause", "resume"):
            raise BadCall(f"{self.action} takes a queue{', a name, or both' if self.action in ACTIONS[:2] else ''}.")
        having = registry.queues_of(name)  # tasks that are delayed, held or leased are in no ready list
        known = [
            one
            for one in registry.queues.values()
            if one.name in having
            or any(task_name == name for task_name, *_ in one.ready_lists)
            or name in one.own.paused_names
        ]
        if not known:
            raise BadCall(f"no queue has had a task {name!r} yet; name the queue too.")
        return known

    def _may_create(self, registry: Registry, queue: str) -> None:
        """Raise BadCall unless a queue of this name is valid and the request may create it."""
        try:
            new_queue_name(queue)
        except ValueError as exc:
            raise BadCall(f"{exc}.") from exc
        if self.asked.get("must_exist"):
            more = "" if self.action in ("resume", "queue_reset") else "; --create makes it"
            raise BadCall(no_queue(registry, queue, more))

    def answer(self, cycle: Cycle, now: float) -> None:  # noqa: ARG002, D102
        for queue in self.queues:
            cycle.ledger.registry.release(queue)
        self.connection.reply(
            returned({"queues": [{"queue": queue.name, **as_json(queue.policy)} for queue in self.queues]})
        )

    def put_back(self, cycle: Cycle, exc: CommitRefused, now: float) -> None:  # noqa: ARG002, D102
        self.refuse(exc)


def check_queue(registry: Registry, queue: str | None) -> None:
    """Raise BadCall if an operator's request names a queue that does not exist; None is any queue."""
    if queue is not None and queue not in registry.queues:
        raise BadCall(no_queue(registry, queue))


def no_queue(registry: Registry, queue: str, more: str = "") -> str:
    """Return the message that there is no such queue, with the most similar name of a queue."""
    return f"there is no queue {queue!r}{more}{did_you_mean(queue, registry.queues)}"


def as_json(policy: Policy) -> dict[str, Any]:
    """Return a policy as values that JSON can represent."""
    return {
        "paused": policy.paused,
        "paused_names": sorted(policy.paused_names),
        "running": policy.running,
        "rate": None if policy.rate is None else str(policy.rate),
        "capacity": policy.capacity,
    }
