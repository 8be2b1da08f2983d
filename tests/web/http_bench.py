"""Sends HTTP requests to the application of a master without sockets."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx
from starlette.applications import Starlette
from tests.master.bench import Bench
from tests.metrics.fakes import FakeMaster

from distq.master.calls.gate import Gate
from distq.net.failed_keys import FailedKeys
from distq.net.keyring import KeyRing
from distq.protocol.authority import OPERATOR
from distq.settings.role_keys import NamedKey
from distq.web.app import create_app
from distq.web.bearer import BearerKeys
from distq.web.page.endpoints import PageEndpoints
from distq.web.tasks import PATH, TaskEndpoints

KEY = "a key of the tests that is long enough"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


def endpoints(service: Any, gate: Gate | None = None, **options: Any) -> TaskEndpoints:
    """Return the endpoints of a master with one key, or of none; `options` are those of `BearerKeys`."""
    ring = options.pop("ring", None) or KeyRing([NamedKey(KEY.encode(), OPERATOR)])
    gate = gate or Gate(cast("Any", None), {}, {})
    options = {"note_failure": lambda _peer, _reason: None, "over_plain_http": False, **options}
    return TaskEndpoints(service, BearerKeys([ring], gate, FailedKeys(), **options))


def application(view: Any, tasks: Any = None, admin: Any = None, **options: Any) -> Starlette:
    """Return the application of a master, with the service of its tasks and that of operators' calls."""
    made = endpoints(tasks, **options)
    return create_app(view, made, PageEndpoints(view, admin, made.keys))


class HttpBench:
    """The application of a bench's master, and a client with the key."""

    def __init__(self, bench: Bench, host: str = "127.0.0.1", ring: KeyRing | None = None) -> None:
        self.bench = bench
        dispatcher = bench.dispatcher
        app = application(FakeMaster(), dispatcher.http_tasks, dispatcher.http_admin, gate=dispatcher.gate, ring=ring)
        transport = httpx.ASGITransport(app, client=(host, 4321), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://distq", headers=AUTHORIZED)

    def start(self, method: str, path: str, **request: Any) -> asyncio.Task[httpx.Response]:
        """Send a request."""
        return asyncio.create_task(self.client.request(method, path, **request))

    async def settle(self) -> None:
        """Run the application and the master until both wait."""
        for _ in range(5):
            for _ in range(20):
                await asyncio.sleep(0)
            await self.bench.run_until_idle()

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request, and return its answer."""
        sent = self.start(method, path, **request)
        await self.settle()
        assert sent.done(), "the request has no answer"
        return sent.result()

    async def submit(self, body: Any = None, **headers: str) -> httpx.Response:
        """Submit a task named "f"; `headers` have '_' in the place of '-'."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", PATH, json={"name": "f", "queue": "q", **(body or {})}, headers=named)

    async def task(self, task_id: str, query: str = "") -> Any:
        """Return the task as the API shows it."""
        answer = await self.ask("GET", f"{PATH}/{task_id}{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()
