"""Keys with names and roles: reading them from DISTQ_KEYS_PATH, a file or a folder such as a mounted Secret.

Each line is one key: its name, its roles joined by `+`, the key, and the queues that it may use, if not all.

    web      submit       q8Kd…  mail.*,reports
    workers  work+submit  Zt3v…

Lines with the same name are keys that are valid side by side: the first is the present one, all others are old.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from distq.core.plurals import counted
from distq.core.ranges import shown
from distq.protocol.authority import OPERATOR, TOKEN_NAME, Authority
from distq.protocol.permissions import ROLES
from distq.settings.authkey import KEY_LENGTH_MIN, QUOTES, Authkey, check_authkeys, read_authkey_file
from distq.settings.errors import SettingsError
from distq.settings.file_stamps import stamp_of
from distq.settings.text_file import read_text_file

if TYPE_CHECKING:
    from distq.settings.table import Settings

KEYS_MAX: Final = 64
"""Maximum keys of a master: each handshake tries all of them, which takes about 2 microseconds a key."""
FILES_MAX: Final = 64
"""Maximum files in a folder of keys."""
PATTERNS_MAX: Final = 100
"""Maximum patterns of one key; a pattern that was not tried before costs each submit to a new queue a comparison."""
PATTERN_CHARS_MAX: Final = 255
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_TAKEN: Final = {OPERATOR.name: "DISTQ_AUTHKEY", TOKEN_NAME: "DISTQ_HTTP_TOKEN"}
"""The names by which logs show the keys of other settings."""
_SHAPE: Final = "A line is: NAME ROLE[+ROLE…] KEY [QUEUE,QUEUE*…]"

Signature = tuple[object, ...]


class NamedKey(NamedTuple):
    """A key, and what it allows."""

    key: bytes
    authority: Authority


class KeyFiles:
    """The keys of a master's settings, and the files that they come from."""

    def __init__(self, settings: Settings) -> None:
        self._given = settings.authkeys
        self._authkey_file = settings.key_files.get("authkeys")
        self._path = settings.keys_path
        self.signature_read: Signature = ()
        """The signature from before the last read; empty before the first."""

    def read(self) -> list[NamedKey]:
        """Read all keys.

        Raises:
            SettingsError: a file cannot be read, a line is no key, a key is there twice, or there are too many.
        """
        self.signature_read = self.signature()
        given = self._given if self._authkey_file is None else read_authkey_file(self._authkey_file)
        lines: list[_Line] = [(OPERATOR.name, OPERATOR.roles, key, ()) for key in given]
        if self._path is not None:
            lines += read_role_keys(self._path)
        named = aged(lines)
        if len(named) > KEYS_MAX:
            raise SettingsError(
                f"There are {counted(len(named), 'key')}, and a master takes at most {KEYS_MAX}: every handshake tries "
                "each. Remove old keys from DISTQ_AUTHKEY and DISTQ_KEYS_PATH."
            )
        return named

    def signature(self) -> Signature:
        """Return what changes when a file is replaced or its text changes."""
        paths = [path for path in (self._authkey_file, self._path) if path is not None]
        return tuple(_signature(Path(path)) for path in paths)


_Line = tuple[str, frozenset[str], bytes, tuple[str, ...]]


def aged(lines: Sequence[_Line]) -> list[NamedKey]:
    """Mark all keys of a name but the first as old; raises SettingsError if a key is there twice."""
    named: dict[bytes, NamedKey] = {}
    names: set[str] = set()
    for name, roles, key, queues in lines:
        if key in named:
            other = named[key].authority.name
            if other == name == OPERATOR.name:
                continue
            if other == name:
                raise SettingsError(
                    f"DISTQ_KEYS_PATH has a key twice, with the name {name!r}. Remove one of its lines."
                )
            raise SettingsError(
                f"The keys named {other!r} and {name!r} are the same. Make a key of its own for each name with "
                "`distq key new`: the key tells the master which name a peer has."
            )
        named[key] = NamedKey(key, Authority(name, roles, queues, is_old=name in names))
        names.add(name)
    return list(named.values())


def read_role_keys(path: str) -> list[_Line]:
    """Return the keys in a file, or in the files of a folder in the order of their names; raises SettingsError."""
    lines: list[_Line] = []
    for file in _files(path):
        what = f"The file {file} of DISTQ_KEYS_PATH"
        if file.exists() and not file.is_file():  # the open of a pipe would wait for its other end
            raise SettingsError(f"{what} is no regular file. Name a file, which the master reads several times.")
        lines += parse_role_keys(read_text_file(file, what), what)
        if len(lines) > KEYS_MAX:
            raise _too_many(f"DISTQ_KEYS_PATH is {path}, which")
    if not lines:
        raise SettingsError(f"DISTQ_KEYS_PATH is {path}, which holds no key. {_SHAPE}.")
    return lines


