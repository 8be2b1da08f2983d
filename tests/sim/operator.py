"""The operator of the simulation: it requeues and purges dead letters, limits queues and makes schedules."""

from __future__ import annotations

from typing import Final

from tests.sim.actors import HELLO, QUEUES, expect
from tests.sim.world import Actor, Call, Connect, ConnectionLost, Script, Sleep, World

from distq.core.task_ids import task_key_of
from distq.wire.errors import RemoteRefusal

SCHEDULES: Final = ("tick", "tock")


class Operator:
    """An operator with the command line. A requeued task ends once more, and only counters show that end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.limited: dict[str, None] = {}
        """Queues that the operator may have paused or limited, in the order of its calls."""
        self.actor = Actor(world, "operator", self._operate)

    def _limit(self) -> Script:
        """Sometimes pause a queue or limit it; before a recovery the operator resets all queues."""
        rng = self.world.rng
        queue = rng.choice(QUEUES)
        self.limited[queue] = None
        if rng.random() < 0.2:
            yield Call("broker", "admin", ("queue_reset", {"queue": queue}))
        elif rng.random() < 0.1:
            limits = rng.choice(({"running": 1}, {"running": 3}, {"rate": "5/s"}, {"rate": "20/10s"}))
            yield Call("broker", "admin", ("queue_set", {"queue": queue, **limits}))
        elif rng.random() < 0.05:
            name = rng.choice((None, "f"))
            yield Call("broker", "admin", ("pause", {"queue": queue, "name": name}))
            yield Sleep(rng.random() * 20)
            yield Call("broker", "admin", ("resume", {"queue": queue, "name": name}))

    def _schedule(self) -> Script:
        """Sometimes make a schedule, or change one."""
        rng = self.world.rng
        name = rng.choice(SCHEDULES)
        if rng.random() < 0.1:
            self.limited["q"] = None
            timing = rng.choice(({"every": 0.5}, {"every": 7.0}, {"cron": "* * * * *", "timezone": "Europe/Rome"}))
            catching_up = {"overlap": rng.random() < 0.2, "catch_up": rng.choice(("one", "all", "none"))}
            options = {"name": name, "body": b"ok scheduled", "envelope": ("q", "f"), **timing, **catching_up}
            yield Call("broker", "admin", ("schedule_put", options))
        elif rng.random() < 0.1:
            action = rng.choice(("pause", "resume", "run", "remove"))
            yield from self._unless_unknown(f"schedule_{action}", name)

    def _unless_unknown(self, action: str, name: str) -> Script:
        """Act on a schedule that may not exist, or whose last task may not have ended."""
        try:
            yield Call("broker", "admin", (action, {"name": name}))
        except RemoteRefusal as error:
            known = ("there is no schedule", "has not ended yet", "QUEUE_FULL", "has room for")
            if not any(phrase in str(error) for phrase in known):
                expect(error)

    def _operate(self, actor: Actor) -> Script:
        rng = self.world.rng
        while True:
            yield Sleep(rng.random() * 0.5)
            if self.world.fault_free and not self.limited:
                continue
            try:
                if actor.connection is None or not actor.connection.intact:
                    yield Connect()
                    yield Call("broker", "hello", ({**HELLO, "role": "cli"},))
                if self.world.fault_free:
                    for name in SCHEDULES:
                        yield from self._unless_unknown("schedule_remove", name)
                    for queue in list(self.limited):
                        yield Call("broker", "admin", ("queue_reset", {"queue": queue}))
                        self.limited.pop(queue, None)
                    continue
                yield from self._limit()
                yield from self._schedule()
                found = yield Call("broker", "admin", ("dead_list", {"queue": rng.choice((*QUEUES, "work"))}))
                dead = [row["id"] for row in found["tasks"] if rng.random() < 0.5]
                purges = rng.random() < 0.3 and all(row["kind"] != "plain" for row in found["tasks"])
                (self.world.purged if purges else self.world.requeued).update(map(task_key_of, dead))
                yield Call("broker", "admin", ("dead_purge" if purges else "dead_retry", {"ids": dead}))
            except ConnectionLost:
                yield Sleep(rng.random())
            except RemoteRefusal as error:
                if "there is no queue" not in str(error):  # none of its tasks was submitted yet
                    expect(error)
