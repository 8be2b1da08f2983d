"""The ring of a server's keys: which key a peer has proved, and what a reload does to open connections."""

from pathlib import Path

import pytest
from tests.net.serving import Serving, serving

from distq.net.keyring import UNKNOWN, KeyReloader, KeyRing
from distq.protocol.authority import Authority
from distq.settings import Role, load
from distq.settings.role_keys import KEYS_MAX, KeyFiles, NamedKey
from distq.wire.errors import AuthenticationFailed

WEB, OLD, TEAM = b"the key of the web program", b"the old key of the program", b"the key of the workers"


def named(key: bytes, name: str, *roles: str, is_old: bool = False) -> NamedKey:
    """A key with its authority."""
    return NamedKey(key, Authority(name, roles, is_old=is_old))


def ring() -> KeyRing:
    """A ring with three keys of two names."""
    return KeyRing([named(WEB, "web", "submit"), named(OLD, "web", "submit", is_old=True), named(TEAM, "team", "work")])


def authorities(served: Serving) -> list[str]:
    """The authorities of the open connections."""
    return sorted(f"{one.authority.name} {one.authority.age}" for one in served.server.connections)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_server_knows_which_key_a_peer_has_proved(loop: str) -> None:
    """Each connection has the authority of its key, and both ends prove that same key."""
    with serving(loop, ring=ring()) as served:
        peers = [served.connect() for _ in range(3)]
        for peer, key in zip(peers, (WEB, OLD, TEAM), strict=True):
            peer.authenticate(key)
            assert peer.ask("echo", 1) == (1,)
        assert authorities(served) == ["team current", "web current", "web old"]
        assert served.server.keys.uses == {("web", "current"): 1, ("web", "old"): 1, ("team", "current"): 1}
        with served.connect() as stranger, pytest.raises(AuthenticationFailed):
            stranger.authenticate(b"a key that is not in the ring")
        for peer in peers:
            peer.socket.close()


def test_a_removed_key_ends_its_connections_and_no_others() -> None:
    """A key that stays keeps its connections; one that is gone, or allows something else now, loses them."""
    with serving(ring=ring()) as served:
        peers = [served.connect() for _ in range(3)]
        for peer, key in zip(peers, (WEB, OLD, TEAM), strict=True):
            peer.authenticate(key)
        served.eventually(lambda: len(authorities(served)) == 3)
        changed = [named(WEB, "web", "submit"), named(TEAM, "team", "read")]
        served.within(lambda: served.server.keys.replace(changed))
        assert peers[1].ends()
        assert peers[2].ends()
        assert peers[0].ask("echo", 1) == (1,)
        with served.connect() as again:
            again.authenticate(TEAM)
            assert again.ask("echo", 2) == (2,)
            assert authorities(served) == ["team current", "web current"]
        with served.connect() as gone, pytest.raises(AuthenticationFailed):
            gone.authenticate(OLD)
        for peer in peers:
            peer.socket.close()


def test_a_token_is_found_among_several_keys() -> None:
    """A bearer token is one of the keys, whole; the ring counts its use."""
    keys = ring()
    found = keys.authority_of_token(TEAM, "h:1")
    assert found is not None
    assert found.name == "team"
    assert keys.authority_of_token(TEAM[:-1], "h:1") is None
    assert keys.authority_of_token(b"", "h:1") is None
    assert keys.uses["team", "current"] == 1
    assert keys.authority_of(b"removed in the meantime", "h:1") is UNKNOWN
    assert not UNKNOWN.allows("server", "dummy")


def test_the_first_use_of_an_old_key_by_each_address_is_reported() -> None:
    """The report names the key and the peer; it comes again after the keys have changed."""
    keys, seen = ring(), list[tuple[str, str]]()
    keys.on_old_key = lambda name, peer: seen.append((name, peer))
    for peer in ("10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.2:2 (name)"):
        keys.authority_of(OLD, peer)
        keys.authority_of(WEB, peer)
    assert seen == [("web", "10.0.0.1:1"), ("web", "10.0.0.2:1")]
    keys.replace([named(WEB, "web", "submit"), named(OLD, "web", "submit", is_old=True)])
    keys.authority_of(OLD, "10.0.0.1:3")
    assert seen[2:] == [("web", "10.0.0.1:3")]


