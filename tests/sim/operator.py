"""Who looks after dead letters in the simulation: has some tried again, lets others go."""

from __future__ import annotations

from tests.sim.actors import HELLO, QUEUES, expect
from tests.sim.world import Actor, Call, Connect, Lost, Script, Sleep, World

from distq.core.task import key_of
from distq.wire.errors import RemoteRefusal


class Operator:
    """Somebody with the command line. What is tried again ends once more, and nobody but the counters is told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.actor = Actor(world, "operator", self._look_after)

    def _look_after(self, actor: Actor) -> Script:
        dice = self.world.dice
        while True:
            yield Sleep(dice.random() * 0.5)
            if self.world.calm:
                continue
            try:
                if actor.wire is None or not actor.wire.whole:
                    yield Connect()
                    yield Call("broker", "hello", ({**HELLO, "role": "cli"},))
                found = yield Call("broker", "admin", ("dead_list", {"queue": dice.choice((*QUEUES, "work"))}))
                dead = [row["id"] for row in found["tasks"] if dice.random() < 0.5]
                purges = dice.random() < 0.3 and all(row["kind"] != "plain" for row in found["tasks"])
                (self.world.purged if purges else self.world.requeued).update(map(key_of, dead))
                yield Call("broker", "admin", ("dead_purge" if purges else "dead_retry", {"ids": dead}))
            except Lost:
                yield Sleep(dice.random())
            except RemoteRefusal as error:
                expect(error)
