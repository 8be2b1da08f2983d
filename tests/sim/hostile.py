"""A hostile peer with the key: its calls have the right form and absurd values.

Each call has at least one value that the master must refuse, so that no call has an effect; the master answers with an
error and goes on.
"""

from __future__ import annotations

import math
from typing import Any, Final

from tests.sim.actors import HELLO
from tests.sim.world import Actor, Call, Connect, ConnectionLost, Script, Sleep, World

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
    """A peer that says hello in a role, makes calls and disconnects, again and again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answered = 0
        """Number of its calls that the master has answered or refused."""
        self.actor = Actor(world, "hostile", self._send_absurd_calls)

    def _absurd(self) -> Any:
        return self.world.rng.choice(ABSURD)

    def _submit(self) -> tuple[object, ...]:
        rng = self.world.rng
        envelope = ["hostile", "f", None, None, None, None, None, None, None]
        index = rng.randrange(2, len(envelope))
        envelope[index] = self._absurd()
        when = [None, None, None]
        when[rng.randrange(3)] = self._absurd()
        constraints = [None, None, None, None, "reject"]
        constraints[rng.randrange(5)] = self._absurd()
        # The wait, the last value, is never a valid number of seconds.
        return (
            rng.choice((1, self._absurd())),
            [tuple(envelope)],
            [(0, 1, tuple(when), tuple(constraints))],
            [b""],
            math.nan,
        )

    def _options(self, action: str) -> dict[str, object]:
        options: dict[str, object] = {
            "id": self._absurd(),
            "ids": self._absurd(),
            "name": "hostile",
            "queue": self._absurd(),
        }
        if action == "queue_set":
            return {
                "queue": "hostile",
                self.world.rng.choice(("running", "capacity")): self.world.rng.choice(NUMBERS),
            }
        if action == "schedule_put":
            field = self.world.rng.choice(("every", "cron"))
            return {
                **options,
                "body": b"",
                "envelope": ("hostile", "f", self._absurd()),
                field: self._absurd(),
                "timezone": "\0",
            }
        if action == "schedule_declare":
            return {
                "schedules": [{**options, "every": self._absurd()}],
                "modules": [self._absurd()],
                "age_s": self._absurd(),
            }
        return options

    def _make_call(self, role: str) -> Call:
        rng = self.world.rng
        if role == "worker":
            fields = ("busy", "slots", "memory_bytes", "memory_limit_bytes", "returned", "stacks", "exited")
            return Call("broker", "heartbeat", ({field: self._absurd() for field in fields}, self._absurd()))
        if role == "client" and rng.random() < 0.6:
            calls: tuple[tuple[str, tuple[object, ...]], ...] = (
                ("submit", self._submit()),
                ("results", (self._absurd(), math.nan)),
                ("watch", ([self._absurd()],)),
                ("stream", (self._absurd(), self._absurd(), math.nan)),
                ("cancel", (self._absurd(), self._absurd())),
            )
            return Call("broker", *rng.choice(calls))
        action = rng.choice(ACTIONS)
        return Call("broker", "admin", (action, self._options(action)))

    def _send_absurd_calls(self, _: Actor) -> Script:
        rng = self.world.rng
        while True:
            yield Sleep(rng.random() * 2)
            if self.world.fault_free:
                continue
            role = rng.choice(("client", "cli", "worker"))
            fields = ("slots", "pid", "index", "seats", "pool", "host", "labels", "version")
            info = {**HELLO, **{field: self._absurd() for field in fields}, "role": role, "session": f"hostile {role}"}
            try:
                yield Connect()
                yield from self._call(Call("broker", "hello", (info,)))
                yield from self._call(
                    Call("broker", "hello", ({**info, "protocol": [self._absurd(), self._absurd()]},))
                )
                for _again in range(3):
                    yield from self._call(self._make_call(role))
            except ConnectionLost:
                continue

    def _call(self, call: Call) -> Script:
        """Call, and count the answer or the refusal."""
        try:
            yield call
        except ConnectionLost:
            raise
        except Exception:  # noqa: BLE001 - every exception is a refusal
            pass
        self.answered += 1
