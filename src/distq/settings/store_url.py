"""The URL of DISTQ_STORE: its shape, and its secrets, which the settings keep apart so that the rest may be shown."""

import re
from collections.abc import Mapping
from typing import Final

DATABASES: Final = ("postgresql", "postgres")
"""Schemes of the URL of a PostgreSQL database."""
SECRETS: Final = frozenset({"password", "sslpassword", "oauth_client_secret"})
"""The parameters of libpq that must not be shown."""
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:,\[\]]*)(?::\d*)?")
_ENCODE: Final = "in a name or a password '@' is written as %40, '/' as %2F, ':' as %3A and '?' as %3F"


def parse_store(text: str) -> str:
    """Check that the text names a store that this version has.

    Raises:
        ValueError: the text does not; the error repeats no part of it.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme in DATABASES:
        _check_database(rest)
    elif text != "memory:" and not (text.startswith("sqlite:///") and text.strip("/") != "sqlite:"):
        raise ValueError
    return text


def _check_database(rest: str) -> None:
    """Raise ValueError where libpq would take a part of a password for another part of the URL."""
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    user, _, hosts = authority.rpartition("@")
    if "@" in user or "@" in rest[len(authority) :] or user.count(":") > 1:
        raise ValueError(_ENCODE)
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise ValueError(f"a port is a number, and {_ENCODE}")


def split_secrets(url: str) -> tuple[str, Mapping[str, str]]:
    """Return the URL without its secrets, and the secrets by the name of libpq's parameter."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in DATABASES:
        return url, {}
    from urllib.parse import unquote  # noqa: PLC0415 - 8 ms, which `distq health` does not need

    secrets = {}
    address, _, query = rest.partition("?")
    user, at, hosts = address.rpartition("@")
    user, colon, password = user.partition(":")
    if colon and password:
        secrets["password"] = unquote(password)
    kept = []
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if unquote(name) in SECRETS:
            secrets[unquote(name)] = unquote(value)
        else:
            kept.append(part)
    return f"{scheme}://{user}{at}{hosts}" + ("?" + "&".join(kept) if kept else ""), secrets


def without_values(text: str) -> str:
    """Return as much of a wrong text as may be shown: a URL may hold a password, wherever a mistake has put it."""
    scheme, separator, _ = text.partition("://")
    return f"{scheme}://..." if separator and scheme != "sqlite" else text
