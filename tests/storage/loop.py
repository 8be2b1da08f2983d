"""Runs async tests without a plugin."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import ParamSpec

P = ParamSpec("P")


def on_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run the test on its own event loop; it fails after half a minute."""

    @functools.wraps(test)
    def run(*args: P.args, **kwds: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwds)

        asyncio.run(bounded())

    return run
