"""The operations of the HTTP API: the routes are made from them, and so is the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from distq.web.fields import object_schema
from distq.web.schemas import TASK_ID
from distq.web.task_order import IDEMPOTENCY_KEY, TASK_FIELDS
from distq.web.tasks import PATH, WAIT_MAX_S, WAIT_SHAPE

Schema = dict[str, Any]


class Parameter(NamedTuple):
    """A parameter of an operation."""

    name: str
    place: str
    """`path`, `query` or `header`."""
    schema: Schema
    description: str


class Operation(NamedTuple):
    """One method of one path."""

    operation_id: str
    method: str
    path: str
    summary: str
    description: str
    answers: dict[int, str]
    """The descriptions of the answers that carry `schema`, by status."""
    schema: str | None
    """Name of the schema of these answers; None for bytes."""
    problems: tuple[int, ...] = ()
    """The statuses of its problems, besides those of the key."""
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    needs_key: bool = True


ID: Final = Parameter("id", "path", {"type": "string", "pattern": TASK_ID}, "Id of the task.")
WAIT: Final = Parameter(
    "wait",
    "query",
    {"type": "string", "pattern": f"^{WAIT_SHAPE.pattern}$"},
    f"How long to wait for the end of the task, as in 30s or 500ms; at most {WAIT_MAX_S:g} s.",
)
RUNNING: Final = Parameter(
    "running",
    "query",
    {"type": "string", "enum": ["true", "false"]},
    "Whether to stop the task if it runs: `distq.TaskStopped` is raised in it.",
)
KEY_IN_HEADER: Final = Parameter(
    "Idempotency-Key",
    "header",
    {"type": "string", "pattern": IDEMPOTENCY_KEY.schema["pattern"]},
    "As idempotency_key in the body.",
)
QUEUES: Final = Parameter(
    "queues",
    "query",
    {"type": "array", "items": {"type": "string"}},
    "The queues that count, separated by commas or repeated; all work queues by default.",
)


def _read(operation_id: str, path: str, schema: str, summary: str, *parameters: Parameter) -> Operation:
    return Operation(operation_id, "GET", path, summary, "", {200: summary}, schema, (), parameters, needs_key=False)


OPERATIONS: Final = (
    Operation(
        "submitTask",
        "POST",
        PATH,
        "Submit a task.",
        "The answer comes after the store has the task. A worker calls the function of that name with the arguments; "
        "what it returns must be JSON too.",
        {201: "The task is stored.", 200: "An earlier request has made the task."},
        "Submitted",
        (400, 409, 413, 415, 422, 503),
        (KEY_IN_HEADER,),
        object_schema(TASK_FIELDS),
    ),
    Operation(
        "getTask",
        "GET",
        f"{PATH}/{{id}}",
        "Show a task, with its result if it has one.",
        "With `wait`, the answer comes when the task has ended, or after that time with the task as it is then.",
        {200: "The task."},
        "Task",
        (400, 404, 429, 503),
        (ID, WAIT),
    ),
    Operation(
        "getResult",
        "GET",
        f"{PATH}/{{id}}/result",
        "Get the result of a task alone, as its worker wrote it.",
        "Of any size, in JSON or as a pickle (`application/octet-stream`), which only Python can read.",
        {200: "The result."},
        None,
        (400, 404, 409, 429, 503),
        (ID, WAIT),
    ),
    Operation(
        "cancelTask",
        "POST",
        f"{PATH}/{{id}}/cancel",
        "Cancel a task.",
        "A task that waits never begins. A task that runs is stopped only with `running=true`. To cancel a task again "
        "changes nothing.",
        {200: "The task is cancelled."},
        "Task",
        (400, 404, 409, 503),
        (ID, RUNNING),
    ),
    _read("getOverview", "/api/v1/overview", "Overview", "The state of the master in a few numbers."),
    _read("getQueues", "/api/v1/queues", "Queues", "Every queue, with its counts by state."),
    _read("getWorkers", "/api/v1/workers", "Workers", "Workers and slots by pool."),
    _read("getAutoscale", "/api/v1/autoscale", "Autoscale", "The slots that queues need, for an autoscaler.", QUEUES),
)
"""All operations of the API, besides the one that answers the OpenAPI document."""
