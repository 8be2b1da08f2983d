"""A task of one's own: any function of one argument, in a module below /app."""

from collections import Counter


def most_frequent(text: str) -> str:
    """The most frequent word of a text, the first of several."""
    return Counter(text.lower().split()).most_common(1)[0][0]
