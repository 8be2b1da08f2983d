"""The tasks of the benchmarks."""


def square(n: int) -> int:
    """Do almost nothing: the benchmarks measure the transport."""
    return n * n


def same(body: bytes) -> bytes:
    """Return the argument."""
    return body
