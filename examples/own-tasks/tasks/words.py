"""Tasks of one's own: functions in a module below /app."""

from collections import Counter

import distq


@distq.task(retries=5, time_limit=60)
def most_frequent(text: str) -> str:
    """The most frequent word of a text, the first of several."""
    return Counter(text.lower().split()).most_common(1)[0][0]


@distq.task
async def count(text: str) -> dict[str, int]:
    """How often each word comes in a text; a coroutine is as good."""
    return dict(Counter(text.lower().split()))
