"""Refused peers do not fill the log: it has the first refusal of each address, and a count of the others."""

import asyncio
from types import SimpleNamespace
from typing import Any

from distq.master.sessions import refusals
from distq.master.sessions.refusals import ADDRESSES_MAX, RefusalLog


class Log:
    """Keeps the log entries."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        """Keep one entry."""
        self.lines.append((event, fields))


def test_the_rejections_of_many_peers_are_a_bounded_number_of_log_entries() -> None:
    """The number of entries is limited for any number of peers and addresses; the next interval starts anew."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        summed = loop.create_future()
        log = Log()
        refusal_log = RefusalLog(log)
        for number in range(1000):
            refusal_log.note(SimpleNamespace(peer=f"10.0.{number % 30}.1:{number}"), "a wrong key")  # type: ignore[arg-type]
        assert [event for event, _ in log.lines] == ["peer_turned_away"] * ADDRESSES_MAX
        loop.call_later(refusals.INTERVAL_S, summed.set_result, None)
        await summed
        event, fields = log.lines[-1]
        assert (event, fields["count"]) == ("peers_turned_away", 1000 - ADDRESSES_MAX)
        refusal_log.note(SimpleNamespace(peer="10.0.0.1:1"), "no room")  # type: ignore[arg-type]
        assert log.lines[-1] == ("peer_turned_away", {"peer": "10.0.0.1:1", "reason": "no room"})

    interval_s, refusals.INTERVAL_S = refusals.INTERVAL_S, 0.05  # type: ignore[misc] # shorter, for the test
    try:
        asyncio.run(scene())
    finally:
        refusals.INTERVAL_S = interval_s  # type: ignore[misc]


def test_refusals_of_one_address_are_counted_together_whatever_its_certificates_are() -> None:
    """The name of a verified certificate follows the address, and may contain colons."""

    async def refuse() -> None:
        log = Log()
        refusal_log = RefusalLog(log)
        for number in range(10):
            peer = SimpleNamespace(peer=f"10.0.0.1:{number} (spiffe://own/{number}:1)")
            refusal_log.note(peer, "a wrong key")  # type: ignore[arg-type]
        assert [event for event, _ in log.lines] == ["peer_turned_away"]

    asyncio.run(refuse())
