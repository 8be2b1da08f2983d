"""How tests wait for facts of other threads and processes, which nothing announces."""

import time
from collections.abc import Callable
from typing import Final

SOON_S: Final = 20.0
"""Maximum seconds that a test waits for a fact that takes milliseconds on an idle machine."""
LOOK_S: Final = 0.005
"""Seconds between two looks: a fact of another thread or process has no descriptor to wait on."""


def eventually(fact: Callable[[], object], what: str = "the fact", context: Callable[[], object] = lambda: "") -> None:
    """Wait until `fact()` is true; the test fails with `what` and the context when it is not within SOON_S."""
    until = time.perf_counter() + SOON_S
    while not fact():
        assert time.perf_counter() < until, f"not within {SOON_S:g} s: {what}\n{context()}"
        time.sleep(LOOK_S)  # no event announces the fact
