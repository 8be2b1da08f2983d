"""Who looks after dead letters in the simulation: has some tried again, lets others go."""

from __future__ import annotations

from typing import Final

from tests.sim.actors import HELLO, QUEUES, expect
from tests.sim.world import Actor, Call, Connect, Lost, Script, Sleep, World

from distq.core.task_ids import task_key_of
from distq.wire.errors import RemoteRefusal

SCHEDULES: Final = ("tick", "tock")


class Operator:
    """Somebody with the command line. What is tried again ends once more, and nobody but the counters is told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.governed: set[str] = set()
        """Queues that it may have paused or limited."""
        self.actor = Actor(world, "operator", self._look_after)

    def _govern(self) -> Script:
        """Sometimes pause a queue, or limit it; before a calm all goes on."""
        dice = self.world.dice
        queue = dice.choice(QUEUES)
        self.governed.add(queue)
        if dice.random() < 0.2:
            yield Call("broker", "admin", ("queue_reset", {"queue": queue}))
        elif dice.random() < 0.1:
            words = dice.choice(({"running": 1}, {"running": 3}, {"rate": "5/s"}, {"rate": "20/10s"}))
            yield Call("broker", "admin", ("queue_set", {"queue": queue, **words}))
        elif dice.random() < 0.05:
            name = dice.choice((None, "f"))
            yield Call("broker", "admin", ("pause", {"queue": queue, "name": name}))
            yield Sleep(dice.random() * 20)
            yield Call("broker", "admin", ("resume", {"queue": queue, "name": name}))

    def _schedule(self) -> Script:
        """Sometimes make a schedule, or do something with one."""
        dice = self.world.dice
        name = dice.choice(SCHEDULES)
        if dice.random() < 0.1:
            self.governed.add("q")
            timing = dice.choice(({"every": 0.5}, {"every": 7.0}, {"cron": "* * * * *", "timezone": "Europe/Rome"}))
            more = {"overlap": dice.random() < 0.2, "catch_up": dice.choice(("one", "all", "none"))}
            asked = {"name": name, "body": b"ok scheduled", "envelope": ("q", "f"), **timing, **more}
            yield Call("broker", "admin", ("schedule_put", asked))
        elif dice.random() < 0.1:
            action = dice.choice(("pause", "resume", "run", "remove"))
            yield from self._unless_unknown(f"schedule_{action}", name)

    def _unless_unknown(self, action: str, name: str) -> Script:
        """Do something with a schedule that may not be there, or whose task may not have ended."""
        try:
            yield Call("broker", "admin", (action, {"name": name}))
        except RemoteRefusal as error:
            known = ("there is no schedule", "has not ended yet", "QUEUE_FULL", "has room for")
            if not any(words in str(error) for words in known):
                expect(error)

    def _look_after(self, actor: Actor) -> Script:
        dice = self.world.dice
        while True:
            yield Sleep(dice.random() * 0.5)
            if self.world.calm and not self.governed:
                continue
            try:
                if actor.wire is None or not actor.wire.whole:
                    yield Connect()
                    yield Call("broker", "hello", ({**HELLO, "role": "cli"},))
                if self.world.calm:
                    for name in SCHEDULES:
                        yield from self._unless_unknown("schedule_remove", name)
                    for queue in list(self.governed):
                        yield Call("broker", "admin", ("queue_reset", {"queue": queue}))
                        self.governed.discard(queue)
                    continue
                yield from self._govern()
                yield from self._schedule()
                found = yield Call("broker", "admin", ("dead_list", {"queue": dice.choice((*QUEUES, "work"))}))
                dead = [row["id"] for row in found["tasks"] if dice.random() < 0.5]
                purges = dice.random() < 0.3 and all(row["kind"] != "plain" for row in found["tasks"])
                (self.world.purged if purges else self.world.requeued).update(map(task_key_of, dead))
                yield Call("broker", "admin", ("dead_purge" if purges else "dead_retry", {"ids": dead}))
            except Lost:
                yield Sleep(dice.random())
            except RemoteRefusal as error:
                expect(error)
