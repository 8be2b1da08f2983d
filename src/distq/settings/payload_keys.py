"""The keys of signed and encrypted payloads: reading and checking them."""

from collections.abc import Mapping
from typing import Any

from distq.settings.authkey import KEY_LENGTH_MIN, check_authkeys, is_there, parse_authkeys
from distq.settings.errors import SettingsError
from distq.settings.text_file import read_text_file

HOW_TO_MAKE_ONE = "Make one with `distq key new` and give the same key to workers and clients"
FIELDS = {"signing_keys": "DISTQ_SIGNING_KEY", "encryption_keys": "DISTQ_ENCRYPTION_KEY"}
"""The names of the settings by their fields; each has a setting of the same name with _FILE beside it."""
NAMES = tuple(FIELDS.values())


def read_payload_keys(field: str, given: str | None, values: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The keys of a field: those in the given text, or else in its file; () if neither is set.

    Raises:
        SettingsError: the file cannot be read, or a key is too short or has other text around it.
    """
    name = FIELDS[field]
    path = values[f"{name.removeprefix('DISTQ_').lower()}_file"]
    if given is not None:
        what, keys = name, parse_authkeys(given, name)
    elif path is None:
        return ()
    else:
        what = f"The file {path} of {name}_FILE"
        if not is_there(path):
            raise SettingsError(f"{name}_FILE is {path}, which does not exist. Make it with `distq key new > {path}`.")
        keys = parse_authkeys(read_text_file(path, what), name)
    if not keys:
        raise SettingsError(f"{what} holds no key. {HOW_TO_MAKE_ONE}.")
    check_authkeys(keys, what)
    shortest = min(map(len, keys))
    if shortest < KEY_LENGTH_MIN:
        raise SettingsError(
            f"{what} holds a key of {shortest} bytes, and {KEY_LENGTH_MIN} are the fewest: a signature is enough to "
            f"guess a shorter one. {HOW_TO_MAKE_ONE}."
        )
    return keys
