"""What the HTTP applications answer without a key: JSON or metrics, and no worker's name."""

import asyncio
import json
from dataclasses import dataclass

import httpx
import pytest
from starlette.types import ASGIApp
from tests.core.build import envelope, new_ledger
from tests.metrics.fakes import FakeMaster, FakeWorker, worker_row
from tests.web.http_bench import application

from distq import __version__
from distq.core.counters import TaskCounters
from distq.core.queue import Queue
from distq.core.states import DEAD, LEASED, READY
from distq.core.task import Task
from distq.metrics.accept import NEWER, USUAL
from distq.web import api
from distq.web.app import create_worker_app

PATHS = [
    *("/metrics", "/livez", "/readyz"),
    *("/api/v1/overview", "/api/v1/queues", "/api/v1/workers", "/api/v1/autoscale"),
]
"""The paths that need no key, besides the OpenAPI document."""


@pytest.fixture
def master() -> FakeMaster:
    """Make a master with two queues and three workers."""
    master = FakeMaster()
    work: Queue[Task] = Queue("work", 1000)
    other: Queue[Task] = Queue("\ud800other", 10)
    work.counts[READY], work.counts[LEASED], work.counts[DEAD], work.mean_run_s = 120, 2, 1, 1.0
    ledger = new_ledger()
    work.ready_list(envelope(ledger)).extend([Task(key, envelope(ledger), b"x", None, 0.0) for key in range(120)])
    counters = TaskCounters()
    counters.submitted, counters.completed["success"] = 130, 7
    master.all_queues = [work, other]
    master.all_counters = {("work", "plain"): counters}
    master.all_workers = [worker_row("w-secret"), worker_row("w2", draining=True), worker_row("g", pool="gpu")]
    master.all_connections = {"worker": 3, "executor": 12}
    return master


