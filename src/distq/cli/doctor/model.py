"""What a check is, and what it finds: a judgement of facts that were gathered before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

OK: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"
UNKNOWN: Final = "unknown"
STATES: Final = (OK, WARNING, PROBLEM, UNKNOWN)
"""The states of a finding; `unknown` if the facts of a check cannot be had."""
NAMES_SHOWN: Final = 5
"""Maximum names that a finding lists: the rest is counted."""


class Found(NamedTuple):
    """What a check has found."""

    state: str
    text: str


class Check(NamedTuple):
    """One line of the checklist; the command and the pages of the documentation take their texts from it."""

    name: str
    advice: str
    """What should hold, as an instruction."""
    why: str
    change: str
    """What to change where it does not hold: settings, chart values, lines of Compose."""
    judge: Callable[[Any], Found]
    """Judges the facts of the check's area; it reads no clock, file or socket."""
    needs: tuple[str, ...] = ()
    """Names of the facts without which the finding is unknown, as in `report.keys`."""
    missing: str = "The master does not say: it is of an earlier version, or this key may not ask (role read)."
    """The finding where a needed fact is None."""


class Finding(NamedTuple):
    """The result of one check."""

    check: Check
    area: str
    state: str
    found: str

    def fields(self) -> dict[str, str]:
        """The finding as an object of JSON."""
        check = self.check
        return {
            "check": check.name,
            "area": self.area,
            "state": self.state,
            "found": self.found,
            "why": check.why,
            "change": check.change,
        }


def examine(area: str, checks: Iterable[Check], facts: Any) -> Iterator[Finding]:
    """Yield the finding of each check of an area."""
    for check in checks:
        if any(attrgetter(name)(facts) is None for name in check.needs):
            found = Found(UNKNOWN, check.missing)
        else:
            found = check.judge(facts)
        yield Finding(check, area, found.state, found.text)


def count_states(findings: Iterable[Finding]) -> Mapping[str, int]:
    """The number of findings in each state."""
    counts = dict.fromkeys(STATES, 0)
    for finding in findings:
        counts[finding.state] += 1
    return counts


def listed(names: Iterable[str]) -> str:
    """The first names of a list, and the number of the others."""
    every = list(names)
    more = len(every) - NAMES_SHOWN
    return ", ".join(every[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
