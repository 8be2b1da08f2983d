"""Task ids: the text of a task's key."""

import re
from typing import Final

_ID: Final = re.compile("([0-9a-f]{1,12})-([0-9a-f]{1,10})")


def id_text(task_key: int) -> str:
    """The task id of a key: the store's epoch and a number, in hexadecimal."""
    return f"{task_key >> 40:x}-{task_key & 0xFFFFFFFFFF:x}"


def task_key_of(text: str) -> int:
    """The key of a task id; raises ValueError for any other text."""
    match = _ID.fullmatch(text) if isinstance(text, str) else None
    task_key = int(match[1], 16) << 40 | int(match[2], 16) if match else 0
    if match is None or id_text(task_key) != text:
        raise ValueError(f"a task id is two hexadecimal numbers, as in 1a-2f, not {text!r:.60}")
    return task_key
