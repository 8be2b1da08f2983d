"""The states of a task: plain integers, since an `IntEnum` hashes and compares several times slower, in Python code."""

from typing import Final

READY: Final = 0
DELAYED: Final = 1
LEASED: Final = 2
SUCCEEDED: Final = 3
DEAD: Final = 4
CANCELLED: Final = 5
EXPIRED: Final = 6
GONE: Final = 7
HELD: Final = 8
"""Ready, but held by its concurrency limit or by dependencies that have not ended; stored as READY."""
STATE_NAMES: Final = ("ready", "delayed", "leased", "succeeded", "dead", "cancelled", "expired", "gone", "held")
LATER: Final = -1
"""Sent instead of a state to a client that asks about many tasks: the end did not fit, and the client asks again."""
LIVE_STATES: Final = (READY, DELAYED, LEASED, HELD)
