"""Errors as HTTP answers: problem details (RFC 9457), each with a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from distq.core.errors import DistqError, TaskExists
from distq.web.api import text

MEDIA_TYPE: Final = "application/problem+json"
FRESH: Final[Mapping[str, str]] = MappingProxyType({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
"""Headers of every answer: it is about the present, so no cache may answer in the place of this server."""

RETRY_AFTER_S: Final = 1
"""Seconds after which a client may repeat a request for which there was no room."""
STATUS_BY_CODE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "BAD_CALL": 422,
        "NAME_TOO_LONG": 422,
        "IDEMPOTENCY_KEY_REUSED": 422,
        "FORBIDDEN": 403,
        "NO_SUCH_TASK": 404,
        "TASK_EXISTS": 409,
        "CANNOT_CANCEL": 409,
        "PAYLOAD_TOO_LARGE": 413,
        "QUEUE_FULL": 503,
        "TASKS_FULL": 503,
        "TOO_MANY_NAMES": 503,
        "STORE_REFUSED": 503,
        "MASTER_ENDING": 503,
    }
)
"""The status of each error of the master, by its code; any other error is one of distq itself."""


class Problem(Exception):
    """A request that is refused.

    Args:
        status: the status of the answer.
        detail: a sentence with the fact, the limit, the value received, and what to do.
        code: a word for programs; the same for all refusals of one kind.
        headers: headers of the answer, besides those of every answer.
        members: further members of the answer.
    """

    def __init__(
        self, status: int, detail: str, *, code: str = "", headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.headers = dict(headers or {})
        self.members = members


def problem_of(error: DistqError) -> Problem:
    """An error of the master as a problem."""
    status = STATUS_BY_CODE.get(error.code, 500)
    sentence = str(error)
    detail = f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}. {error.hint}".rstrip()
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    members = {"task": error.task_id} if isinstance(error, TaskExists) else {}
    return Problem(status, detail, code=error.code, headers=headers, **members)


def answer_of(problem: Problem, request: Request) -> Response:
    """A problem as the answer to a request."""
    body = {"type": "about:blank", "title": HTTPStatus(problem.status).phrase, "status": problem.status}
    body["detail"] = problem.detail
    if problem.code:
        body["code"] = problem.code
    headers = {**FRESH, **problem.headers}
    if "expect" in request.headers:
        headers["Connection"] = "close"  # the client may send the body that it has announced, or may not
    return Response(text({**body, **problem.members}) + "\n", problem.status, headers, MEDIA_TYPE)
