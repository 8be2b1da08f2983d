"""What each role of a key may do: one row for every call that the master answers, at each of its doors.

`Authority` reads this table, and `distq.master.calls.gate` enforces it. A call without a row is for `admin` alone.
"""

from collections.abc import Mapping
from typing import Final

ADMIN: Final = "admin"
SUBMIT: Final = "submit"
WORK: Final = "work"
READ: Final = "read"
ROLES: Final = (SUBMIT, WORK, READ, ADMIN)
"""The roles; a key may have several. `admin` may do everything."""
ANYONE: Final = "anyone"
"""Stands in the table for a request that needs no key."""

# The doors, which are the first index of the table.
BROKER: Final = "broker"
HELLO: Final = "hello"
ADMIN_ACTION: Final = "admin action"
SERVER: Final = "server"
WORK_QUEUE: Final = "work"
RESULT_QUEUE: Final = "result"
HTTP: Final = "http"

_S, _W, _R = frozenset({SUBMIT}), frozenset({WORK}), frozenset({READ})
_OPERATORS: Final[frozenset[str]] = frozenset()
"""Operators alone, whose keys have the role `admin`."""
_KEYS: Final = _S | _W | _R
_ANYONE: Final = frozenset({ANYONE})

TABLE: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    BROKER: {
        "admin": _KEYS,  # by its action, below
        "before": _W,
        "cancel": _S,
        "exchange": _W,
        "goodbye": _S,
        "heartbeat": _W,
        "hello": _KEYS,  # by the peer that it introduces, below
        "results": _S,
        "running": _S | _R,
        "stats": _KEYS,
        "stream": _S | _R,
        "stuck": _S | _R,
        "submit": _S,
        "watch": _S,
    },
    HELLO: {
        "cli": _KEYS,
        "client": _S,
        "executor": _W,
        "worker": _W,
    },
    ADMIN_ACTION: {
        "backup_begin": _OPERATORS,
        "backup_read": _OPERATORS,
        "cancel": _S,
        "dead_list": _R,
        "dead_purge": _OPERATORS,
        "dead_retry": _OPERATORS,
        "dead_show": _R,
        "list": _R,
        "live": _R,
        "pause": _OPERATORS,
        "queue_reset": _OPERATORS,
        "queue_set": _OPERATORS,
        "related": _OPERATORS,
        "resume": _OPERATORS,
        "schedule_declare": _W,
        "schedule_list": _R,
        "schedule_pause": _OPERATORS,
        "schedule_put": _OPERATORS,
        "schedule_remove": _OPERATORS,
        "schedule_resume": _OPERATORS,
        "schedule_run": _OPERATORS,
        "security": _R,
        "show": _S | _R,
        "stack": _R,
        "wait": _S,
    },
    SERVER: {
        "accept_connection": _KEYS,
        "create": _KEYS,
        "decref": _KEYS,
        "dummy": _KEYS,
        "get_methods": _KEYS,
        "incref": _KEYS,
        "number_of_objects": _KEYS,
    },
    WORK_QUEUE: {
        "__repr__": _KEYS,
        "__str__": _KEYS,
        "empty": _KEYS,
        "full": _KEYS,
        "get": _W,
        "get_nowait": _W,
        "join": _S | _W,
        "put": _S,
        "put_nowait": _S,
        "qsize": _KEYS,
        "task_done": _W,
    },
    RESULT_QUEUE: {
        "__repr__": _KEYS,
        "__str__": _KEYS,
        "empty": _KEYS,
        "full": _KEYS,
        "get": _S,
        "get_nowait": _S,
        "join": _S | _W,
        "put": _W,
        "put_nowait": _W,
        "qsize": _KEYS,
        "task_done": _S,
    },
    HTTP: {
        "GET /api/v1/autoscale": _ANYONE,
        "GET /api/v1/openapi.json": _ANYONE,
        "GET /api/v1/overview": _ANYONE,
        "GET /api/v1/queues": _ANYONE,
        "GET /api/v1/tasks/{id}": _S | _R,
        "GET /api/v1/tasks/{id}/result": _S | _R,
        "GET /api/v1/workers": _ANYONE,
        "GET /livez": _ANYONE,
        "GET /metrics": _ANYONE,
        "GET /readyz": _ANYONE,
        "POST /api/v1/tasks": _S,
        "POST /api/v1/tasks/{id}/cancel": _S,
    },
}
"""By door and call: the roles that may make the call, besides `admin`."""
