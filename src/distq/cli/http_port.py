"""Tells whether an address of DISTQ_ADDRESS that does not greet as a master is an HTTP port."""

import http.client
import re
from typing import Final

from distq.core.errors import DistqError
from distq.settings.address import Address, parse_address

PROBE_S: Final = 1.0
"""Maximum seconds for the answer of an HTTP server, after the command has already waited for a greeting."""
_UNGREETED: Final = re.compile(
    r"(?:The master at|No master has answered at) (\S+) "
    r"(?:cannot be reached: (?:it sent no greeting|what listens there)|within)"
)
"""The beginnings of the sentences about an address that may be open and does not greet as a master."""


class HttpPort(DistqError):
    """An address of DISTQ_ADDRESS is an HTTP port."""

    code = "HTTP_PORT"
    hint = "Set DISTQ_ADDRESS to the address that the log of the master has in the event master_listened."
    exit_code = 3


def named_as_http_port(error: DistqError) -> DistqError:
    """Return the error, or in its place one that says that an address is an HTTP port."""
    found = [text for text in _UNGREETED.findall(str(error)) if speaks_http(parse_address(text))]
    if not found:
        return error
    return HttpPort(
        f"{found[0]} is an HTTP port, such as a master has at DISTQ_HTTP_ADDRESS; clients and workers connect to the "
        "master's other port, 9000 by default."
    )


def speaks_http(address: Address) -> bool:
    """Whether an HTTP server answers at an address."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=PROBE_S)
    try:
        connection.request("HEAD", "/livez")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
