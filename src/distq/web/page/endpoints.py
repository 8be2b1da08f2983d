"""The handlers of the page's requests: its files, its data, its events, its session and its actions.

The paths below `/page` belong to the page of the same version and may change with it; programs use `/api/v1`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response, StreamingResponse

from distq.core.errors import DistqError
from distq.core.ranges import shown
from distq.logs import log_output
from distq.protocol.permissions import ADMIN_ACTION
from distq.web import api
from distq.web.bearer import bearer_token, peer_of
from distq.web.guard import connection_of
from distq.web.json_body import body_of, read_object
from distq.web.page import public
from distq.web.page.session import Sessions, check_same_origin
from distq.web.page.task_view import task_view
from distq.web.problems import FRESH, RETRY_AFTER_S, Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from distq.metrics.view import MasterMetrics
    from distq.protocol.authority import Authority
    from distq.web.admin_service import AdminService
    from distq.web.bearer import BearerKeys

Answer = Callable[["Request"], Awaitable[Response]]

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/views.js": ("views.js", "text/javascript; charset=utf-8"),
    "/page/client.js": ("client.js", "text/javascript; charset=utf-8"),
    "/page/dom.js": ("dom.js", "text/javascript; charset=utf-8"),
    "/page/task.js": ("task.js", "text/javascript; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The files of the page, by path: name and media type."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS: Final = {
    **FRESH,
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of all answers to the page: scripts and styles come from this server only, and no other page embeds them."""
EVENT_S: Final = 2.0
"""Seconds between two events of a stream."""
STREAMS_MAX: Final = 16
"""Streams from which on a reader without a key gets none: each examines all queues every two seconds."""
READS_MAX: Final = 2
"""Maximum reads without a key at the same time, the others wait: one may examine 100,000 tasks."""
ROWS_MAX: Final = 100
"""Maximum rows of a page of rows."""
EXAMINED_MAX: Final = 100_000
"""Maximum tasks that one read examines, a fraction of a second; the page continues a search with further reads."""
ACTION_S: Final = 600.0
"""Maximum seconds of an action, which may settle a million tasks."""
LOGGED_CHARS_MAX: Final = 500
"""Maximum characters of each text that comes from a browser in a line of the log."""

READS: Final[Mapping[str, frozenset[str]]] = {
    "live": frozenset({"view", "sort", "filter", "offset", "limit"}),
    "list": frozenset({"queue", "name", "states", "after", "limit"}),
    "dead_list": frozenset({"queue", "name", "error", "after", "limit"}),
    "schedule_list": frozenset(),
    "show": frozenset({"id"}),
}
"""The operators' calls that the page reads, and the parameters of each."""
ACTIONS: Final[Mapping[str, frozenset[str]]] = {
    "cancel": frozenset({"ids", "queue", "name", "running", "dry_run"}),
    "dead_purge": frozenset({"ids", "queue", "name", "error", "dry_run"}),
    "dead_retry": frozenset({"ids", "queue", "name", "error", "dry_run"}),
    "pause": frozenset({"queue"}),
    "resume": frozenset({"queue"}),
    "schedule_pause": frozenset({"name"}),
    "schedule_resume": frozenset({"name"}),
    "schedule_run": frozenset({"name"}),
}
"""The operators' calls that the page may make as actions, and the fields of each."""


PAGE_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "/page/session": ("GET", "POST", "DELETE"),
    "/page/events": ("GET",),
    "/page/read/{what}": ("GET",),
    "/page/act/{what}": ("POST",),
}
"""The methods of the page's requests, by path."""