@dataclass
class Client:
    """Sends requests to an application without a socket."""

    app: ASGIApp

    def request(self, method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """Send one request."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://distq") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(ask())

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """Send one GET request."""
        return self.request("GET", path, headers)


@pytest.fixture
def client(master: FakeMaster) -> Client:
    """Make a client of the master's application."""
    return Client(application(master))


def test_metrics_have_their_exact_type(client: Client) -> None:
    """The test compares each character: Prometheus 3 is strict, and a scraper needs the version that it requested."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == USUAL
    newer = client.get("/metrics", headers={"Accept": "text/plain;version=1.0.0"})
    assert (newer.headers["content-type"], newer.headers["vary"]) == (NEWER, "Accept")
    assert 'distq_queue_tasks{queue="work",state="ready"} 120\n' in answer.text


def test_probes_answer_with_a_status_and_a_reason(client: Client, master: FakeMaster) -> None:
    """`/livez` succeeds whenever the loop answers; `/readyz` fails with the reason in its body."""
    assert (client.get("/livez").status_code, client.get("/livez").text) == (200, "alive\n")
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (200, "ready\n")
    master.reason = "The store is full."
    assert (client.get("/readyz").status_code, client.get("/readyz").text) == (503, "The store is full.\n")
    assert client.get("/livez").status_code == 200


def test_readiness_contains_the_duration_of_the_last_commit(client: Client, master: FakeMaster) -> None:
    """The text is there for a store in a file, ready or not; the overview has more figures, and no path."""
    health = {"kind": "sqlite", "file": "/secret/q.db", "bytes": 4096, "commit_s": 0.0012, "sqlite_version": "3.53.3"}
    master.store_health = {**health, "refusing": "The volume is full."}
    line = "The last commit took 1.2 ms (SQLite 3.53.3).\n"
    assert client.get("/readyz").text == "ready\n" + line
    master.reason = "The volume is full."
    assert client.get("/readyz").text == "The volume is full.\n" + line
    health = client.get("/api/v1/overview").json()["store_health"]
    assert health == {"bytes": 4096, "commit_s": 0.0012, "sqlite_version": "3.53.3", "refusing": "The volume is full."}


def test_the_overview_is_totals(client: Client) -> None:
    """The answer is one object with the numbers that an operator reads first."""
    assert client.get("/api/v1/overview").json() == {
        "version": __version__,
        "instance": "a1b2",
        "epoch": 1,
        "store": "memory",
        "store_health": {},
        "commits": {"count": 0, "sum_s": 0.0},
        "uptime_s": 60.0,
        "ready": True,
        "reason": None,
        "queues": 2,
        "schedules": 0,
        "tasks": {"ready": 120, "held": 0, "delayed": 0, "leased": 2, "dead": 1, "results": 0},
        "submitted": 130,
        "completed": {"success": 7, "dead": 0, "cancelled": 0, "expired": 0},
        "workers": 3,
        "slots": {"total": 12, "busy": 3},
        "connections": 15,
        "auth_failures": 0,
    }


def test_ten_thousand_queues_are_answered_in_pages(master: FakeMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call examines only the queues of its page, at most 200; the pages have each queue once."""
    master.all_queues = [Queue(f"q{number * 7919 % 10_000:04}", 10) for number in range(10_000)]
    looked: list[str] = []

    def oldest(queue: Queue[Task]) -> None:
        looked.append(queue.name)

    monkeypatch.setattr(Queue, "oldest_submitted_at", oldest)
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        looked.clear()
        page = api.queues_page(master, after)
        assert looked == [row["name"] for row in page["queues"]]
        assert 0 < len(looked) <= 200
        names += looked
        after = page["next"]
    assert names == sorted(queue.name for queue in master.all_queues)


def test_a_page_of_queues_ends_where_there_are_many_ready_lists(master: FakeMaster) -> None:
    """Each of these queues has 600 task names: a page has two of them."""
    ledger = new_ledger()
    for queue in (queues := [Queue[Task](f"q{number}", 10) for number in range(5)]):
        for number in range(600):
            queue.ready_list(envelope(ledger, name=f"f{number}"))
    master.all_queues = list(queues)
    page = api.queues_page(master, "")
    assert [row["name"] for row in page["queues"]] == ["q0", "q1"]
    assert page["next"] == "q1"
    assert [row["name"] for row in api.queues_page(master, "q3")["queues"]] == ["q4"]
    assert api.queues_page(master, "q3")["next"] is None
    assert api.queues_page(master, "q4") == {"queues": [], "next": None}


def test_the_queues_page_has_counts_by_state(client: Client) -> None:
    """Queues are sorted by name; a name that UTF-8 cannot encode does not break the answer."""
    first, second = client.get("/api/v1/queues").json()["queues"]
    assert first == {
        "name": "work",
        "role": "work",
        "ready": 120,
        "held": 0,
        "delayed": 0,
        "leased": 2,
        "dead": 1,
        "results": 0,
        "capacity": 1000,
        "paused": False,
        "paused_names": 0,
        "running_max": None,
        "rate": None,
        "oldest_age_s": 1060.0,
        "mean_run_s": 1.0,
    }
    assert second["name"] == "\ud800other"


def test_the_workers_page_has_counts_without_names(client: Client) -> None:
    """Names and hosts need the key (P8)."""
    answer = client.get("/api/v1/workers")
    assert answer.json() == {
        "pools": [
            {"pool": "default", "workers": 2, "slots": 8, "busy": 2, "draining": 1},
            {"pool": "gpu", "workers": 1, "slots": 4, "busy": 1, "draining": 0},
        ]
    }
    for path in PATHS:
        assert "secret" not in client.get(path).text
        assert "host-1" not in client.get(path).text


def test_peers_with_the_key_see_names(master: FakeMaster) -> None:
    """The broker's stats call returns the values of HTTP, and each worker; all of it is JSON."""
    found = api.STATS["workers"](master)
    assert found["pools"] == api.workers(master)["pools"]
    assert [row["name"] for row in found["workers"]] == ["w-secret", "w2", "g"]
    assert found["workers"][0]["seen_age_s"] == 10.0
    assert json.loads(json.dumps({what: read(master) for what, read in api.STATS.items()}))


@pytest.mark.parametrize("query", ["", "?queues=work", "?queues=work,none", "?queues=work&queues=none"])
def test_autoscale_reads_queue_names(client: Client, query: str) -> None:
    """Names are separated by commas or repeated; without a name, all work queues count."""
    assert client.get(f"/api/v1/autoscale{query}").json()["desired_slots"] == 2 + 2


def test_a_refusal_by_content_shows_and_leaves_the_master_ready(client: Client, master: FakeMaster) -> None:
    """All other requests are stored, so that no orchestrator may take the master out of service."""
    master.refused_content = "The store refuses the content of 1 request, and takes all others: no."
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.text.splitlines()[:2] == ["ready", master.refused_content]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_every_path_without_a_key_refuses_writes(client: Client, method: str) -> None:
    """Every path accepts GET only, and the answer says so."""
    for path in PATHS:
        answer = client.request(method, path)
        assert (answer.status_code, "GET" in answer.headers["allow"]) == (405, True)
        assert "takes GET, HEAD" in answer.json()["detail"]


def test_an_unknown_path_is_answered_with_those_there_are(client: Client) -> None:
    """The answer to a wrong path is a problem too."""
    answer = client.get("/api/v2/queues")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    problem = answer.json()
    assert (problem["title"], problem["detail"]) == ("Not Found", "There is no /api/v2/queues here.")
    assert {*PATHS, "/api/v1/tasks"} < set(problem["paths"])


def test_no_cache_may_answer(client: Client) -> None:
    """The numbers are those of the present."""
    assert all(client.get(path).headers["cache-control"] == "no-store" for path in PATHS)


def test_a_worker_is_ready_while_it_is_connected_and_takes_tasks() -> None:
    """Liveness never depends on the master; readiness does."""
    worker = FakeWorker()
    client = Client(create_worker_app(worker))
    assert client.get("/readyz").text == "ready\n"
    worker.connected = False
    assert (client.get("/readyz").status_code, client.get("/livez").status_code) == (503, 200)
    worker.connected, worker.draining = True, True
    assert client.get("/readyz").text == "This worker is draining.\n"
    assert "distq_worker_connected" in client.get("/metrics").text
    assert client.get("/api/v1/overview").json()["paths"] == PATHS[:3]
