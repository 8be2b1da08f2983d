"""A batch as SQL: few statements of many rows each.

Every statement releases Python's global lock and must take it again, which lasts up to five milliseconds while
the event loop is busy: a thousand statements would wait a thousand times. One statement of 256 rows is also faster
than 256 statements of one row.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

from distq.core.plurals import counted
from distq.core.ports import Batch, CommitRefused, Keep, StoreLimits

ROWS_MAX: Final = 256
"""Maximum rows of one statement; a statement has a power of two of rows, so that few kinds stay prepared."""

Statement = tuple[str, Sequence[object]]


class Writes(NamedTuple):
    """The rows of one commit, in the order in which its statements take them."""

    heads: list[int | bytes]
    """Keys and heads in turn: key, head, key, head."""
    bodies: list[int | bytes]
    """Keys and bodies in turn: key, body, key, body."""
    amended: list[int]
    """Keys that must be stored already."""
    dropped: list[int]
    byte_count: int

    @property
    def put(self) -> list[int | bytes]:
        """The keys that have a new body."""
        return self.bodies[::2]

    def statements(self) -> Iterator[Statement]:
        """Yield the statements to run between BEGIN and COMMIT."""
        yield from chunks("INSERT OR REPLACE INTO heads VALUES ", "(?,?)", "", self.heads, 2)
        yield from chunks("INSERT OR REPLACE INTO bodies VALUES ", "(?,?)", "", self.bodies, 2)
        yield from chunks("DELETE FROM heads WHERE key IN (", "?", ")", self.dropped)
        yield from chunks("DELETE FROM bodies WHERE key IN (", "?", ")", self.dropped)


def gather(batch: Batch, limits: StoreLimits) -> Writes:
    """Return the batch as rows. Raises CommitRefused if it exceeds the limits."""
    if len(batch) > limits.batch_changes_max:
        raise CommitRefused(f"a batch of {counted(len(batch), 'change')}; the limit is {limits.batch_changes_max}")
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
    """Return statements whose sum is the number of `keys` that are stored."""
    return chunks("SELECT count(*) FROM heads WHERE key IN (", "?", ")", keys)


def reads(keys: Sequence[int]) -> Iterator[Statement]:
    """Return statements that together read (key, body) of each of `keys` that is stored."""
    return chunks("SELECT key, body FROM bodies WHERE key IN (", "?", ")", keys)


def sizes(keys: Sequence[int]) -> Iterator[Statement]:
    """Return statements that together read (key, bytes of the body) of each of `keys`, without reading the bodies."""
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
    """Return the statement for `size` rows."""
    return start + ",".join([row] * size) + end
