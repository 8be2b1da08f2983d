"""Writes a count with its noun, for messages."""


def counted(count: int, noun: str) -> str:
    """Return the count and the noun, which gets a final s unless the count is 1: "1 task", "1,000 tasks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
