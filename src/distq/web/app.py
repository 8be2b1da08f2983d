"""The HTTP applications of a master and of a worker."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from distq.core.errors import DistqError
from distq.core.ranges import shown
from distq.metrics.accept import content_type
from distq.metrics.page import Pace, Page, master_page, rendered, standby_page, worker_page
from distq.metrics.view import MasterMetrics, StandbyMetrics, WorkerMetrics
from distq.web import api, openapi
from distq.web.autoscale import autoscale
from distq.web.bearer import BearerKeys
from distq.web.operations import OPERATIONS, Operation
from distq.web.page.endpoints import PAGE_METHODS, PageEndpoints, file_answers
from distq.web.page.standby import accepts_html, standby_html
from distq.web.problems import FRESH, RETRY_AFTER_S, Problem, answer_of, problem_of
from distq.web.tasks import TaskEndpoints

Answer = Callable[[Request], Awaitable[Response]]
Answers = Mapping[str, Mapping[str, Answer]]
"""The handlers by path and method."""


def create_app(view: MasterMetrics, tasks: TaskEndpoints, page: PageEndpoints) -> Starlette:
    """Return the master's application."""
    scaling_pace = Pace()

    async def scaling(request: Request) -> Response:
        wanted = [name for text in request.query_params.getlist("queues") for name in text.split(",")]
        names = [name.strip() for name in wanted if name.strip()]
        return await _written(rendered(lambda: autoscale(view, names), scaling_pace))(request)

    handlers: dict[str, Answer] = {
        "submitTask": tasks.submit,
        "getTask": tasks.find,
        "getResult": tasks.result,
        "cancelTask": tasks.cancel,
        "getOverview": _reading(api.overview, view),
        "getQueues": _written(rendered(lambda: api.queues_slices(view))),
        "getWorkers": _reading(api.workers, view),
        "getAutoscale": scaling,
    }
    answers: dict[str, dict[str, Answer]] = {
        "/metrics": {"GET": _metrics(master_page(view))},
        "/livez": {"GET": _alive},
        "/readyz": {"GET": _ready(view.not_ready, lambda: _of_store(view))},
        openapi.PATH: {"GET": _openapi},
        **page.answers(),
    }
    for operation in OPERATIONS:
        handler = handlers[operation.operation_id]
        answer = _with_key(tasks.keys, operation, handler) if operation.needs_key else handler
        answers.setdefault(operation.path, {})[operation.method] = answer
    return _app(answers)


def create_worker_app(view: WorkerMetrics) -> Starlette:
    """Return the worker's application; `/readyz` succeeds while the worker is connected and takes tasks."""

    def not_ready() -> str | None:
        if view.draining:
            return "This worker is draining."
        return None if view.connected else "This worker is not connected to a master."

    answers = {"/metrics": _metrics(worker_page(view)), "/livez": _alive, "/readyz": _ready(not_ready)}
    return _app({path: {"GET": answer} for path, answer in answers.items()})


def create_standby_app(view: StandbyMetrics) -> Starlette:
    """Return the application of a master that stands by; `/readyz` succeeds while it can pass connections on."""

    def not_ready() -> str | None:
        return None if view.leader else f"No master leads: {view.waiting or 'the store is being opened'}."

    def role() -> str:
        return f"This master stands by; {view.leader} leads.\n" if view.leader else ""

    async def elsewhere(request: Request) -> Response:
        if request.url.path == "/" and accepts_html(request):
            return standby_html(request, view.leader, view.waiting)
        leader = f"Ask the leader, whose address is {view.leader}." if view.leader else "No master leads now."
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        raise Problem(503, f"This master stands by. {leader}", code="STANDS_BY", headers=headers)

    answers: dict[str, dict[str, Answer]] = {
        "/metrics": {"GET": _metrics(standby_page(view))},
        "/livez": {"GET": _alive},
        "/readyz": {"GET": _ready(not_ready, role)},
        openapi.PATH: {"GET": _openapi},
    }
    for path, media in file_answers().items():
        answers[path] = {"GET": media}
    for path, methods in PAGE_METHODS.items():
        answers[path] = dict.fromkeys(methods, elsewhere)
    for operation in OPERATIONS:
        answers.setdefault(operation.path, {})[operation.method] = elsewhere
    answers["/"] = {"GET": elsewhere}
    return _app(answers)


