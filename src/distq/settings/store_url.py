"""The URL of DISTQ_STORE: its shape, and its secrets, which the settings keep apart so that the rest may be shown."""

import re
from collections.abc import Mapping
from typing import Final

DATABASES: Final = ("postgresql", "postgres")
"""Schemes of the URL of a PostgreSQL database."""
SHOWN: Final = frozenset(
    {
        *("schema", "cluster", "user", "dbname", "application_name", "fallback_application_name", "client_encoding"),
        *("host", "hostaddr", "port", "service", "passfile", "target_session_attrs", "load_balance_hosts"),
        *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        *("tcp_user_timeout", "channel_binding", "require_auth", "requirepeer"),
        *("ssl", "sslmode", "sslnegotiation", "sslcompression", "sslcert", "sslkey", "sslcertmode", "sslrootcert"),
        *("sslcrl", "sslcrldir", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("min_protocol_version", "max_protocol_version", "gssencmode", "gssdelegation", "gsslib", "krbsrvname"),
    }
)
"""The parameters that may be shown. Every other one may hold a password, also by a mistake in its name."""
WHOLE_NUMBERS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("connect_timeout", "keepalives_idle", "keepalives_interval"), "seconds"),
    "tcp_user_timeout": "milliseconds",
    **dict.fromkeys(("keepalives", "keepalives_count"), ""),
}
"""The parameters of libpq that are whole numbers, each with its unit."""
_WHOLE: Final = re.compile(r"-?\d{1,9}", re.ASCII)
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
    """Raise ValueError where libpq would take a part of a password for another part of the URL, or cannot read it."""
    from urllib.parse import unquote  # noqa: PLC0415 - 8 ms, which `distq health` does not need

    try:
        rest.encode()
        decoded = unquote(rest, errors="strict")
    except UnicodeError:
        raise ValueError("it is not UTF-8") from None
    if "\0" in decoded:
        raise ValueError("it contains a NUL character")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    user, _, hosts = authority.rpartition("@")
    if "@" in user or "@" in rest[len(authority) :] or user.count(":") > 1:
        raise ValueError(_ENCODE)
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise ValueError(f"a port is a number, and {_ENCODE}")
    parameters = [part.partition("=") for part in rest.partition("?")[2].split("&") if part]
    if not all(separator for _, separator, _ in parameters):
        raise ValueError("a parameter after '?' is written name=value, and '&' in a value as %26")
    for name, value in ((unquote(name), unquote(value)) for name, _, value in parameters):
        if name in WHOLE_NUMBERS and not _WHOLE.fullmatch(value):
            unit = WHOLE_NUMBERS[name]
            raise ValueError(f"{name} is a whole number{unit and f' of {unit}, written without a unit'}")


def split_secrets(url: str) -> tuple[str, Mapping[str, str]]:
    """Return the URL with its SHOWN parameters, and the others and the password by their names."""
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
        if unquote(name) in SHOWN:
            kept.append(part)
        else:
            secrets[unquote(name)] = unquote(value)
    return f"{scheme}://{user}{at}{hosts}" + ("?" + "&".join(kept) if kept else ""), secrets


def without_values(text: str) -> str:
    """Return as much of a wrong text as may be shown: a URL may hold a password, wherever a mistake has put it."""
    scheme, separator, _ = text.partition("://")
    return f"{scheme}://..." if separator and scheme != "sqlite" else text