def test_changed_files_are_read_and_faulty_ones_change_nothing(tmp_path: Path) -> None:
    """After a change the ring has the new keys; a file with an error leaves the previous keys, and says why."""
    file, shared = tmp_path / "keys", tmp_path / "authkey"
    file.write_text(f"web submit {WEB.decode().replace(' ', '-')}")
    shared.write_text("the-shared-key-of-the-tests")
    environ = {"DISTQ_KEYS_PATH": str(file), "DISTQ_AUTHKEY_FILE": str(shared)}
    files = KeyFiles(load(environ, Role.MASTER).settings)
    keys = KeyRing(files.read())
    notes: list[str | None] = []
    reloader = KeyReloader(files, keys, notes.append)

    def check() -> None:
        """Check twice, as the master does in two seconds: a change counts when it is over."""
        reloader.check()
        reloader.check()

    check()
    assert notes == []
    file.write_text(f"web submit {TEAM.decode().replace(' ', '-')}\nweb submit {WEB.decode().replace(' ', '-')}")
    check()
    assert notes == [None]
    assert len(keys.keys) == 3
    before = keys.keys
    file.write_text("web submit")
    check()
    assert "has 2 words" in str(notes[-1])
    assert keys.keys == before
    file.unlink()
    check()
    assert "No such file" in str(notes[-1])
    assert keys.keys == before
    shared.write_text("another-key-of-the-tests")
    file.write_text(f"web submit {WEB.decode().replace(' ', '-')}")
    check()
    assert notes[-1] is None
    assert keys.keys[0] == b"another-key-of-the-tests"


def test_a_file_is_read_only_when_its_change_is_over(tmp_path: Path) -> None:
    """The first half of a file may end in the middle of a key, which would end the connections of all others."""
    file = tmp_path / "keys"
    lines = [f"k{number} submit the-key-of-the-tests-{number:03}-0123456789\n" for number in range(20)]
    file.write_text("".join(lines[:1]))
    files = KeyFiles(load({"DISTQ_KEYS_PATH": str(file)}, Role.MASTER).settings)
    keys = KeyRing(files.read())
    notes: list[str | None] = []
    reloader = KeyReloader(files, keys, notes.append)
    text = "".join(lines)
    for end in (10, 40, 70, len(text) - 9):
        file.write_text(text[:end])
        reloader.check()
        assert notes == []
        assert len(keys.keys) == 1
    file.write_text(text)
    reloader.check()
    assert notes == []
    reloader.check()
    assert notes == [None]
    assert len(keys.keys) == 20


def test_a_change_between_the_start_and_the_first_look_is_not_missed(tmp_path: Path) -> None:
    """The master reads its keys first, and begins to look at their files later."""
    file = tmp_path / "keys"
    file.write_text("web submit the-first-key-of-the-tests")
    files = KeyFiles(load({"DISTQ_KEYS_PATH": str(file)}, Role.MASTER).settings)
    keys = KeyRing(files.read())
    file.write_text("web submit the-other-key-of-the-tests")
    reloader = KeyReloader(files, keys, lambda _reason: None)
    reloader.check()
    reloader.check()
    assert keys.keys == (b"the-other-key-of-the-tests",)


class ReplacedWhileRead(KeyFiles):
    """Files of keys of which one is replaced between the look at them and the end of the next read."""

    replacement: tuple[Path, str] | None = None

    def read(self) -> list[NamedKey]:
        """Read the keys after the replacement has begun."""
        if self.replacement is not None:
            file, text = self.replacement
            file.write_text(text)
            self.replacement = None
        return super().read()


@pytest.mark.parametrize("half", ["team work the-key-of-the-te", "team work"])
def test_a_file_that_changes_while_it_is_read_is_read_again_when_its_change_is_over(tmp_path: Path, half: str) -> None:
    """Half a file ends no connections, and is no error in the log."""
    file = tmp_path / "keys"
    file.write_text("web submit the-key-of-the-web-program")
    files = ReplacedWhileRead(load({"DISTQ_KEYS_PATH": str(file)}, Role.MASTER).settings)
    keys = KeyRing(files.read())
    notes: list[str | None] = []
    reloader = KeyReloader(files, keys, notes.append)
    file.write_text("web submit a-new-key-of-the-web-program")
    files.replacement = file, half
    reloader.check()
    reloader.check()
    assert (keys.keys, notes) == ((b"the-key-of-the-web-program",), [])
    file.write_text("team work the-key-of-the-team-and-more")
    reloader.check()
    reloader.check()
    assert (keys.keys, notes) == ((b"the-key-of-the-team-and-more",), [None])


def test_the_last_of_as_many_keys_as_allowed_is_found() -> None:
    """A handshake tries all keys."""
    keys = KeyRing([named(b"key number %d of the tests" % number, f"k{number}", "read") for number in range(KEYS_MAX)])
    with serving(ring=keys) as served, served.connect() as peer:
        peer.authenticate(b"key number %d of the tests" % (KEYS_MAX - 1))
        assert peer.ask("echo", 1) == (1,)
        assert authorities(served) == [f"k{KEYS_MAX - 1} current"]
