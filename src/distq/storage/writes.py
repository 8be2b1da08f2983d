"""A batch as SQL: few statements of many rows each.

Every statement lets go of Python's global lock and must get it back, which takes up to five milliseconds while
the event loop is busy: a thousand statements would be a thousand waits. One of 256 rows is also faster in itself.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

from distq.core.ports import Batch, CommitRefused, Keep, StoreLimits

ROWS_MAX: Final = 256
"""Of one statement. Statements have a power of two of rows, so that few kinds stay prepared."""

Statement = tuple[str, Sequence[object]]


class Writes(NamedTuple):
    """What one commit does, in the order in which statements take it."""

    heads: list[int | bytes]
    """key, head, key, head …"""
    bodies: list[int | bytes]
    """key, body, key, body …"""
    amended: list[int]
    """Keys that must be there."""
    dropped: list[int]
    byte_count: int

    @property
    def put(self) -> list[int | bytes]:
        """The keys that bring a body."""
        return self.bodies[::2]

    def statements(self) -> Iterator[Statement]:
        """All that is to be run between BEGIN and COMMIT."""
        yield from chunks("INSERT OR REPLACE INTO heads VALUES ", "(?,?)", "", self.heads, 2)
        yield from chunks("INSERT OR REPLACE INTO bodies VALUES ", "(?,?)", "", self.bodies, 2)
        yield from chunks("DELETE FROM heads WHERE key IN (", "?", ")", self.dropped)
        yield from chunks("DELETE FROM bodies WHERE key IN (", "?", ")", self.dropped)


def gather(batch: Batch, limits: StoreLimits) -> Writes:
    """The batch as rows. Raises Refused if it is over the limits."""
    if len(batch) > limits.batch_changes_max:
        raise CommitRefused(f"a batch of {len(batch)} changes; the limit is {limits.batch_changes_max}")
    heads: list[int | bytes] = []
    bodies: list[int | bytes] = []
    amended: list[int] = []
    dropped: list[int] = []
    byte_count = 0
    body_bytes_max = limits.body_bytes_max
    for key, change in batch.items():
        if change is None:
            dropped.append(key)
            continue
        head, body = change
        heads += (key, head)
        byte_count += len(head)
        if isinstance(body, Keep):
            amended.append(key)
            continue
        bodies += (key, body)
        byte_count += len(body)
        if len(body) > body_bytes_max:
            raise CommitRefused(f"a body of {len(body)} bytes; the limit is {body_bytes_max}")
    if byte_count > limits.batch_bytes_max:
        raise CommitRefused(f"a batch of {byte_count} bytes; the limit is {limits.batch_bytes_max}")
    return Writes(heads, bodies, amended, dropped, byte_count)


def counts(keys: Sequence[object]) -> Iterator[Statement]:
    """Statements that together count how many of `keys` are there."""
    return chunks("SELECT count(*) FROM heads WHERE key IN (", "?", ")", keys)


def reads(keys: Sequence[int]) -> Iterator[Statement]:
    """Statements that together give (key, body) of those of `keys` that are there."""
    return chunks("SELECT key, body FROM bodies WHERE key IN (", "?", ")", keys)


def sizes(keys: Sequence[int]) -> Iterator[Statement]:
    """The same with how many bytes the body has, which is told without reading it."""
    return chunks("SELECT key, length(body) FROM bodies WHERE key IN (", "?", ")", keys)


def chunks(start: str, row: str, end: str, values: Sequence[object], width: int = 1) -> Iterator[Statement]:
    """Cut `values`, `width` of them a row, into statements of at most ROWS_MAX rows."""
    done, rows = 0, len(values) // width
    while done < rows:
        size = min(ROWS_MAX, 1 << (rows - done).bit_length() - 1)
        yield text(start, row, end, size), values[done * width : (done + size) * width]
        done += size


@cache
def text(start: str, row: str, end: str, size: int) -> str:
    """The statement for `size` rows."""
    return start + ",".join([row] * size) + end
