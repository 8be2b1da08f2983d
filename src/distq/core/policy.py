"""The policy of a queue: pauses, and limits on its tasks in flight, its rate of leases and its capacity."""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from distq.core.errors import DistqError
from distq.core.ranges import shown

POLICIES: Final = -(1 << 62)
"""Keys of stored policies are below this number; keys of schedules and client sessions are above it."""
PAUSED_NAMES_MAX: Final = 100
COUNT_MAX: Final = 1 << 40
"""Largest value that an operator may set for `running` or `capacity`."""
RATE_COUNT_MAX: Final = 1_000_000
GROUPS: Final = 64
"""Parts of a rate's period: leases within one part are recorded as one group, so that a window stays small."""
_PERIODS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE: Final = re.compile(r"([1-9]\d{0,6})/(\d{0,4})([smhd])")


class BadPolicy(DistqError):
    """An operator gave a limit that a queue cannot have."""

    code = "BAD_POLICY"
    exit_code = 2


class BadRate(BadPolicy):
    """An operator gave a text that is not a rate."""

    hint = "A rate is written 100/m (or /s, /h, /d, /30s)."


class Rate(NamedTuple):
    """The master leases at most `tasks` tasks of the queue in any `period_s` seconds."""

    tasks: int
    period_s: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read a rate such as `100/m` or `5/30s`; raises BadRate."""
        match = _RATE.fullmatch(text)
        if match is None or int(match[1]) > RATE_COUNT_MAX or match[2] == "0":
            raise BadRate(f"{shown(text)} is not a rate")
        return cls(int(match[1]), int(match[2] or 1) * _PERIODS_S[match[3]])

    def __str__(self) -> str:
        for unit, seconds in reversed(_PERIODS_S.items()):
            if self.period_s >= seconds and self.period_s % seconds == 0:
                times = int(self.period_s / seconds)
                return f"{self.tasks}/{'' if times == 1 else times}{unit}"
        raise AssertionError("every rate was read from a text")


class Policy(NamedTuple):
    """The policy of one queue; None for a limit means that the limit of the settings applies."""

    paused: bool = False
    paused_names: frozenset[str] = frozenset()
    """Names of tasks that the master does not lease while they are paused."""
    running: int | None = None
    """Maximum tasks of the queue that are in flight at the same time."""
    rate: Rate | None = None
    capacity: int | None = None
    """Maximum live tasks and dead letters of the queue."""

    @property
    def limits(self) -> bool:
        """Whether the policy limits leases of the whole queue; paused names limit only their own ready lists."""
        return self.paused or self.running is not None or self.rate is not None

    def overridden_by(self, base: Policy) -> Policy:
        """The limits of this policy, and those of `base` where this policy has none; a pause in either one applies."""
        return Policy(
            self.paused or base.paused,
            self.paused_names | base.paused_names,
            base.running if self.running is None else self.running,
            base.rate if self.rate is None else self.rate,
            base.capacity if self.capacity is None else self.capacity,
        )

    def changed(self, asked: Mapping[str, Any]) -> Policy:
        """The policy with the limits (running, rate, capacity) that `asked` contains; raises BadPolicy."""
        given: dict[str, Any] = {}
        for field in ("running", "capacity"):
            number = asked.get(field)
            if number is not None:
                if type(number) is not int or not 0 < number <= COUNT_MAX:
                    raise BadPolicy(f"{field} is a whole number from 1 to {COUNT_MAX:,}, not {shown(number)}.")
                given[field] = number
        if (rate := asked.get("rate")) is not None:
            given["rate"] = Rate.parse(rate if isinstance(rate, str) else repr(rate))
        return self._replace(**given)

    def paused_as(self, *, paused: bool, name: str | None) -> Policy:
        """The policy with the queue, or only its tasks named `name`, paused or resumed; raises BadPolicy."""
        if name is None:
            return self._replace(paused=paused, paused_names=self.paused_names if paused else frozenset())
        names = self.paused_names | {name} if paused else self.paused_names - {name}
        if len(names) > PAUSED_NAMES_MAX:
            raise BadPolicy(f"{PAUSED_NAMES_MAX} names are paused on one queue already; pause the queue.")
        return self._replace(paused_names=names)


OPEN: Final = Policy()
"""The policy without limits of its own; only those of the settings apply."""


class RateWindow:
    """The times of a queue's leases in the last period of its rate.

    A lease is counted for up to 1/64 of the period too long, never too short.
    """

    __slots__ = ("_groups", "_rate", "_spent")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._groups: deque[list[float]] = deque()
        """For each group: the times of its first and last lease, and the number of leases."""
        self._spent = 0

    def allowance(self, now: float) -> int:
        """Number of tasks that the rate allows the master to lease now."""
        groups = self._groups
        while groups and groups[0][1] + self._rate.period_s <= now:
            self._spent -= int(groups.popleft()[2])
        return max(self._rate.tasks - self._spent, 0)

    def within(self, now: float, seconds: float) -> int:
        """Number of tasks that the rate allows the master to lease from now until `seconds` later."""
        periods, rest_s = divmod(seconds, self._rate.period_s)
        left = self.allowance(now)
        ending = sum(int(count) for _, last, count in self._groups if last + self._rate.period_s <= now + rest_s)
        return min(int(periods) * self._rate.tasks + left + ending, sys.maxsize)

    def spend(self, count: int, now: float) -> None:
        """Record that the master leased `count` tasks."""
        self._spent += count
        if self._groups and now - self._groups[-1][0] <= self._rate.period_s / GROUPS:
            self._groups[-1][1:] = (now, self._groups[-1][2] + count)
        else:
            self._groups.append([now, now, count])

    def opens_at(self) -> float | None:
        """When the rate allows the next lease; None if the last call of `allowance` found that it allows one."""
        return self._groups[0][1] + self._rate.period_s if self._spent >= self._rate.tasks and self._groups else None

    def shift(self, by_s: float) -> None:
        """Move all recorded times by `by_s` seconds after the clock was set, so that the age of each lease stays."""
        for group in self._groups:
            group[0] += by_s
            group[1] += by_s

    def stored(self) -> list[list[float]]:
        """The groups as the store keeps them for a restart."""
        return [list(group) for group in self._groups]

    def restore(self, groups: list[list[float]], now: float) -> None:
        """Restore the groups that `stored` returned; a time after `now` (the clock was set back) becomes `now`."""
        for first, last, count in groups:
            self._groups.append([min(first, now), min(last, now), count])
            self._spent += int(count)


def pack_policy(queue: str, policy: Policy, window: RateWindow | None) -> bytes:
    """The row of a queue's policy in the store."""
    fields = {
        "queue": queue,
        "paused": policy.paused,
        "names": sorted(policy.paused_names),
        "running": policy.running,
        "rate": None if policy.rate is None else str(policy.rate),
        "capacity": policy.capacity,
        "spent": [] if window is None else window.stored(),
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def unpack_policy(row: bytes) -> tuple[str, Policy, list[list[float]]]:
    """Read a row: the queue's name, its policy, and the groups of its leases in the last period."""
    fields = json.loads(row)
    policy = Policy(fields["paused"], frozenset(fields["names"])).changed(fields)
    return fields["queue"], policy, fields["spent"]
