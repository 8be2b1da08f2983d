"""TCP addresses: reading `host:port` and writing it."""

import re
from typing import NamedTuple

PORT_MAX = 65535


class Address(NamedTuple):
    """A TCP address; `str()` writes it as `host:port`, with an IPv6 host in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address, judged by its text: names are not resolved."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def dialled(self) -> "Address":
        """Return the address to connect to for a listener on this one: loopback for a listener on all interfaces."""
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)  # noqa: S104 - read, not bound


def parse_address(text: str) -> Address:
    """Read `host:port`, or `[IPv6]:port`.

    Raises:
        ValueError: the text is neither; the message is a clause that says what is wrong.
    """
    if "://" in text:
        raise ValueError(f"it is a URL: {_without_scheme(text)}")
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        raise ValueError("it has no port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address goes in brackets, as in [::1]:9000")
    if not host or not host.isprintable() or any(char in host for char in " []/@"):
        raise ValueError("its host is missing or not a host name")
    if not (port.isascii() and port.isdigit() and len(port) < 10 and int(port) <= PORT_MAX):
        raise ValueError(f"its port is not a number from 0 to {PORT_MAX}")
    return Address(host, int(port))


def _without_scheme(url: str) -> str:
    """What to write in the place of a URL; a password in it is not repeated."""
    part = re.split("[/?#]", url.strip().partition("://")[2])[0].rpartition("@")[2]
    try:
        return f"write {parse_address(part)}"
    except ValueError:
        return "write the host and the port, as in host:9000"


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read one address or several, separated by commas.

    Raises:
        ValueError: a part is not an address, or there is no part.
    """
    addresses = tuple(parse_address(part) for part in text.split(",") if part.strip())
    if not addresses:
        raise ValueError("it names no address")
    return addresses
