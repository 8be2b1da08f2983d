"""Tests of the applications of docs/how-to/fastapi.md and docs/how-to/flask.md, on their real servers."""

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import httpx
import pytest
from tests.contrib.pages import write_programs
from tests.contrib.web.servers import WebServer, serving
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.waiting import eventually

from distq import testing

PAGES = {
    "fastapi": ("docs/how-to/fastapi.md", ("uvicorn", "app:app", "--port", "{port}")),
    "flask": (
        "docs/how-to/flask.md",
        ("gunicorn", "--preload", "--workers", "2", "--threads", "8", "--bind", "127.0.0.1:{port}", "app:app"),
    ),
}
"""Each page, and its command for the server."""
if sys.version_info >= (3, 15):
    del PAGES["fastapi"]  # it has no wheels for that Python yet


@pytest.fixture(name="running")
def running_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[testing.Cluster]:
    """A test cluster whose executors find the programs of the page."""
    monkeypatch.syspath_prepend(tmp_path)
    write_programs(PAGES["flask"][0], tmp_path)  # the tasks of both pages are the same
    with testing.cluster("reports", concurrency=2) as made:
        yield made


@pytest.fixture(name="web", params=PAGES)
def running_server(request: pytest.FixtureRequest, running: testing.Cluster, tmp_path: Path) -> Iterator[WebServer]:
    """The server of a page."""
    page, command = PAGES[request.param]
    assert write_programs(page, tmp_path) == ["reports.py", "app.py"]
    assert running.address
    with serving(tmp_path, *command, DISTQ_CONNECT_WAIT_S="20s") as server:
        yield server


def test_a_request_submits_a_task_and_others_see_its_state(web: WebServer) -> None:
    """The id comes with 202; the state is waiting or running, then succeeded or cancelled; 404 for other ids."""
    with httpx.Client(base_url=web.url, timeout=60) as http:
        ordered = http.post("/reports", params={"customer": 7})
        assert ordered.status_code == 202
        done = http.get(f"/reports/{ordered.json()['task']}", params={"wait": 20})
        assert done.json() == {"state": "succeeded", "report": "report of customer 7"}
        long = http.post("/reports", params={"customer": 8, "seconds": 600}).json()["task"]
        eventually(lambda: http.get(f"/reports/{long}").json()["state"] == "running", "the task runs")
        assert http.delete(f"/reports/{long}").json() == {"cancelled": True}
        assert http.get(f"/reports/{long}", params={"wait": 20}).json() == {"state": "cancelled"}
        assert http.delete(f"/reports/{ordered.json()['task']}").json() == {"cancelled": False}
        assert http.get("/reports/1-ffffff").status_code == 404
        assert http.get("/reports/nothing").status_code == 404


def test_a_wrong_number_is_refused_and_makes_no_task(web: WebServer, running: testing.Cluster) -> None:
    """The client gets 400 or 422 with the number, and not a state that the task does not have."""
    with httpx.Client(base_url=web.url, timeout=60) as http:
        long = http.post("/reports", params={"customer": 8, "seconds": 600}).json()["task"]
        for wrong in ("nan", "inf", "-1", "1e400", "soon"):
            answers = [
                http.get(f"/reports/{long}", params={"wait": wrong}),
                http.post("/reports", params={"customer": 7, "seconds": wrong}),
            ]
            assert {answer.status_code for answer in answers} <= {400, 422}, wrong
            assert all(wrong in answer.text for answer in answers)
        for customer in ({}, {"customer": ""}, {"customer": "abc"}, {"customer": "1.5"}):
            answer = http.post("/reports", params=customer)
            assert answer.status_code in (400, 422), customer
            assert "customer" in answer.text
        assert http.get(f"/reports/{long}").json()["state"] in ("waiting", "running")
        assert len(running.submitted()) == 1
        assert http.delete(f"/reports/{long}").json() == {"cancelled": True}


def test_a_task_that_raises_a_timeout_has_failed(web: WebServer, running: testing.Cluster, tmp_path: Path) -> None:
    """Its TimeoutError does not say that the task is still waiting."""
    (tmp_path / "mails.py").write_text("def send():\n    raise TimeoutError('no answer of the mail server')\n")
    future = running.client.options(queue="reports", retries=0).submit_named("mails:send")
    assert isinstance(future.exception(60), TimeoutError)
    answer = httpx.get(f"{web.url}/reports/{future.task_id}", params={"wait": 20}, timeout=60)
    assert answer.json() == {"state": "failed", "error": "no answer of the mail server"}


