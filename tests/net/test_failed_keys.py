"""Wrong keys are refused after growing pauses, and right keys never wait."""

import asyncio
import contextlib

import pytest
from tests.net.serving import Limits, Serving, serving

from distq.net import failed_keys
from distq.net.failed_keys import ADDRESSES_MAX, FAILURES_KEPT_S, PAUSE_MAX_S, PAUSE_S, PAUSING_MAX, FailedKeys
from distq.wire.errors import AuthenticationFailed
from distq.wire.framing import pack


class FakeLoop:
    """An event loop of which only the time is used."""

    def __init__(self) -> None:
        self.at = 0.0

    def time(self) -> float:
        """Return the time that the test has set."""
        return self.at


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    """The time of the failures."""
    made = FakeLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
    return made


def pauses(failed: FailedKeys, host: str, count: int) -> list[float]:
    """The pauses of several wrong keys, each after the refusal of the one before."""
    found = []
    for _ in range(count):
        found.append(failed.begin_pause(host))
        failed.end_pause(host)
    return found


def test_pauses_grow_with_the_failures_of_an_address(loop: FakeLoop) -> None:
    """Each further failure doubles the pause up to its maximum; after a quiet minute it begins anew."""
    failed = FailedKeys()
    assert pauses(failed, "a", 3) == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert pauses(failed, "a", 2000)[-1] == PAUSE_MAX_S
    assert pauses(failed, "b", 1) == [PAUSE_S]
    loop.at += FAILURES_KEPT_S + 1
    assert pauses(failed, "a", 1) == [PAUSE_S]


@pytest.mark.usefixtures("loop")
def test_the_table_of_addresses_is_bounded() -> None:
    """With very many addresses the oldest are forgotten, and none of them waits for ever in the table."""
    failed = FailedKeys()
    for number in range(10 * ADDRESSES_MAX):
        pauses(failed, f"host-{number}", 1)
    assert len(failed._failures) == ADDRESSES_MAX
    assert failed._pausing == {}


@pytest.mark.usefixtures("loop")
def test_connections_of_one_address_beyond_the_limit_do_not_wait() -> None:
    """A further wrong key is refused immediately while many refusals of its address wait."""
    failed = FailedKeys()
    waiting = [failed.begin_pause("a") for _ in range(PAUSING_MAX)]
    assert all(waiting)
    assert failed.begin_pause("a") == 0.0
    assert failed.begin_pause("b") == PAUSE_S
    for _ in range(PAUSING_MAX + 1):
        failed.end_pause("a")
    assert failed.begin_pause("a") == PAUSE_MAX_S


def send_wrong_key(served: Serving) -> None:
    """Send an answer that no key makes; the connection stays open for its refusal."""
    peer = served.connect()
    peer.frame()
    peer.socket.sendall(pack(b"{sha256}" + bytes(32)))
    OPEN.callback(peer.socket.close)


OPEN = contextlib.ExitStack()


def test_a_right_key_never_waits_beside_wrong_ones_of_the_same_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """While refusals of the address wait, a peer with the key connects and is answered; their number stays bounded."""
    monkeypatch.setattr(failed_keys, "PAUSE_S", 3600.0)
    monkeypatch.setattr(failed_keys, "PAUSE_MAX_S", 3600.0)
    with serving(limits=Limits(unauthenticated_max=100)) as served, OPEN:
        for _ in range(PAUSING_MAX + 5):
            send_wrong_key(served)
        served.eventually(lambda: served.server.authentication_failures == PAUSING_MAX + 5)
        served.eventually(lambda: len(served.server.unauthenticated) == PAUSING_MAX)
        with served.peer() as peer:
            assert peer.ask("echo", 1) == (1,)


def test_peers_that_wait_for_their_refusal_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such connections count as not authenticated, and the oldest end first."""
    monkeypatch.setattr(failed_keys, "PAUSE_S", 3600.0)
    monkeypatch.setattr(failed_keys, "PAUSE_MAX_S", 3600.0)
    with serving(limits=Limits(unauthenticated_max=3)) as served, OPEN:
        for count in range(1, 10):
            send_wrong_key(served)
            served.eventually(lambda count=count: served.server.authentication_failures == count)  # type: ignore[misc]
        assert len(served.server.unauthenticated) == 3
        with served.peer() as peer:
            assert peer.ask("echo", 1) == (1,)
        served.eventually(lambda: served.server.unauthenticated.failed._pausing == {"127.0.0.1": 2})


def test_a_refused_peer_gets_the_answer_of_the_standard_library_after_its_pause() -> None:
    """The peer's handshake ends with an authentication error, and nothing of the connection stays."""
    with serving() as served:
        for _ in range(2):
            with served.connect() as peer:
                with pytest.raises(AuthenticationFailed):
                    peer.authenticate(b"another")
                assert peer.ends()
        served.eventually(lambda: len(served.server.unauthenticated) == 0)
        assert served.within(lambda: served.server.unauthenticated.failed._pausing) == {}
