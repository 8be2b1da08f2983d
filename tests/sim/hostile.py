"""A peer that has the key and sends what nobody means: calls of the right form with absurd values in them.

Each of its calls has at least one value that must be refused, so that it never has anything done; it is answered in
words, and the master goes on.
"""

from __future__ import annotations

import math
from typing import Any, Final

from tests.sim.actors import HELLO
from tests.sim.world import Actor, Call, Connect, Lost, Script, Sleep, World

ABSURD: Final[tuple[Any, ...]] = (
    -1,
    10**400,
    -(10**400),
    1 << 63,
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    "",
    "\ud800",
    "x" * 3_000,
    b"\xff",
    [],
    [[[]]],
    {"a": {}},
    (),
)
NUMBERS: Final = tuple(value for value in ABSURD if isinstance(value, int | float))
ACTIONS: Final = (
    "backup_read",
    "cancel",
    "dead_show",
    "queue_set",
    "schedule_declare",
    "schedule_pause",
    "schedule_put",
    "schedule_resume",
    "schedule_run",
    "show",
    "stack",
)


class Hostile:
    """It says hello in a role, calls something, and goes, again and again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answered = 0
        """Calls that it was answered, whatever the answer."""
        self.actor = Actor(world, "hostile", self._annoy)

    def _any(self) -> Any:
        return self.world.dice.choice(ABSURD)

    def _submit(self) -> tuple[object, ...]:
        dice = self.world.dice
        envelope = ["hostile", "f", None, None, None, None, None, None, None]
        where = dice.randrange(2, len(envelope))
        envelope[where] = self._any()
        when = [None, None, None]
        when[dice.randrange(3)] = self._any()
        more = [None, None, None, None, "reject"]
        more[dice.randrange(5)] = self._any()
        # The wait is no number of seconds in any case.
        return dice.choice((1, self._any())), [tuple(envelope)], [(0, 1, tuple(when), tuple(more))], [b""], math.nan

    def _asked(self, action: str) -> dict[str, object]:
        asked: dict[str, object] = {"id": self._any(), "ids": self._any(), "name": "hostile", "queue": self._any()}
        if action == "queue_set":
            return {
                "queue": "hostile",
                self.world.dice.choice(("running", "capacity")): self.world.dice.choice(NUMBERS),
            }
        if action == "schedule_put":
            word = self.world.dice.choice(("every", "cron"))
            return {
                **asked,
                "body": b"",
                "envelope": ("hostile", "f", self._any()),
                word: self._any(),
                "timezone": "\0",
            }
        if action == "schedule_declare":
            return {"schedules": [{**asked, "every": self._any()}], "modules": [self._any()], "age_s": self._any()}
        return asked

    def _call(self, role: str) -> Call:
        dice = self.world.dice
        if role == "worker":
            words = ("busy", "slots", "memory_bytes", "memory_limit_bytes", "returned", "stacks", "exited")
            return Call("broker", "heartbeat", ({word: self._any() for word in words}, self._any()))
        if role == "client" and dice.random() < 0.6:
            calls: tuple[tuple[str, tuple[object, ...]], ...] = (
                ("submit", self._submit()),
                ("results", (self._any(), math.nan)),
                ("watch", ([self._any()],)),
                ("stream", (self._any(), self._any(), math.nan)),
                ("cancel", (self._any(), self._any())),
            )
            return Call("broker", *dice.choice(calls))
        action = dice.choice(ACTIONS)
        return Call("broker", "admin", (action, self._asked(action)))

    def _annoy(self, _: Actor) -> Script:
        dice = self.world.dice
        while True:
            yield Sleep(dice.random() * 2)
            if self.world.calm:
                continue
            role = dice.choice(("client", "cli", "worker"))
            words = ("slots", "pid", "index", "seats", "pool", "host", "labels", "version")
            info = {**HELLO, **{word: self._any() for word in words}, "role": role, "session": f"hostile {role}"}
            try:
                yield Connect()
                yield from self._told(Call("broker", "hello", (info,)))
                yield from self._told(Call("broker", "hello", ({**info, "protocol": [self._any(), self._any()]},)))
                for _again in range(3):
                    yield from self._told(self._call(role))
            except Lost:
                continue

    def _told(self, call: Call) -> Script:
        """Call, and take whatever is answered."""
        try:
            yield call
        except Lost:
            raise
        except Exception:  # noqa: BLE001 - a refusal, of whatever kind
            pass
        self.answered += 1