def _app(answers: Answers) -> Starlette:
    async def refused(request: Request, error: Exception) -> Response:
        match error:
            case Problem():
                problem = error
            case DistqError():
                problem = problem_of(error)
            case HTTPException(status_code=404):
                problem = Problem(404, f"There is no {request.url.path} here.", paths=list(answers))
            case HTTPException():
                problem = Problem(error.status_code, str(error.detail))
            case _:
                raise error
        return answer_of(problem, request)

    routes = [Route(path, _Path(methods)) for path, methods in answers.items()]
    handled = dict.fromkeys((Problem, DistqError, HTTPException), refused)
    app = Starlette(routes=routes, exception_handlers=handled)
    app.router.redirect_slashes = False  # a redirect of a POST would lose its body in some clients
    return app


class _Path:
    """Answers every method of one path: a method that the path lacks is refused with those that it has."""

    def __init__(self, methods: Mapping[str, Answer]) -> None:
        self._methods = {**methods, "HEAD": methods["GET"]} if "GET" in methods else methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        answer = self._methods.get(request.method)
        if answer is None:
            allowed = ", ".join(sorted(self._methods))
            detail = f"{request.method} is not allowed here: this path takes {allowed}."
            raise Problem(405, detail, headers={"Allow": allowed})
        await (await answer(request))(scope, receive, send)


def _with_key(keys: BearerKeys, operation: Operation, handler: Answer) -> Answer:
    called = f"{operation.method} {operation.path}"
    known = [parameter.name for parameter in operation.parameters if parameter.place == "query"]

    async def answer(request: Request) -> Response:
        await keys.check(request, called)
        for name in request.query_params:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise Problem(400, f"There is no parameter {shown(name)}; the parameters of this path: {takes}.")
        return await handler(request)

    return answer


async def _openapi(_request: Request) -> Response:
    return Response(openapi.page(), 200, FRESH, "application/json")


def _metrics(page: Page) -> Answer:
    async def answer(request: Request) -> Response:
        media_type = content_type(request.headers.getlist("accept"))
        return Response(await page(), headers={"Content-Type": media_type, "Vary": "Accept", **FRESH})

    return answer


async def _alive(_request: Request) -> Response:
    # The answer itself proves that the event loop runs; nothing else is checked.
    return PlainTextResponse("alive\n", headers=FRESH)


def _ready(not_ready: Callable[[], str | None], more: Callable[[], str] = str) -> Answer:
    async def answer(_request: Request) -> Response:
        reason = not_ready()
        return PlainTextResponse(f"{reason or 'ready'}\n{more()}", 200 if reason is None else 503, FRESH)

    return answer


def _of_store(view: MasterMetrics) -> str:
    """Return what the store refuses now because of its content, the role, and the last commit's time, a line each."""
    refused, health = view.refused_content, view.store_health
    role = f"This master leads in epoch {view.epoch}; {health['standbys']} stand by.\n" if "standbys" in health else ""
    return (f"{refused}\n" if refused else "") + role + _commit_time(view)


def _commit_time(view: MasterMetrics) -> str:
    """Return a sentence with the duration of the last commit and the database's version, '' for a store in memory."""
    health = view.store_health
    seconds = health.get("commit_s")
    if not isinstance(seconds, float):
        return ""
    version = f"SQLite {health['sqlite_version']}" if "sqlite_version" in health else ""
    if "server_version" in health:
        version = f"PostgreSQL {health['server_version']}"
    return f"The last commit took {seconds * 1000:.1f} ms ({version or 'version unknown'}).\n"


def _reading(read: Callable[[MasterMetrics], dict[str, Any]], view: MasterMetrics) -> Answer:
    return _written(rendered(lambda: iter((api.text(read(view)) + "\n",))))


def _written(page: Page) -> Answer:
    async def answer(_request: Request) -> Response:
        return Response(await page(), 200, FRESH, "application/json")

    return answer
