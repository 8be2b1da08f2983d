"""Where keys come from: the environment, a file, or a new one.

A key is letters, digits, '-' and '_' when distq makes it: Compose and dotenv files quote other characters
each in their own way.
"""

import os
import re
from pathlib import Path

from distq.settings.errors import SettingsError
from distq.settings.text_file import read_text_file

KEY_BYTES = 32
KEY_LENGTH_MIN = 16
"""Shorter keys can be guessed from one recorded handshake; only a master on loopback takes them."""

_ASSIGNED = re.compile(r"(?:export\s+)?\w*(?:DISTQ|KEY|SECRET|TOKEN|PASSW)\w*\s*[=:]\s*[^=\s]", re.IGNORECASE)
"""`NAME=key`, as a line of `.env` has it; a key in base64 has `=` at its end alone."""
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"

HOW_TO_MAKE_ONE = "Make one with `distq key new` and give the same to master, workers and clients"


def new_authkey() -> str:
    """A new random key, as text."""
    import secrets  # noqa: PLC0415 - 5 ms of hashes, which `distq health` does not need

    return secrets.token_urlsafe(KEY_BYTES)


def parse_authkeys(text: str) -> tuple[bytes, ...]:
    """The keys in a text: separated by commas or line ends, blank ones left out."""
    parts = (part.strip() for part in text.replace("\n", ",").split(","))
    return tuple(part.encode() for part in parts if part)


def check_authkeys(keys: tuple[bytes, ...], what: str) -> None:
    """Raise SettingsError if one of the keys is text around a key; the error never repeats it.

    Args:
        keys: what was read.
        what: says where, as in "The file key of DISTQ_AUTHKEY_FILE".
    """
    for number, key in enumerate(keys, 1):
        text = key.decode()
        if text.startswith("#"):
            wrong, hint = "a comment", "Leave it out"
        elif text[0] in _QUOTES or text[-1] in _QUOTES:
            wrong, hint = "quotes around a key", "Leave them out"
        elif _ASSIGNED.match(text):
            wrong, hint = "the name of a setting before a key, as in NAME=key", "Leave all but the key out"
        elif not text.isprintable():
            wrong, hint = "a character that cannot be seen", "Type it anew, or make a key with `distq key new`"
        else:
            continue
        where = f" as key {number} of {len(keys)}" if len(keys) > 1 else ""
        raise SettingsError(
            f"{what} holds {wrong}{where}. {hint}: master, workers and clients take every character for the key."
        )


def read_authkey_file(path: str) -> tuple[bytes, ...]:
    """The keys in a file, at least one.

    Raises:
        SettingsError: the file is missing, cannot be read, holds no key, or more around a key.
    """
    if not is_there(path):
        raise SettingsError(
            f"DISTQ_AUTHKEY_FILE is {path}, and there is no such file. "
            f"Make it with `distq key new > {path}`, or set DISTQ_AUTHKEY_CREATE=1 for the master to make it."
        )
    what = f"The file {path} of DISTQ_AUTHKEY_FILE"
    keys = parse_authkeys(read_text_file(path, what))
    if not keys:
        raise SettingsError(f"DISTQ_AUTHKEY_FILE is {path}, which holds no key. {HOW_TO_MAKE_ONE}.")
    check_authkeys(keys, what)
    return keys


def is_there(path: str) -> bool:
    """Whether a file has that name, or may have it: what keeps this user from looking is said by who reads it."""
    try:
        Path(path).stat()
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def create_authkey_file(path: str) -> bool:
    """Make the file with a new key, readable by its owner alone; False when the file was there already.

    The file appears whole: others that wait for it never read half a key.

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
            f"DISTQ_AUTHKEY_FILE {path} cannot be made by user {os.getuid()}: {error.strerror}. "
            "Name a folder that this user may write to, or give a key yourself."
        ) from None
    return True
