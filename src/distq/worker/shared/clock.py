"""The worker's clocks, in one place, so that everything else takes `now` as an argument or a callable."""

import time
from collections.abc import Callable
from typing import Final

Clock = Callable[[], float]
"""Gives seconds that never step back."""

MONOTONIC: Final[Clock] = time.monotonic  # noqa: TID251 - where the worker's clock is built
