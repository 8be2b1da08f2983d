"""A row of the outbox: a task that is encoded and checked in the program, and that a relay submits later."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Final, NamedTuple

from distq.client.encoder import TaskEncoder
from distq.client.outbox import SubmitOptions, check_size
from distq.core.ranges import shown
from distq.protocol.submit import (
    NO_KEYS,
    RETURN,
    SubmitConstraints,
    SubmitEnvelope,
    When,
    WireTuple,
    write_constraints,
    write_envelope,
    write_when,
)
from distq.settings.kinds import parse_bytes
from distq.tasks.identity import path_of
from distq.tasks.options import checked_to_send
from distq.tasks.tracing import API, outgoing

UNIQUE_OPTIONS: Final = ("unique_key", "unique_for", "on_conflict", "debounce")
"""Options that a row cannot have: its own unique key has the master accept it once."""
EXCLUDED_OPTIONS: Final = (*UNIQUE_OPTIONS, "full")
"""The same, and the one about full queues: a row waits in its table for room in the queue."""
PAYLOAD_BYTES_MAX: Final = 16 << 20
"""The default of DISTQ_PAYLOAD_BYTES_MAX; a program with an outbox needs no settings of distq."""
PAYLOAD_BYTES_MAX_MIN: Final = 1024
"""The smallest value of DISTQ_PAYLOAD_BYTES_MAX."""
ONCE_S: Final = 86_400.0
"""Seconds after a row's first submit for which the master knows the row again: it keeps the task's result that long."""
CLOCKS_S: Final = 3_600.0
"""Seconds by which the clocks of two relays may differ, in addition to ONCE_S."""
EXPIRED_S: Final = 0.001
"""Seconds until the expiry of a task whose time is over when a relay submits it: the master then ends it as expired."""

_now = time.time  # noqa: TID251 - the edge: the instant at which a program adds a row


class NewRow(NamedTuple):
    """What a program adds to the table, in the same transaction as its data."""

    key: str
    """The row's unique key at the master."""
    created_at: float
    """Instant of the program's call, in seconds since 1970."""
    name: str
    """The name of the task, for operators."""
    options: str
    """The envelope, the times and the constraints of the task, in JSON."""
    body: bytes
    """The arguments, as a worker reads them."""


class OutboxRow(NamedTuple):
    """A row that a relay has claimed."""

    id: int
    key: str
    created_at: float
    options: str
    body: bytes
    attempted_at: float
    """Instant of the first claim after which the row may have reached the master, in seconds since 1970."""
    attempts: int
    """How often relays have claimed the row, this time included."""


class RowEncoder(TaskEncoder):
    """Turns calls into rows, with options as `client.options` takes them."""

    def __init__(self, options: Mapping[str, Any], payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        super().__init__(options)
        self._payload_bytes_max = payload_bytes_max

    def with_options(self, options: Mapping[str, Any]) -> RowEncoder:
        """The same encoder with other options; raises TypeError or ValueError for one that a row cannot have."""
        checked_to_send(options, EXCLUDED_OPTIONS)
        for option in UNIQUE_OPTIONS:
            if options.get(option) is not None:
                raise TypeError(f"a row of the outbox takes no {option}: it has a unique key of its own")
        if options.get("full") is not None:
            raise TypeError("a row of the outbox takes no option full: it waits in its table for room in the queue")
        return RowEncoder({**self._options, **options}, self._payload_bytes_max)

    def row(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], key: str | None = None
    ) -> NewRow:
        """The row of a call; raises what `client.submit` raises for a call that cannot be sent."""
        submit_options, body = self._encoded(fn, tuple(args), dict(kwargs))
        check_size(body, self._payload_bytes_max)
        if API in sys.modules:  # the task belongs to the trace of the program, not to one of the relay
            submit_options = submit_options.carrying(outgoing(*submit_options.envelope[:2]))
        if SubmitConstraints(*submit_options.constraints or NO_KEYS).unique_key is not None:
            raise TypeError(
                f"{path_of(fn)} has a unique key, and a row of the outbox has one of its own: submit the task without "
                "the outbox, or without its unique key"
            )
        now = _now()
        when = _absolute(submit_options.when, now)
        options = json.dumps([submit_options.envelope, when, submit_options.constraints])
        return NewRow(key or uuid.uuid4().hex, now, submit_options.envelope[1], options, body)


def checked_payload_bytes_max(value: object) -> int:
    """The maximum bytes of a task's arguments, from a number or a text; raises TypeError or ValueError."""
    sentence = (
        f"payload_bytes_max is a size of at least {PAYLOAD_BYTES_MAX_MIN:,} bytes: a whole number, or a text such as "
        f"'16MiB'; not {shown(value)}"
    )
    if isinstance(value, bool) or not isinstance(value, Integral | str):
        raise TypeError(sentence)
    try:
        size_bytes = parse_bytes(value.strip()) if isinstance(value, str) else int(value)
    except ValueError as error:
        raise ValueError(f"{sentence}: {error}" if str(error) else sentence) from None
    if size_bytes < PAYLOAD_BYTES_MAX_MIN:
        raise ValueError(sentence)
    return size_bytes


def submit_options_of(row: OutboxRow, now: float) -> SubmitOptions:
    """The options with which a relay submits a row; raises ValueError or TypeError if it was changed."""
    envelope, when, constraints = json.loads(row.options)
    sent = SubmitEnvelope(*envelope)
    sent = sent._replace(requires=None if sent.requires is None else tuple(sent.requires))
    known = SubmitConstraints(*constraints or NO_KEYS)
    headers = tuple((name, text) for name, text in known.headers)
    return SubmitOptions(
        write_envelope(sent),
        _relative(when, row.created_at, now),
        write_constraints(
            known.concurrency_key, known.concurrency, row.key, ONCE_S + CLOCKS_S, RETURN, headers=headers
        ),
    )


def queue_of(row: OutboxRow) -> str:
    """The queue of a row's task."""
    return SubmitEnvelope(*json.loads(row.options)[0]).queue


def _absolute(when: WireTuple | None, now: float) -> WireTuple | None:
    """The times of a task with the end of its delay as an instant: the row may wait in its table."""
    if when is None:
        return None
    given = When(*when)
    if given.delay_s is None:
        return when
    return write_when(When(None, max(now + given.delay_s, given.eta_at or 0.0), given.expires_s))


def _relative(when: WireTuple | None, created_at: float, now: float) -> WireTuple | None:
    """The times of a task with its expiry counted from now: it begins with the program's call."""
    if when is None:
        return None
    given = When(*when)
    if given.expires_s is None:
        return write_when(given)
    return write_when(given._replace(expires_s=max(created_at + given.expires_s - now, EXPIRED_S)))
