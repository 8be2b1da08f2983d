"""What the blocks of `distq.testing` change in this process: the environment, the clients, and `distq.current()`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from distq.client.client import exchange_make_session
from distq.client.session_port import MakeSession
from distq.settings.load import PREFIX
from distq.tasks import current
from distq.tasks.current import Current


class Surroundings(NamedTuple):
    """What the tested program finds in this process."""

    environ: Mapping[str, str]
    """The variables that begin with DISTQ_."""
    make_session: MakeSession
    """Makes the sessions of new clients."""
    find_current: Callable[[], Current | None] | None
    """Finds the task that runs, for `distq.current()`."""


class _Block:
    """A block that has not ended, with what held in it when the next one began."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings


_blocks: Final[list[_Block]] = []
"""The process without blocks, then the blocks that have not ended, the oldest first; empty outside of blocks."""


@contextmanager
def surrounded_by(surroundings: Surroundings) -> Iterator[None]:
    """Give this process other surroundings inside the block; of several blocks, in any order, the newest one's hold."""
    before = _exchange(surroundings)
    if _blocks:
        _blocks[-1].surroundings = before
    else:
        _blocks.append(_Block(before))
    block = _Block(surroundings)
    _blocks.append(block)
    try:
        yield
    finally:
        is_newest = _blocks[-1] is block
        _blocks.remove(block)
        if is_newest:
            _exchange(_blocks[-1].surroundings)
        if len(_blocks) == 1:
            _blocks.clear()


def _exchange(new: Surroundings) -> Surroundings:
    """Set the surroundings, and return those before."""
    environ = {name: text for name, text in os.environ.items() if name.startswith(PREFIX)}
    for name in environ:
        del os.environ[name]
    os.environ.update(new.environ)
    before = Surroundings(environ, exchange_make_session(new.make_session), current.find_current)
    current.find_current = new.find_current
    return before