class PageEndpoints:
    """Answers the page's requests."""

    def __init__(self, view: MasterMetrics, service: AdminService, keys: BearerKeys) -> None:
        self._view = view
        self._service = service
        self._sessions = Sessions(keys)
        self._reading = asyncio.Semaphore(READS_MAX)
        self._streams = 0
        """Number of open streams of events."""

    def answers(self) -> dict[str, dict[str, Answer]]:
        """Return the handlers by path and method."""
        files = {path: {"GET": answer} for path, answer in file_answers().items()}
        called: dict[str, list[Answer]] = {
            "/page/session": [self.session, self.sign_in, self.sign_out],
            "/page/events": [self.events],
            "/page/read/{what}": [self.read],
            "/page/act/{what}": [self.act],
        }
        return {**files, **{path: dict(zip(PAGE_METHODS[path], of, strict=True)) for path, of in called.items()}}

    async def session(self, request: Request) -> Response:
        """`GET /page/session`: whether the browser is signed in."""
        authority = await self._authority(request)
        if authority is None:
            return _json({"signed_in": False})
        reads = authority.allows(ADMIN_ACTION, "live") and not authority.queues
        acts = authority.allows(ADMIN_ACTION, "dead_retry")
        return _json({"signed_in": True, "key": authority.name, "reads": reads, "acts": acts})

    async def sign_in(self, request: Request) -> Response:
        """`POST /page/session`: exchange a key for a cookie."""
        check_same_origin(request)
        token = read_object(await body_of(request)).get("token")
        if not isinstance(token, str) or not token:
            raise Problem(422, "The field token is a text: a token of DISTQ_HTTP_TOKEN, or a key of the cluster.")
        response = _json({"signed_in": True})
        await self._sessions.begin(request, token, self._view.now(), response)
        return response

    async def sign_out(self, request: Request) -> Response:
        """`DELETE /page/session`: remove the cookie."""
        check_same_origin(request)
        response = _json({"signed_in": False})
        self._sessions.end(request, response)
        return response

    async def read(self, request: Request) -> Response:
        """`GET /page/read/{what}`: a page of rows, or one task."""
        what = request.path_params["what"]
        if what not in READS:
            raise Problem(404, f"There is no {request.url.path} here.", reads=sorted(READS))
        asked = _asked(request, what)
        sees_all = self._sees_all(await self._authority(request), what, asked)
        async with contextlib.nullcontext() if sees_all else self._reading:
            if what == "show":
                return _json(await task_view(partial(self._ask, request), asked, sees_all=sees_all))
            return _json(self._shown(what, asked, await self._ask(request, what, asked), sees_all=sees_all))

    async def events(self, request: Request) -> Response:
        """`GET /page/events`: a `live` page every two seconds, as server-sent events."""
        asked = _asked(request, "live")
        sees_all = self._sees_all(await self._authority(request), "live", asked)
        if self._streams >= STREAMS_MAX and not sees_all:
            raise Problem(
                429,
                f"{STREAMS_MAX} pages receive events already, which is the limit for readers without a key. Close one, "
                "or sign in.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        self._streams += 1
        try:
            first = self._shown("live", asked, await self._ask(request, "live", asked), sees_all=sees_all)
        except BaseException:
            self._streams -= 1
            raise
        return _EventStream(self._events(request, asked, first, sees_all=sees_all), self._end_stream)

    async def _events(
        self, request: Request, asked: dict[str, Any], answer: Any, *, sees_all: bool
    ) -> AsyncIterator[str]:
        ending = asyncio.ensure_future(self._service.ending.wait())
        try:
            while True:
                yield f"data: {api.text(answer)}\n\n"
                over = asyncio.ensure_future(asyncio.wait((ending,), timeout=EVENT_S))
                is_there = await connection_of(request).wait(over, EVENT_S)
                over.cancel()
                if ending.done() or not is_there:
                    return
                if sees_all and not self._sees_all(await self._authority(request), "live", asked):
                    return  # the browser connects again, without a session
                answer = self._shown("live", asked, await self._ask(request, "live", asked), sees_all=sees_all)
        finally:
            ending.cancel()

    def _end_stream(self) -> None:
        self._streams -= 1

    async def act(self, request: Request) -> Response:
        """`POST /page/act/{what}`: an action, which the page has confirmed; the log records it."""
        check_same_origin(request)
        what = request.path_params["what"]
        if what not in ACTIONS:
            raise Problem(404, f"There is no {request.url.path} here.", actions=sorted(ACTIONS))
        authority = await self._authority(request)
        if authority is None:
            raise Problem(401, "An action needs a session: sign in with a token of DISTQ_HTTP_TOKEN.")
        asked = read_object(await body_of(request))
        if unknown := asked.keys() - ACTIONS[what]:
            raise Problem(422, f"There is no field {shown(min(unknown))}; {what} takes {', '.join(ACTIONS[what])}.")
        self._service.check(authority, what, asked)
        if what == "cancel":
            asked["cause"] = "by an operator on the page"
        outcome: Any = "the browser left before the end"
        try:
            answer = outcome = await self._ask(request, what, asked, ACTION_S)
        except Exception as error:
            outcome = str(error)
            raise
        finally:
            if not asked.get("dry_run"):
                _log_action(request, authority.name, what, asked, outcome)
        return _json(answer)

    async def _authority(self, request: Request) -> Authority | None:
        return await self._sessions.authority(request, self._view.now())

    def _sees_all(self, authority: Authority | None, what: str, asked: Mapping[str, Any]) -> bool:
        """Whether a key allows a read as the command line makes it; without such a key the answer has fewer fields."""
        if authority is None:
            return False
        try:
            self._service.check(authority, what, asked)
        except DistqError:
            return False
        return True

    async def _ask(self, request: Request, what: str, asked: Mapping[str, Any], for_s: float = 0.0) -> Any:
        """Return the answer of the master; raises DistqError. If the browser leaves, the call ends."""
        future = self._service.ask(what, asked)
        if not await connection_of(request).wait(future, for_s):
            future.cancel()
            raise Problem(400, "The connection ended before the answer.")
        return future.result()

    def _shown(self, what: str, asked: Mapping[str, Any], answer: dict[str, Any], *, sees_all: bool) -> Any:
        """Return the part of an answer that the reader may see."""
        if what == "dead_list":
            answer["tasks"] = [public.with_error(row) for row in answer["tasks"]]
        if sees_all:
            return answer
        match what:
            case "live" if asked.get("view") == "workers":
                answer["rows"] = api.workers(self._view)["pools"]
                answer["total"] = answer["matched"] = len(answer["rows"])
            case "live" if asked.get("view") == "running":
                answer["rows"] = public.public_rows(answer["rows"], public.TASK_ROW)
            case "live":
                pass
            case "list":
                answer["tasks"] = public.public_rows(answer["tasks"], public.TASK_ROW)
            case "dead_list":
                answer["tasks"] = public.public_rows(answer["tasks"], public.DEAD_ROW)
            case _:
                answer["schedules"] = public.public_rows(answer["schedules"], public.SCHEDULE)
        return answer


class _EventStream(StreamingResponse):
    """A stream of server-sent events; `ended` is called once, however the stream ends."""

    def __init__(self, events: AsyncIterator[str], ended: Callable[[], None]) -> None:
        super().__init__(events, headers={**HEADERS, "X-Accel-Buffering": "no"}, media_type="text/event-stream")
        self._ended = ended

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _asked(request: Request, what: str) -> dict[str, Any]:
    """Read the parameters of a read; raises Problem."""
    asked: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in READS[what] or name in asked:
            takes = ", ".join(sorted(READS[what])) or "none"
            raise Problem(400, f"The parameters are {takes}, each at most once; not {shown(name)}.")
        if name in ("offset", "limit"):
            if not (text.isascii() and text.isdecimal() and len(text) <= len("10000")):
                raise Problem(400, f"The parameter {name} is a whole number, not {shown(text)}.")
            asked[name] = int(text)
        else:
            asked[name] = text.split(",") if name == "states" else text
    if "limit" in READS[what]:
        asked["limit"] = min(asked.get("limit", ROWS_MAX), ROWS_MAX)
    if what == "list":
        asked["examined_max"] = EXAMINED_MAX
    if what == "live":
        asked.setdefault("view", "queues")
        if asked["view"] not in ("queues", "workers", "running"):
            raise Problem(400, f"The parameter view is queues, workers or running, not {shown(asked['view'])}.")
    return asked


def _log_action(request: Request, key: str, what: str, asked: Mapping[str, Any], outcome: Any) -> None:
    """Record an action, its author and its outcome in the log."""
    user = request.headers.get("x-forwarded-user") if bearer_token(request) is not None else None
    log_output(
        "http_action_taken",
        action=what,
        key=key,
        peer=peer_of(request),
        user=None if user is None else user[:LOGGED_CHARS_MAX],
        asked=api.text(asked)[:LOGGED_CHARS_MAX],
        outcome=api.text(outcome)[:LOGGED_CHARS_MAX],
    )


def file_answers() -> dict[str, Answer]:
    """Return what answers a request for each file of the page, by path."""
    folder = Path(__file__).parent / "files"
    return {path: _file((folder / name).read_bytes(), media_type) for path, (name, media_type) in FILES.items()}


def _file(content: bytes, media_type: str) -> Answer:
    async def answer(_request: Request) -> Response:
        return Response(content, 200, HEADERS, media_type)

    return answer


def _json(value: Any) -> Response:
    return Response(api.text(value) + "\n", 200, HEADERS, "application/json")
