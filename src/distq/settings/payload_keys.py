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
    if given is not None:
        return _checked(parse_authkeys(given, name), name)
    path = values[file_field(field)]
    return () if path is None else read_payload_key_file(field, path)


def file_field(field: str) -> str:
    """The field of the setting that names the file of a field's keys: signing_key_file for signing_keys."""
    return f"{FIELDS[field].removeprefix('DISTQ_').lower()}_file"


def read_payload_key_file(field: str, path: str) -> tuple[bytes, ...]:
    """The keys of a field in a file, at least one; raises as `read_payload_keys`."""
    name = FIELDS[field]
    what = f"The file {path} of {name}_FILE"
    if not is_there(path):
        raise SettingsError(f"{name}_FILE is {path}, which does not exist. Make it with `distq key new > {path}`.")
    return _checked(parse_authkeys(read_text_file(path, what), name), what)


def _checked(keys: tuple[bytes, ...], what: str) -> tuple[bytes, ...]:
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
