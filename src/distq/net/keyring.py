"""The keys that a server accepts, and what each one allows; they may change while the server runs."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from distq.protocol.authority import OPERATOR, TOKEN_NAME, Authority
from distq.settings.errors import SettingsError
from distq.settings.role_keys import KeyFiles, NamedKey

OLD_SEEN_MAX: Final = 1_000
"""Maximum pairs of a key's name and an address that are reported for their use of an old key until the next change."""
UNKNOWN: Final = Authority("", ())
"""The authority of a connection that has not proved a key: it allows nothing."""


class KeyRing:
    """The keys of one server."""

    def __init__(self, named: Iterable[NamedKey]) -> None:
        self.uses: dict[tuple[str, str], int] = {}
        """Number of handshakes and HTTP requests that proved a key, by the key's name and its age."""
        self.on_change: Callable[[Callable[[Authority], bool]], None] = lambda _is_valid: None
        """Called after a change with a function that tells whether an authority is still valid."""
        self.on_old_key: Callable[[str, str], None] = lambda _name, _peer: None
        """Called with a key's name and a peer's address when that address first uses an old key of the name."""
        self._old_seen: set[tuple[str, str]] = set()
        self._authorities: Mapping[bytes, Authority] = {}
        self.keys: tuple[bytes, ...] = ()
        """The keys as a handshake tries them."""
        self._use(named)

    @classmethod
    def of_tokens(cls, tokens: Sequence[bytes]) -> KeyRing:
        """Return the ring of DISTQ_HTTP_TOKEN, whose tokens allow everything over HTTP; no handshake tries them."""
        return cls(
            NamedKey(token, Authority(TOKEN_NAME, OPERATOR.roles, is_old=at > 0)) for at, token in enumerate(tokens)
        )

    def replace(self, named: Iterable[NamedKey]) -> None:
        """Accept these keys from now on, and no others."""
        self._use(named)
        self.on_change(lambda authority: any(authority is one for one in self._authorities.values()))

    def _use(self, named: Iterable[NamedKey]) -> None:
        """Take keys into use. A key that has not changed keeps its authority, and thus its connections."""
        taken: dict[bytes, Authority] = {}
        for key, authority in named:
            known = self._authorities.get(key)
            taken[key] = known if known is not None and known.is_like(authority) else authority
        self._authorities, self.keys = taken, tuple(taken)
        self._old_seen.clear()
        labels = [(authority.name, authority.age) for authority in taken.values()]
        self.uses = {label: self.uses.get(label, 0) for label in labels}

    @property
    def authorities(self) -> Iterable[Authority]:
        """What each key allows, in the order of the keys."""
        return self._authorities.values()

    def authority_of(self, key: bytes, peer: str) -> Authority:
        """Return what a key allows that a peer has just proved, and count the use; UNKNOWN if it was removed since."""
        authority = self._authorities.get(key, UNKNOWN)
        if authority is not UNKNOWN:
            self.uses[authority.name, authority.age] += 1
            if authority.is_old:
                self._note_old(authority, peer)
        return authority

    def _note_old(self, authority: Authority, peer: str) -> None:
        """Report the first use of an old key by each host."""
        host = peer.partition(" (")[0].rpartition(":")[0]
        if (authority.name, host) not in self._old_seen and len(self._old_seen) < OLD_SEEN_MAX:
            self._old_seen.add((authority.name, host))
            self.on_old_key(authority.name, peer)

    def authority_of_token(self, token: bytes, peer: str) -> Authority | None:
        """Return what a sent key allows, None if it is no key; the time does not depend on the bytes of the keys."""
        found = None
        for key in self.keys:
            if hmac.compare_digest(token, key):
                found = key
        return None if found is None else self.authority_of(found, peer)


class KeyReloader:
    """Reads the files of keys again after they have changed.

    Args:
        files: the files that hold the keys, from which `ring` was read.
        ring: the ring that gets the keys.
        on_reload: called after a change with None, or with the reason why the previous keys stay in use.
    """

    def __init__(self, files: KeyFiles, ring: KeyRing, on_reload: Callable[[str | None], None]) -> None:
        self._files = files
        self._ring = ring
        self._on_reload = on_reload
        self._signature = self._last_seen = files.signature_read
        """As of the last read, not of now: the files may have changed since."""

    def check(self) -> None:
        """Read the files if they have changed, and if they are as they were at the last call.

        A file that is only half written may have keys that are cut off: the ends of lines prove nothing. What was read
        of files that changed meanwhile is therefore not used either.
        """
        before, self._last_seen = self._last_seen, self._files.signature()
        if self._last_seen == self._signature or self._last_seen != before:
            return
        reason, named = None, list[NamedKey]()
        try:
            named = self._files.read()
        except SettingsError as error:
            reason = str(error)
        self._last_seen = self._files.signature()
        if self._last_seen != before:
            return
        self._signature = before
        if reason is None:
            self._ring.replace(named)
        self._on_reload(reason)
