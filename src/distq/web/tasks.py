"""The handlers of the requests that submit, find and cancel tasks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.responses import Response

from distq.core.ranges import duration_of, shown
from distq.core.strict_json import NotStrict, read_strict
from distq.core.task_ids import id_text, task_key_of
from distq.protocol.submit import queue_of
from distq.tasks.sealed import SEALED
from distq.web.api import text
from distq.web.guard import connection_of
from distq.web.json_body import body_of
from distq.web.problems import FRESH, RETRY_AFTER_S, Problem
from distq.web.task_order import IDEMPOTENCY_KEY, read_order

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from distq.web.bearer import BearerKeys
    from distq.web.task_service import FoundTask, TaskService

T = TypeVar("T")

PATH: Final = "/api/v1/tasks"
WAIT_MAX_S: Final = 60.0
"""Maximum seconds that a request waits for the end of a task; proxies end longer ones. A longer wait is shortened."""
WAITS_MAX: Final = 1_000
"""Maximum requests that wait at the same time; each has a connection of its own."""
WAIT_SHAPE: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m)?", re.ASCII)
"""The form of `wait`."""
RESULT_BYTES_MAX: Final = 256 << 10
"""Maximum bytes of a result that is an answer's member; it is read in the event loop. A larger one is fetched alone."""
RESULTS_SENT_MAX: Final = 4
"""Maximum results that are sent alone at the same time, because each is in memory until its client has read it."""
PIECE_BYTES: Final = 64 << 10
PICKLED: Final = b"\x80"
"""The first byte of a result that is pickled."""


