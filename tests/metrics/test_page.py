"""Tests of how a page is rendered for many scrapers: once for all that wait, and with pauses."""

import asyncio
from collections.abc import Iterator

from distq.metrics.page import PAUSE_S_MAX, SHARE, Pace, rendered


def test_scrapers_that_wait_share_one_rendering_of_the_time_after_they_asked() -> None:
    """No scraper gets figures from before its request, however many ask without a pause."""
    figure, renderings = 1, 0

    def slices() -> Iterator[str]:
        nonlocal renderings
        renderings += 1
        yield f"figure {figure}\n"

    async def scene() -> list[bytes]:
        nonlocal figure
        pace = Pace()
        page = rendered(slices, pace)
        await pace.begin()  # another page of the same pace is being rendered
        scrapers = [asyncio.ensure_future(page()) for _ in range(20)]
        await asyncio.sleep(0)
        assert renderings == 0
        figure = 2
        pace.end(0)
        return await asyncio.gather(*scrapers)

    assert asyncio.run(scene()) == [b"figure 2\n"] * 20
    assert renderings == 1


def test_renderings_and_answers_take_a_tenth_of_the_time() -> None:
    """The pause after a rendering grows with its cost, up to a second."""

    async def scene() -> None:
        loop, pace = asyncio.get_running_loop(), Pace()
        for cost_s, pause_s in ((0.0, 0.0), (0.001, 0.001 / SHARE), (10.0, PAUSE_S_MAX)):
            pace.next_at = 0
            await pace.begin()
            earliest_at = loop.time() + pause_s
            pace.end(cost_s)
            assert earliest_at <= pace.next_at <= loop.time() + pause_s

    asyncio.run(scene())


def test_a_scraper_that_leaves_takes_the_page_from_no_other() -> None:
    """A page whose rendering fails is rendered again for the next scraper."""
    fails = True

    def slices() -> Iterator[str]:
        yield "a"
        if fails:
            raise LookupError

    async def scene() -> bytes:
        nonlocal fails
        page = rendered(slices)
        leaving, failed = asyncio.ensure_future(page()), asyncio.ensure_future(page())
        await asyncio.sleep(0)
        leaving.cancel()
        results = await asyncio.gather(leaving, failed, return_exceptions=True)
        assert [type(one) for one in results] == [asyncio.CancelledError, LookupError]
        fails = False
        return await page()

    assert asyncio.run(scene()) == b"a"
