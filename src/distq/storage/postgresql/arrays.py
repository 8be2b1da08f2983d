"""Arrays in PostgreSQL's binary format: a batch of any size is one statement with seven parameters."""

import struct
from collections.abc import Sequence
from typing import Final

BIGINT: Final = 20
BYTEA: Final = 17
"""The type of an array's elements, as the server numbers it."""
_DIMENSIONS: Final = struct.Struct(">iiiii").pack
"""One dimension, no NULL, the element type, the number of elements, and the index of the first element."""
_EMPTY: Final = struct.Struct(">iii").pack
_EMPTY_FIELDS: Final = struct.Struct(">iii").unpack_from
_DIMENSION_FIELDS: Final = struct.Struct(">iiiii").unpack_from
_HEADER_BYTES: Final = 20
_LENGTH: Final = struct.Struct(">i").pack
integer: Final = struct.Struct(">q").pack
"""Writes one bigint."""


def integers(values: Sequence[int]) -> bytes:
    """Return an array of bigint."""
    if not values:
        return _EMPTY(0, 0, BIGINT)
    pairs = [0] * (2 * len(values))
    pairs[::2] = [8] * len(values)
    pairs[1::2] = values
    return _DIMENSIONS(1, 0, BIGINT, len(values), 1) + struct.pack(">" + "iq" * len(values), *pairs)


def byte_strings(values: Sequence[bytes]) -> bytes:
    """Return an array of bytea."""
    if not values:
        return _EMPTY(0, 0, BYTEA)
    parts = [b""] * (2 * len(values))
    parts[::2] = [_LENGTH(len(value)) for value in values]
    parts[1::2] = values
    return _DIMENSIONS(1, 0, BYTEA, len(values), 1) + b"".join(parts)


def integers_of(array: bytes) -> tuple[int, ...]:
    """Return the elements of an array of bigint without NULL."""
    dimensions, _, _ = _EMPTY_FIELDS(array)
    if not dimensions:
        return ()
    _, _, _, count, _ = _DIMENSION_FIELDS(array)
    return struct.unpack_from(">" + "iq" * count, array, _HEADER_BYTES)[1::2]
