"""The settings of keys, which the table of settings includes."""

import dataclasses
from collections.abc import Mapping

from distq.settings import kinds
from distq.settings.row import ALL, MASTER
from distq.settings.row import row as _row

KEYS = "Keys"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KeysSettings:
    """The settings of the keys that peers prove; the repr never shows one."""

    authkeys: tuple[bytes, ...] = _row(
        kinds.SECRET,
        None,
        "Shared key, or several separated by commas: the master accepts each, clients and workers use the first.",
        KEYS,
        ALL,
        name="DISTQ_AUTHKEY",
    )
    authkey_file: str | None = _row(
        kinds.PATH,
        None,
        "File that contains the key; DISTQ_AUTHKEY takes precedence. It is read again after each change.",
        KEYS,
        ALL,
    )
    keys_path: str | None = _row(
        kinds.PATH,
        None,
        "File or folder with keys that have names and roles, a line each: NAME ROLE[+ROLE] KEY [QUEUES]; the master "
        "reads it again after each change.",
        KEYS,
        MASTER,
    )
    key_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The paths of the files from which keys were read, by their fields; they are read again after each change."""
    authkey_create: bool = _row(
        kinds.FLAG,
        "0",
        "Whether the master creates DISTQ_AUTHKEY_FILE with a random key if the file does not exist.",
        KEYS,
        MASTER,
    )
    http_tokens: tuple[bytes, ...] = _row(
        kinds.SECRET,
        None,
        "Token, or several separated by commas, that HTTP and its page at / accept in place of a key.",
        KEYS,
        MASTER,
        name="DISTQ_HTTP_TOKEN",
    )