def parse_role_keys(text: str, what: str) -> list[_Line]:
    """Return the keys in the text of a file; `what` names the file in errors. Raises SettingsError."""
    found: list[_Line] = []
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line and not line.startswith("#"):
            found.append(_line(line, f"{what}, line {number},"))
            if len(found) > KEYS_MAX:  # not after the last line: a running master reads the file too
                raise _too_many(what)
    return found


def _too_many(what: str) -> SettingsError:
    return SettingsError(
        f"{what} holds more than {KEYS_MAX} keys, and a master takes at most {KEYS_MAX}: every handshake tries each. "
        "Remove old keys, or give programs of one kind one key."
    )


def _files(path: str) -> list[Path]:
    target = Path(path)
    try:
        if not target.is_dir():
            return [target]
        # Kubernetes puts the files of a mounted Secret into a folder whose name begins with two dots.
        files = sorted(file for file in target.iterdir() if not file.name.startswith(".") and not file.is_dir())
    except OSError as error:
        raise SettingsError(f"DISTQ_KEYS_PATH {path} cannot be read by user {os.getuid()}: {error.strerror}.") from None
    if len(files) > FILES_MAX:
        raise SettingsError(
            f"DISTQ_KEYS_PATH is {path}, a folder with {counted(len(files), 'file')}; it has at most {FILES_MAX}."
        )
    return files


def _line(text: str, where: str) -> _Line:
    """Read one line; raises SettingsError, which never repeats a key: of a wrong line any word may be one."""
    words = text.split()
    if len(words) not in (3, 4):
        raise SettingsError(f"{where} has {counted(len(words), 'word')}. {_SHAPE}.")
    name, roles = words[0], words[1].split("+")
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{where} begins with no name: a name has at most 63 lower-case letters, digits, '.', '-' and '_'. "
            f"{_SHAPE}."
        )
    if name in _TAKEN:
        raise SettingsError(f"{where} has the name {name!r}, which is that of {_TAKEN[name]}. Choose another one.")
    if not set(roles) <= set(ROLES):
        raise SettingsError(f"{where} has a role that does not exist; the roles are {', '.join(ROLES)}. {_SHAPE}.")
    if len(words[2]) < KEY_LENGTH_MIN:
        raise SettingsError(
            f"{where} has a key of fewer than {KEY_LENGTH_MIN} characters. Make one with `distq key new`. {_SHAPE}."
        )
    if "," in words[2]:
        raise SettingsError(
            f"{where} has a comma in its key, which clients read as two keys. Write one key, and queues after it. "
            f"{_SHAPE}."
        )
    key = Authkey(words[2].encode())
    check_authkeys((key,), where)
    return name, frozenset(roles), key, _patterns(words[3] if len(words) > 3 else "*", where)


def _patterns(text: str, where: str) -> tuple[str, ...]:
    patterns = [pattern for pattern in text.split(",") if pattern]
    if text.startswith("#"):
        raise SettingsError(f"{where} has a comment after the key. Give the comment a line of its own. {_SHAPE}.")
    if any("[" in pattern and "]" not in pattern.partition("[")[2] for pattern in patterns):
        raise SettingsError(
            f"{where} has a pattern of queues with '[' and without ']', which matches nothing else. Close it, or write "
            "[[] for the character itself."
        )
    if len(patterns) > PATTERNS_MAX or any(len(pattern) > PATTERN_CHARS_MAX for pattern in patterns):
        raise SettingsError(
            f"{where} has more than {PATTERNS_MAX} queues, or one of more than {PATTERN_CHARS_MAX} characters."
        )
    if not patterns:
        raise SettingsError(
            f"{where} has no queue as its fourth word: {shown(text)}. Leave the word out for all queues."
        )
    if any(pattern[0] in QUOTES or pattern[-1] in QUOTES for pattern in patterns):
        wrong = "quotes around a queue"
    elif not text.isprintable():
        wrong = "an invisible character in a queue"
    else:
        return () if "*" in patterns else tuple(patterns)
    raise SettingsError(f"{where} has {wrong}. Remove it: every character counts. {_SHAPE}.")


def _signature(path: Path) -> Signature:
    return tuple(_looks(path))


def _looks(path: Path) -> Iterator[object]:
    try:
        files = _files(str(path))
    except SettingsError:
        files = []
    for file in files:
        yield str(file), stamp_of(str(file))
