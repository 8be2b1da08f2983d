"""What supervisor and executors both need for their `hello`: the protocols they speak, and a refusal's meaning."""

from typing import Final

from distq.wire.errors import RemoteRefusal

PROTOCOLS: Final = (1, 1)
"""The oldest and the newest version of distq's protocol that a worker speaks."""


def is_stdlib_server(refusal: RemoteRefusal) -> bool:
    """Whether the server that refused a `hello` is the standard library's, which answers with a traceback."""
    return str(refusal).startswith("Traceback")
