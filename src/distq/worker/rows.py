"""What travels in an exchange, as an executor sees it."""

Settled = tuple[int, int, int, bytes | None, float, str] | tuple[int, int, int, bytes | None, float, str, float]
"""Task, delivery, outcome, body, seconds that it ran, a failure's short text, and the pause before its next run."""
Envelope = tuple[str, str, str, float | None]
"""Queue, name and kind of tasks, and their time limit in seconds."""
Leased = tuple[int, int, int, int, bytes]
"""Task, delivery, attempt, index of its envelope, payload."""
