"""Your own tasks: functions in a module below /app."""

from collections import Counter

import distq


@distq.task(retries=5, time_limit=60)
def most_frequent(text: str) -> str:
    """Return the most frequent word of a text; the first one if there are several."""
    return Counter(text.lower().split()).most_common(1)[0][0]


@distq.task
async def count(text: str) -> dict[str, int]:
    """Return the number of occurrences of each word. A task may be a coroutine function."""
    return dict(Counter(text.lower().split()))
