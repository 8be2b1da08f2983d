"""The JSON that the HTTP API answers, as JSON Schema with a description of each field."""

from __future__ import annotations

from typing import Any, Final

from distq.core.states import GONE, STATE_NAMES

Schema = dict[str, Any]
TASK_ID: Final = r"^[0-9a-f]{1,12}-[0-9a-f]{1,10}$"


def a(kind: str | list[str], description: str, **more: Any) -> Schema:
    """The schema of one value."""
    return {"type": kind, "description": description, **more}


def optional(kind: str, description: str, **more: Any) -> Schema:
    """The schema of a value that may be null."""
    return a([kind, "null"], description, **more)


def thing(properties: dict[str, Schema], description: str = "", *, left_out: tuple[str, ...] = ()) -> Schema:
    """The schema of an object with these properties, and perhaps others in later versions."""
    required = [name for name in properties if name not in left_out]
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    return {**schema, "description": description} if description else schema


def counts(words: dict[str, str], description: str) -> Schema:
    """The schema of an object of whole numbers."""
    return thing({word: a("integer", meaning, minimum=0) for word, meaning in words.items()}, description)


BY_STATE: Final = {
    "ready": "Tasks that wait for a free slot.",
    "held": "Tasks that wait for a dependency or a concurrency key.",
    "delayed": "Tasks that wait for an instant.",
    "leased": "Tasks that run.",
    "dead": "Dead letters.",
    "results": "Succeeded tasks whose results the master keeps.",
}
STATES: Final = [name for state, name in enumerate(STATE_NAMES) if state != GONE]

