"""The tasks of the benchmarks."""


def square(n: int) -> int:
    """Do next to nothing: what is measured is the way."""
    return n * n
