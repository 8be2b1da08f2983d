"""The HTTP applications of a master and of a worker: a few read-only paths."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from distq.metrics.accept import content_type
from distq.metrics.page import Page, master_page, rendered, worker_page
from distq.metrics.view import MasterMetrics, WorkerMetrics
from distq.web import api
from distq.web.autoscale import autoscale

Answer = Callable[[Request], Awaitable[Response]]

# The figures change all the time, so no cache may answer in the place of this server.
FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def create_app(view: MasterMetrics) -> Starlette:
    """Return the master's application."""

    async def scaling(request: Request) -> Response:
        wanted = [name for text in request.query_params.getlist("queues") for name in text.split(",")]
        names = [name.strip() for name in wanted if name.strip()]
        return await _written(rendered(lambda: autoscale(view, names)))(request)

    return _app(
        {
            "/metrics": _metrics(master_page(view)),
            "/livez": _alive,
            "/readyz": _ready(view.not_ready, lambda: _of_store(view)),
            "/api/v1/overview": _reading(api.overview, view),
            "/api/v1/queues": _written(rendered(lambda: api.queues_slices(view))),
            "/api/v1/workers": _reading(api.workers, view),
            "/api/v1/autoscale": scaling,
        }
    )


def create_worker_app(view: WorkerMetrics) -> Starlette:
    """Return the worker's application; `/readyz` succeeds while the worker is connected and takes tasks."""

    def not_ready() -> str | None:
        if view.draining:
            return "This worker is draining."
        return None if view.connected else "This worker is not connected to a master."

    return _app({"/metrics": _metrics(worker_page(view)), "/livez": _alive, "/readyz": _ready(not_ready)})


def _app(answers: Mapping[str, Answer]) -> Starlette:
    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        body: dict[str, Any] = {"error": error.detail}
        if error.status_code == 404:
            body = {"error": f"There is no {request.url.path} here.", "paths": list(answers)}
        elif error.status_code == 405:
            body = {"error": f"{request.method} is not allowed: everything here is read with GET."}
        return _json(body, error.status_code, error.headers)

    routes = [Route(path, answer, methods=["GET"]) for path, answer in answers.items()]
    return Starlette(routes=routes, exception_handlers={HTTPException: failed})


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
    """Return what the store refuses now because of its content, and how long its last commit took, a line each."""
    refused = view.refused_content
    return (f"{refused}\n" if refused else "") + _commit_time(view)


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
    async def answer(_request: Request) -> Response:
        return _json(read(view))

    return answer


def _written(page: Page) -> Answer:
    async def answer(_request: Request) -> Response:
        return Response(await page(), 200, FRESH, "application/json")

    return answer


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(api.text(value) + "\n", status, {**FRESH, **(headers or {})}, "application/json")
