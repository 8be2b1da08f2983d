"""`results` and `watch`: how the master reports the ends of tasks to a client."""

from typing import Final

TaskEnd = tuple[int, int, bytes | None, list[str] | None]
"""Key of a task, its state, its outcome (a pickled result or failure), the causes of its failed attempts.

It travels as a plain tuple and is read by position: a named tuple for each task would slow the client down.
"""
BODY: Final = 2
"""Index of the outcome in a `TaskEnd`."""
