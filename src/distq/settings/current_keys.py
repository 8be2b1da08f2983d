"""Keys of a worker or client that a file holds: the file is read again after it has changed.

A rotation of keys then needs no restart. A file with an error leaves the previous keys in use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from distq.settings.authkey import read_authkey_file
from distq.settings.errors import SettingsError
from distq.settings.file_stamps import Stamp, is_fresh, stamp_of
from distq.settings.payload_keys import FIELDS, read_payload_key_file

CHECK_S: Final = 1.0
"""Seconds between two looks at a file while no new connection is made; each look takes about 2 microseconds."""
AUTHKEYS: Final = "authkeys"
_READERS: Final[Mapping[str, Callable[[str], tuple[bytes, ...]]]] = {
    AUTHKEYS: read_authkey_file,
    **{field: partial(read_payload_key_file, field) for field in FIELDS},
}

_clock = time.monotonic  # noqa: TID251 - the edge: how often a file is looked at


class HasKeyFiles(Protocol):
    """The settings of a process, or what an executor gets of them."""

    @property
    def key_files(self) -> Mapping[str, str]:
        """The paths of the files from which keys were read, by the field of the keys."""
        ...


class CurrentKeys:
    """The keys of one setting, as they are now."""

    def __init__(
        self,
        field: str,
        keys: Sequence[bytes],
        path: str | None = None,
        on_error: Callable[[str], object] | None = None,
    ) -> None:
        """Keep the keys that were read before.

        Args:
            field: the field of the setting: `authkeys`, `signing_keys` or `encryption_keys`.
            keys: the keys as they were read last.
            path: the path of their file; None for keys that no file holds, which never change.
            on_error: called with the reason if the changed file cannot be used; None: the reason is logged.
        """
        self.keys = tuple(keys)
        self._path = path
        self._read = _READERS[field]
        self._on_error = on_error or _log
        self._stamp: Stamp | None = None
        self._next_look_at = 0.0

    def now(self) -> tuple[bytes, ...]:
        """Return the keys, after a look at the file: for a new connection, or a body with an unknown key."""
        if self._path is not None:
            self._look(self._path)
        return self.keys

    def recent(self) -> tuple[bytes, ...]:
        """Return the keys as they were at most CHECK_S seconds ago; the same tuple as long as none has changed."""
        if self._path is not None and _clock() >= self._next_look_at:
            self._look(self._path)
        return self.keys

    def _look(self, path: str) -> None:
        self._next_look_at = _clock() + CHECK_S
        stamp = stamp_of(path)
        if stamp is None or stamp == self._stamp:  # a file that is missing may be on its way
            return
        try:
            keys = self._read(path)
        except SettingsError as error:
            self._stamp = stamp
            self._on_error(str(error))
            return
        if stamp_of(path) != stamp:
            return  # it was written meanwhile: the next look reads it
        self._stamp = None if is_fresh(stamp) else stamp  # None: the next look reads it once more
        if keys != self.keys:
            self.keys = keys


class CurrentPayloadKeys:
    """The keys that sign and encrypt payloads, as they are now."""

    def __init__(self, signing: CurrentKeys, encryption: CurrentKeys) -> None:
        self._signing = signing
        self._encryption = encryption

    def recent(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the signing keys and the encryption keys, as they were a second ago at most."""
        return self._signing.recent(), self._encryption.recent()

    def now(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the signing keys and the encryption keys, after a look at their files."""
        return self._signing.now(), self._encryption.now()


class HasAuthkeys(HasKeyFiles, Protocol):
    """The settings of a process that connects to a master."""

    @property
    def authkeys(self) -> tuple[bytes, ...]: ...  # noqa: D102 - named as in the settings table


class HasPayloadKeys(HasKeyFiles, Protocol):
    """The settings of a process that may sign and encrypt."""

    @property
    def signing_keys(self) -> tuple[bytes, ...]: ...  # noqa: D102 - named as in the settings table
    @property
    def encryption_keys(self) -> tuple[bytes, ...]: ...  # noqa: D102


def current_authkeys(given: HasAuthkeys, on_error: Callable[[str], object] | None = None) -> CurrentKeys:
    """The keys that a client or worker proves to a master: the first one, and of a file the others after it."""
    path = given.key_files.get(AUTHKEYS)
    return CurrentKeys(AUTHKEYS, given.authkeys[:1] if path is None else given.authkeys, path, on_error)


def current_payload_keys(
    given: HasPayloadKeys, on_error: Callable[[str], object] | None = None
) -> CurrentPayloadKeys | None:
    """The keys that sign and encrypt; None if no file holds them, so that they never change."""
    files = given.key_files
    if files.keys().isdisjoint(FIELDS):
        return None
    return CurrentPayloadKeys(
        *(CurrentKeys(field, getattr(given, field), files.get(field), on_error) for field in FIELDS)
    )


def _log(reason: str) -> None:
    logging.getLogger("distq").warning("The previous keys stay in use: %s", reason)
