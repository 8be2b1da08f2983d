"""The pauses before refusals of wrong keys, which grow with the failures of an address.

The refusal waits, not the next attempt: a peer with a right key never pauses, also behind the address of a peer that
guesses, as with NAT, a proxy, a standby that passes connections on, or loopback. A lock of the address would let one
wrong setting in a container stop all others. The pause makes a program with a wrong key try seldom; a guesser that
tries on many connections at once is not stopped by any pause, but by the length of the keys.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

PAUSE_S: Final = 0.0125
"""Seconds before the refusal of the first wrong key of an address; each further one doubles them."""
PAUSE_MAX_S: Final = 0.1
"""Maximum seconds before a refusal: a program that tells its user of a wrong key is not taken for one that hangs, and
a guesser on one connection after the other has 10 attempts a second."""
FAILURES_KEPT_S: Final = 60.0
"""Seconds after its last wrong key for which the failures of an address are remembered."""
ADDRESSES_MAX: Final = 1_000
"""Maximum addresses whose failures are remembered, to bound memory; the oldest go."""
PAUSING_MAX: Final = 32
"""Maximum connections of one address that wait for their refusal; any further one is refused immediately, so that
one address does not use the room of all peers that have not authenticated."""


class FailedKeys:
    """The failures of all addresses, at every port of one master."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By address: the number of wrong keys, and the instant of the last one in the event loop's time."""
        self._pausing: dict[str, int] = {}
        """By address: the number of connections that wait for their refusal."""

    def begin_pause(self, host: str) -> float:
        """Count a wrong key of an address; return the seconds before its refusal. `end_pause` follows after them."""
        now = asyncio.get_running_loop().time()
        count, last_at = self._failures.pop(host, (0, now))
        count = 1 if now - last_at > FAILURES_KEPT_S else count + 1
        self._failures[host] = count, now
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)
        pausing = self._pausing[host] = self._pausing.get(host, 0) + 1
        return 0.0 if pausing > PAUSING_MAX else min(PAUSE_S * 2.0 ** min(count - 1, 20), PAUSE_MAX_S)

    def end_pause(self, host: str) -> None:
        """Note that the refusal was sent, or that the peer has left."""
        left = self._pausing.pop(host, 0) - 1
        if left > 0:
            self._pausing[host] = left
