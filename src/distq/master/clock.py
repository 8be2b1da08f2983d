"""The master's clock: wall-clock seconds at start, monotonic from there."""

import time


class SystemClock:
    """Seconds since 1970 that never step back, whatever is done to the machine's clock meanwhile."""

    def __init__(self) -> None:
        self._start = time.time() - time.monotonic()  # noqa: TID251 - this is the clock

    def now(self) -> float:
        """The present moment in seconds."""
        return self._start + time.monotonic()  # noqa: TID251