class TaskEndpoints:
    """Answers the requests about tasks."""

    def __init__(self, service: TaskService, keys: BearerKeys) -> None:
        self.keys = keys
        self._service = service
        self._waits = 0
        """Number of requests that wait for the end of a task now."""
        self._sending = asyncio.Semaphore(RESULTS_SENT_MAX)

    async def submit(self, request: Request) -> Response:
        """`POST /api/v1/tasks`."""
        key = _header_key(request)
        order = read_order(await body_of(request), key)
        self.keys.check_queue(request, queue_of(order.envelope))
        order = order._replace(key_name=request.state.authority.name)
        accepted = await _outcome(request, self._service.submit(order))
        task_id = id_text(accepted.task_key)
        return _json(
            {"id": task_id, "created": accepted.is_new},
            HTTPStatus.CREATED if accepted.is_new else HTTPStatus.OK,
            {"Location": f"{PATH}/{task_id}"},
        )

    async def find(self, request: Request) -> Response:
        """`GET /api/v1/tasks/{id}`."""
        task_key, wait_s = _task_key(request), _wait_s(request)
        found = await self._found(request, task_key, wait_s)
        return _json(_described(found))

    async def result(self, request: Request) -> Response:
        """`GET /api/v1/tasks/{id}/result`: the result alone, as the worker wrote it."""
        task_key, wait_s = _task_key(request), _wait_s(request)
        if wait_s:
            await self._found(request, task_key, wait_s)
        await self._sending.acquire()
        sent = False
        try:
            found = await self._found(request, task_key, 0.0)
            if found.result is None:
                raise _no_result(found)
            sent = True
            return _Result(found.result, self._sending.release)
        finally:
            if not sent:
                self._sending.release()

    async def cancel(self, request: Request) -> Response:
        """`POST /api/v1/tasks/{id}/cancel`."""
        running = _single(request, "running") or "false"
        if running not in ("true", "false"):
            raise Problem(400, f"The parameter running is true or false, not {shown(running)}.")
        task_key = _task_key(request)
        if self.keys.is_limited(request):
            await self._found(request, task_key, 0.0)  # its queue is checked
        found = await _outcome(request, self._service.cancel(task_key, running=running == "true"))
        return _json(_described(found))

    async def _found(self, request: Request, task_key: int, wait_s: float) -> FoundTask:
        if wait_s and self._waits >= WAITS_MAX:
            raise Problem(
                429,
                f"{WAITS_MAX:,} requests wait for the ends of tasks already, which is the limit. Repeat the request "
                "later, or without the parameter wait.",
                code="TOO_MANY_WAITS",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        self._waits += wait_s > 0
        try:
            found = await _outcome(request, self._service.find(task_key, wait_s), wait_s)
        finally:
            self._waits -= wait_s > 0
        self.keys.check_queue(request, found.facts["queue"])
        return found


class _Result(Response):
    """A result that is sent in pieces, as fast as the client reads them."""

    def __init__(self, result: bytes, release: Callable[[], None]) -> None:
        media_type = "application/octet-stream" if result[:1] in (PICKLED, SEALED) else "application/json"
        super().__init__(None, headers={**FRESH, "Content-Length": str(len(result))}, media_type=media_type)
        self._result = result
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as Response
        result = self._result
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for at in range(0, max(len(result), 1), PIECE_BYTES):
                rest = at + PIECE_BYTES < len(result)
                await send({"type": "http.response.body", "body": result[at : at + PIECE_BYTES], "more_body": rest})
        finally:
            self._release()


async def _outcome(request: Request, future: asyncio.Future[T], for_s: float = 0.0) -> T:
    """The result of a future of the master; raises DistqError. If the client leaves, the future is cancelled."""
    if not await connection_of(request).wait(future, for_s):
        future.cancel()
        raise Problem(400, "The connection ended before the answer.")
    return future.result()


def _described(found: FoundTask) -> dict[str, Any]:
    """A task as the answer shows it."""
    facts, result, failure = found.facts, found.result, found.failure
    value, form = _value(result)
    progress = facts["progress"]
    return {
        "id": facts["id"],
        "name": facts["name"],
        "queue": facts["queue"],
        "state": facts["state"],
        "ended": found.has_ended,
        "why": facts["why"],
        "priority": facts["priority"],
        "submitted_at": facts["submitted_at"],
        "state_since_at": facts["since"],
        "due_at": facts["due_at"],
        "attempt": facts["attempt"],
        "retries": facts["retries"],
        "failures": facts["failures"],
        "lost": facts["lost"],
        "progress": None if progress is None else {"fraction": progress[0], "text": progress[1]},
        "causes": facts["causes"],
        "result": value,
        "result_format": form,
        "result_bytes": None if result is None else len(result),
        "error": None
        if failure is None
        else {"type": failure.kind, "text": failure.text, "traceback": failure.remote_traceback},
    }


def _value(result: bytes | None) -> tuple[Any, str | None]:
    """The value of a result that is strict JSON and small, and the word for the form of any result."""
    if result is None:
        return None, None
    if result[:1] == PICKLED:
        return None, "pickle"
    if result[:1] == SEALED:
        return None, "encrypted"
    if len(result) > RESULT_BYTES_MAX:
        return None, "large"
    try:
        return read_strict(result), "json"
    except NotStrict:
        return None, "other"


def _no_result(found: FoundTask) -> Problem:
    task_id, state = found.facts["id"], found.facts["state"]
    advice = "" if found.has_ended else "Repeat the request with ?wait=30s. "
    return Problem(
        409, f"Task {task_id} has no result: it is {state}. {advice}GET {PATH}/{task_id} tells more.", code="NO_RESULT"
    )


def _task_key(request: Request) -> int:
    try:
        return task_key_of(request.path_params["id"])
    except ValueError:
        raise Problem(
            404, f"{shown(request.path_params['id'])} is no task id; task ids look like 1a-2f.", code="NO_SUCH_TASK"
        ) from None


def _wait_s(request: Request) -> float:
    given = _single(request, "wait")
    if given is None:
        return 0.0
    if not WAIT_SHAPE.fullmatch(given):
        raise Problem(
            400,
            f"The parameter wait is a duration as in 30s or 500ms, at most {WAIT_MAX_S:g} s, not {shown(given)}.",
        )
    return min(duration_of(given), WAIT_MAX_S)


def _single(request: Request, name: str) -> str | None:
    """A parameter of the query, None if it is left out; raises Problem if it is there twice."""
    found = request.query_params.getlist(name)
    if len(found) > 1:
        raise Problem(400, f"The parameter {name} is there {len(found)} times. Send it once.")
    return found[0] if found else None


def _header_key(request: Request) -> str | None:
    """The key of the header Idempotency-Key, with or without the quotes of a structured field."""
    found = request.headers.getlist("idempotency-key")
    if not found:
        return None
    if len(found) > 1:
        raise Problem(400, f"The header Idempotency-Key is there {len(found)} times. Send it once.")
    key = found[0][1:-1] if len(found[0]) > 1 and found[0][0] == found[0][-1] == '"' else found[0]
    try:
        return str(IDEMPOTENCY_KEY.value(key))
    except ValueError as error:
        raise Problem(400, f"The header Idempotency-Key is not valid: {error}.") from None


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text(value) + "\n", status, {**FRESH, **(headers or {})}, "application/json")
