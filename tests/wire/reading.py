"""Reads what a `ServerReader` returns a few events at a time."""

from collections.abc import Iterator

from distq.wire.server_reader import Event, ServerReader


def all_events(reader: ServerReader, data: bytes) -> Iterator[Event]:
    """Yield every event of the bytes."""
    yield from reader.receive(data)
    while reader.has_more:
        yield from reader.receive(b"")
