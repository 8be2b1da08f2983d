"""A schedule as a client defines it and as a worker declares it: its task, and when the master submits it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from distq.protocol.submit import WireTuple


class ScheduleDefinition(NamedTuple):
    """The fields of a schedule; the master checks each one, so a field that it reads may hold any value."""

    name: str
    body: bytes
    """The arguments of its task."""
    envelope: WireTuple
    """Queue, name and options of its task, with the fields of `SubmitEnvelope`."""
    when: WireTuple | None
    """With the fields of `When`."""
    constraints: WireTuple | None
    """With the fields of `SubmitConstraints`."""
    every: float | None
    """Seconds from one run to the next; either this or `cron` is set."""
    cron: str | None
    timezone: str | None
    """Name of the time zone in which `cron` is read."""
    overlap: bool | None
    """Whether a run begins although the previous one has not ended."""
    catch_up: str | None
    """What becomes of the runs that were due while no master ran."""


def write_definition(definition: ScheduleDefinition) -> dict[str, object]:
    """The definition as it travels: a mapping in which the constraints are named `more`."""
    written = definition._asdict()
    written["more"] = written.pop("constraints")
    return written


def read_definition(written: Mapping[str, Any]) -> ScheduleDefinition:
    """The fields that a peer has sent, unchecked; None where it has sent none."""
    fields = {name: written.get("more" if name == "constraints" else name) for name in ScheduleDefinition._fields}
    return ScheduleDefinition(**cast("dict[str, Any]", fields))