def test_a_full_queue_answers_503(web: WebServer, running: testing.Cluster) -> None:
    """With a header that says when to try again; the tasks before it run."""
    with httpx.Client(base_url=web.url, timeout=60) as http:
        running.client._administer("queue_set", {"queue": "reports", "capacity": 1})
        with running.hold():
            assert http.post("/reports", params={"customer": 1}).status_code == 202
            refused = http.post("/reports", params={"customer": 2})
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "5"
        assert "reports" in refused.json()["error"]


@pytest.mark.parametrize("name", PAGES)
def test_a_server_without_a_master_answers_503(name: str, tmp_path: Path) -> None:
    """After DISTQ_CONNECT_WAIT_S, and not after half a minute."""
    page, command = PAGES[name]
    write_programs(page, tmp_path)
    nowhere = {"DISTQ_ADDRESS": "127.0.0.1:1", "DISTQ_AUTHKEY": KEY, "DISTQ_CONNECT_WAIT_S": "100ms"}
    with serving(tmp_path, *command, **nowhere) as web:
        answer = httpx.post(f"{web.url}/reports", params={"customer": 1}, timeout=60)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("web", PAGES.keys() & {"fastapi"}, indirect=True)
def test_a_browser_that_goes_away_stops_its_task(web: WebServer, running: testing.Cluster) -> None:
    """The task runs when the connection is closed; it is cancelled then."""
    with socket.create_connection(("127.0.0.1", web.port)) as connection:
        connection.sendall(b"GET /preview/5?seconds=600 HTTP/1.1\r\nHost: test\r\n\r\n")
        eventually(lambda: len(running.submitted()) == 1, "the task is submitted")
        future = running.client.future(running.submitted()[0].task_id)
        eventually(future.running, "the task runs")
    with pytest.raises(CancelledError):
        future.result(60)
    preview = httpx.get(f"{web.url}/preview/6", timeout=60)
    assert preview.json() == {"report": "report of customer 6"}


def test_a_client_from_before_the_fork_works_in_both_processes_of_gunicorn(tmp_path: Path) -> None:
    """Both have sessions of their own: each task is the one that was ordered, also after a restart of the master."""
    write_programs(PAGES["flask"][0], tmp_path)
    store = f"sqlite:///{tmp_path / 'distq.db'}"
    with cluster(tmp_path) as grid:
        master = grid.master(DISTQ_STORE=store)
        grid.run("worker", "reports", PYTHONPATH=str(tmp_path))
        settings = {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY, "DISTQ_RECONNECT_MAX_S": "0.2"}
        with serving(tmp_path, *PAGES["flask"][1], **settings) as web:
            ordered = order_until_both_answer(web, 0)
            master.destroy()
            begun = threading.Thread(target=lambda: ordered.update(order_until_both_answer(web, 1000)))
            begun.start()
            restart(grid, store)
            begun.join()
            for customer, task in ordered.items():
                answer = httpx.get(f"{web.url}/reports/{task}", params={"wait": 20}, timeout=60).json()
                assert answer == {"state": "succeeded", "report": f"report of customer {customer}"}
        assert len(set(ordered.values())) == len(ordered)


def restart(grid: Cluster, store: str) -> None:
    """Start the master again."""
    grid.master(DISTQ_STORE=store)


def order_until_both_answer(web: WebServer, customer: int) -> dict[int, str]:
    """Order reports until both processes of the server have accepted ten; returns the ids of the tasks by customer."""
    ordered: dict[int, str] = {}
    answers: dict[int, int] = {}

    def enough() -> bool:
        number = customer + len(ordered)
        answer = httpx.post(f"{web.url}/reports", params={"customer": number}, timeout=60)
        assert answer.status_code == 202, answer.text
        ordered[number] = answer.json()["task"]
        process = answer.json()["process"]
        answers[process] = answers.get(process, 0) + 1
        return len(answers) == 2 and min(answers.values()) >= 10

    eventually(enough, "both processes answer", lambda: str(answers))
    return ordered
