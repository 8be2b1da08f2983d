"""Pages of a master for tests of `distq top`, as `live` answers them."""

import copy
from typing import Any

from distq.cli.top.feed import Page
from distq.cli.top.state import State

AT = 1_800_000_000.0
TOTALS = {
    "ready": 1234, "held": 0, "delayed": 7, "leased": 2, "dead": 1, "queues": 2, "workers": 1, "slots": 4, "busy": 2,
    "submitted": 100, "completed": 90, "failed": 1,
}  # fmt: skip
TASK = {"id": "1-2a", "queue": "mail", "name": "shop.tasks:send_a_very_long_newsletter"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "queues": [
        {
            "name": name, "ready": ready, "held": 0, "delayed": 7, "leased": 2, "dead": 1, "paused": paused,
            "oldest_age_s": None, "submitted": submitted, "completed": submitted,
        }
        for name, ready, paused, submitted in (("mail", 1200, False, 50), ("bulk\x1b[2J", 34, True, None))
    ],
    "workers": [
        {
            "name": "w1", "pool": "default", "host": "h", "slots": 4, "busy": 2, "draining": False,
            "memory_bytes": 64 << 20, "version": "0.1.0", "seen_age_s": 1.0,
        }
    ],
    "running": [{**TASK, "attempt": 1, "since": AT - 5.0, "holder": "w1/2", "progress": (0.5, "half")}],
    "failures": [{**TASK, "died_at": AT, "causes": ["ConnectionError: no route"], "failures": 1}],
}  # fmt: skip


def page(state: State, *, at: float = AT, matched: int | None = None, **totals: int) -> Page:
    """Return the master's answer to the state's query."""
    rows = copy.deepcopy(ROWS[state.view])
    counted = {"total": 2, "matched": len(rows) if matched is None else matched}
    return Page(state.query, {"at": at, "totals": {**TOTALS, **totals}, "rows": rows, **counted})


def shown(view: str = "queues") -> State:
    """Return a state of a view that has its page."""
    state = State()
    state.view = view
    state.receive(page(state))
    return state