SUBMITTED: Final = thing(
    {
        "id": a("string", "Id of the task.", pattern=TASK_ID),
        "created": a("boolean", "Whether this request has made the task; otherwise an earlier one has."),
    }
)
TASK: Final = thing(
    {
        "id": a("string", "Its id.", pattern=TASK_ID),
        "name": a("string", "Its name."),
        "queue": a("string", "Its queue."),
        "state": a("string", "Its state.", enum=STATES),
        "ended": a("boolean", "Whether it has ended: its state is succeeded, dead, cancelled or expired."),
        "why": a("string", "Why it does not run, or how it has ended."),
        "priority": a("integer", "Its priority; 9 comes first."),
        "submitted_at": a("number", "Instant of its submit, in seconds since 1970."),
        "state_since_at": a("number", "Instant at which it entered its state, in seconds since 1970."),
        "due_at": optional("number", "Instant at which a delayed task becomes ready, in seconds since 1970."),
        "attempt": a(
            "integer", "The attempt that runs now or would run next, from 1; of a dead letter, its last one.", minimum=1
        ),
        "retries": a("integer", "Maximum retries after failures."),
        "failures": a("integer", "Attempts that ended in an exception or a time limit."),
        "lost": a("integer", "Deliveries whose executor died or no longer answered."),
        "progress": {
            **thing(
                {"fraction": a("number", "The part that is done, from 0 to 1."), "text": a("string", "A text.")},
                "What it reported last while it runs.",
            ),
            "type": ["object", "null"],
        },
        "causes": a("array", "Why each attempt ended, the oldest first.", items={"type": "string"}),
        "result": {"description": "Its result, if result_format is json; otherwise null."},
        "result_format": optional(
            "string",
            "The form of its result: json; pickle, of a task that a Python program has submitted; large, of JSON that "
            "only /result sends; encrypted, which only a client with the key reads; or other, no strict JSON, for "
            "example with NaN. Null without a result.",
            enum=["json", "pickle", "large", "encrypted", "other", None],
        ),
        "result_bytes": optional("integer", "Size of its result."),
        "error": {
            **thing(
                {
                    "type": a("string", "Class of the exception, as module:name, or a word such as lost."),
                    "text": a("string", "Its text."),
                    "traceback": a("string", "Its traceback in the worker."),
                },
                "Why it became a dead letter.",
            ),
            "type": ["object", "null"],
        },
    }
)
PROBLEM: Final = thing(
    {
        "type": a("string", "about:blank: the status says what kind of problem it is."),
        "title": a("string", "The name of the status."),
        "status": a("integer", "The status."),
        "detail": a("string", "What is wrong, and what to do."),
        "code": a("string", "A word for programs, such as QUEUE_FULL."),
        "task": a("string", "Id of the task that has the unique key."),
        "paths": a("array", "The paths that there are.", items={"type": "string"}),
    },
    "Problem details (RFC 9457).",
    left_out=("code", "task", "paths"),
)
OVERVIEW: Final = thing(
    {
        "version": a("string", "Version of the master."),
        "instance": a("string", "A random word, new with each start of the master."),
        "epoch": a("integer", "Number of starts of masters on this store."),
        "store": a("string", "Kind of the store."),
        "store_health": a("object", "Figures of the store; which ones depends on its kind."),
        "commits": thing(
            {
                "count": a("integer", "Commits since the master's start."),
                "sum_s": a("number", "Seconds of these commits together."),
            }
        ),
        "uptime_s": a("number", "Seconds since the master's start."),
        "ready": a("boolean", "Whether the master accepts tasks."),
        "reason": optional("string", "Why it does not."),
        "queues": a("integer", "Number of queues."),
        "schedules": a("integer", "Number of schedules."),
        "tasks": counts(BY_STATE, "Number of tasks by state."),
        "submitted": a("integer", "Tasks submitted since the master's start."),
        "completed": a(
            "object",
            "Tasks ended since the master's start, by outcome.",
            additionalProperties={"type": "integer", "minimum": 0},
        ),
        "workers": a("integer", "Number of connected workers."),
        "slots": counts({"total": "Slots of the workers.", "busy": "Slots that run a task."}, "Their slots."),
        "connections": a("integer", "Number of open connections."),
        "auth_failures": a("integer", "Connections and requests that did not prove the key."),
    }
)
QUEUES: Final = thing(
    {
        "queues": a(
            "array",
            "Every queue, by name.",
            items=thing(
                {
                    "name": a("string", "Name of the queue."),
                    "role": a("string", "work, or result for a queue of results of standard-library programs."),
                    **{word: a("integer", meaning, minimum=0) for word, meaning in BY_STATE.items()},
                    "capacity": a("integer", "Maximum live tasks and dead letters."),
                    "paused": a("boolean", "Whether the queue is paused."),
                    "paused_names": a("integer", "Number of task names that are paused in it."),
                    "running_max": optional("integer", "Its concurrency limit."),
                    "rate": optional("string", "Its rate limit."),
                    "oldest_age_s": optional("number", "Age of its oldest ready task."),
                    "mean_run_s": optional("number", "Moving average of run times."),
                }
            ),
        )
    }
)
WORKERS: Final = thing(
    {
        "pools": a(
            "array",
            "Every pool, by name.",
            items=thing(
                {
                    "pool": a("string", "Name of the pool."),
                    "workers": a("integer", "Its connected workers."),
                    "slots": a("integer", "Their slots."),
                    "busy": a("integer", "Their slots that run a task."),
                    "draining": a("integer", "Its workers that are about to end."),
                }
            ),
        )
    }
)
AUTOSCALE: Final = thing(
    {
        "desired_slots": a("integer", "Slots that the queues need together.", minimum=0),
        "running": a("integer", "Their tasks that run."),
        "ready": a("integer", "Their tasks that wait for a free slot."),
        "ready_work_s": a("number", "The expected run times of these together."),
        "target_drain_s": a("number", "The time in which the waiting tasks shall be done: DISTQ_TARGET_DRAIN_S."),
        "queues": a("array", "The queues that count.", items={"type": "string"}),
    }
)
SCHEMAS: Final = {
    "Autoscale": AUTOSCALE,
    "Overview": OVERVIEW,
    "Problem": PROBLEM,
    "Queues": QUEUES,
    "Submitted": SUBMITTED,
    "Task": TASK,
    "Workers": WORKERS,
}
"""The schemas by the names that OpenAPI gives them."""
