"""The pauses between attempts to connect."""

import pytest

from distq.net.backoff import ReconnectBackoff


def test_a_pause_doubles_up_to_the_longest_one_and_is_the_first_one_again_after_a_connection() -> None:
    """The attempts become rarer while the master is away, and frequent again after a connection."""
    backoff = ReconnectBackoff(1.0, jitter=lambda: 1.0)
    assert [round(backoff.pause_s(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.connected()
    assert backoff.pause_s() == pytest.approx(0.1)


def test_jitter_takes_up_to_half_of_a_pause() -> None:
    """Workers and clients that lost a master at the same time do not all connect again at the same time."""
    assert ReconnectBackoff(1.0, jitter=lambda: 0.0).pause_s() == pytest.approx(0.05)
