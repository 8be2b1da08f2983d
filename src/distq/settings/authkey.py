"""Keys: reading them from a text or a file, checking them, and making new ones.

A key that distq makes has only letters, digits, '-' and '_': Compose and dotenv quote other characters differently.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from distq.core.plurals import counted
from distq.settings.errors import SettingsError
from distq.settings.text_file import read_text_file

KEY_BYTES = 32
KEY_LENGTH_MIN = 16
"""Minimum characters of a key, except on loopback: one recorded handshake is enough to guess a shorter one."""

_ASSIGNED = re.compile(r"(?:export\s+)?\w*(?:DISTQ|KEY|SECRET|TOKEN|PASSW)\w*\s*[=:]\s*[^=\s]", re.IGNORECASE)
"""Matches `NAME=key`, a line of `.env`; a key in base64 has `=` at its end only."""
QUOTES = "\"'`\u2018\u2019\u201c\u201d"
"""Straight and typographic quotes; those around a word are not part of it."""

HOW_TO_MAKE_ONE = "Make one with `distq key new` and give the same key to master, workers and clients"


class Authkey(bytes):
    """The bytes of a key, which no text shows: not its repr, a format, a traceback with local variables, or a log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<authkey>"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "<authkey>"


def new_authkey() -> str:
    """Return a new random key, as text."""
    import secrets  # noqa: PLC0415 - 5 ms of hashes, which `distq health` does not need

    return secrets.token_urlsafe(KEY_BYTES)


def parse_http_tokens(text: str) -> tuple[Authkey, ...]:
    """Return the tokens of DISTQ_HTTP_TOKEN, which commas separate.

    Raises:
        SettingsError: a token is short, or has other text around it.
    """
    tokens = parse_authkeys(text, "DISTQ_HTTP_TOKEN")
    check_authkeys(tokens, "DISTQ_HTTP_TOKEN")
    if tokens and (shortest := min(map(len, tokens))) < KEY_LENGTH_MIN:
        raise SettingsError(
            f"DISTQ_HTTP_TOKEN holds a token of {counted(shortest, 'character')}; a token has at least "
            f"{KEY_LENGTH_MIN}, because a shorter one can be guessed. Make one with `distq key new`."
        )
    return tokens


def parse_authkeys(text: str, name: str = "DISTQ_AUTHKEY") -> tuple[Authkey, ...]:
    """Return the keys in a text, which commas or line ends separate; blank parts are left out.

    Raises:
        SettingsError: the text has bytes that are no UTF-8, which Python reads as halves of surrogate pairs.
    """
    parts = (part.strip() for part in text.replace("\n", ",").split(","))
    try:
        return tuple(Authkey(part.encode()) for part in parts if part)
    except UnicodeEncodeError:
        raise SettingsError(f"{name} has bytes that are no text in UTF-8. {HOW_TO_MAKE_ONE}.") from None


def check_authkeys(keys: Sequence[bytes], what: str) -> None:
    """Raise SettingsError if a key has other text around it; the error never repeats the key.

    Args:
        keys: the keys that were read.
        what: the place that they were read from, as in "The file key of DISTQ_AUTHKEY_FILE".
    """
    for number, key in enumerate(keys, 1):
        text = key.decode()
        if text.startswith("#"):
            wrong, hint = "a comment", "Leave it out"
        elif text[0] in QUOTES or text[-1] in QUOTES:
            wrong, hint = "quotes around a key", "Leave them out"
        elif _ASSIGNED.match(text):
            wrong, hint = "the name of a setting before a key, as in NAME=key", "Leave only the key"
        elif not text.isprintable():
            wrong, hint = "an invisible character", "Type the key again, or make a key with `distq key new`"
        else:
            continue
        position = f" as key {number} of {len(keys)}" if len(keys) > 1 else ""
        raise SettingsError(f"{what} holds {wrong}{position}. {hint}: every character counts as part of the key.")


def read_authkey_file(path: str) -> tuple[Authkey, ...]:
    """Return the keys in a file, at least one.

    Raises:
        SettingsError: the file is missing, cannot be read, contains no key, or other text around a key.
    """
    if not is_there(path):
        raise SettingsError(
            f"DISTQ_AUTHKEY_FILE is {path}, which does not exist. "
            f"Make it with `distq key new > {path}`, or set DISTQ_AUTHKEY_CREATE=1 to have the master make it."
        )
    what = f"The file {path} of DISTQ_AUTHKEY_FILE"
    keys = parse_authkeys(read_text_file(path, what))
    if not keys:
        raise SettingsError(f"DISTQ_AUTHKEY_FILE is {path}, which holds no key. {HOW_TO_MAKE_ONE}.")
    check_authkeys(keys, what)
    return keys


def is_there(path: str) -> bool:
    """Whether the file exists; True also where this user may not look: reading it then raises the exact error."""
    try:
        Path(path).stat()
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def create_authkey_file(path: str) -> bool:
    """Make the file with a new key, readable only by its owner; return False if the file exists.

    The file appears complete: a process that waits for it never reads half a key.

    Raises:
        SettingsError: the file cannot be made.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(new_authkey() + "\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, never replaces a key that another master has just made.
            os.link(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise SettingsError(
            f"User {os.getuid()} cannot make DISTQ_AUTHKEY_FILE {path}: {error.strerror}. "
            "Name a folder that this user may write to, or set DISTQ_AUTHKEY."
        ) from None
    return True
