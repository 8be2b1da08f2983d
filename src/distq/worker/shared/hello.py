"""Tells a server of the standard library from a master by how it refuses a `hello`."""

from distq.wire.errors import RemoteRefusal


def is_stdlib_server(refusal: RemoteRefusal) -> bool:
    """Whether the server that refused a `hello` is the standard library's, which answers with a traceback."""
    return str(refusal).startswith("Traceback")
