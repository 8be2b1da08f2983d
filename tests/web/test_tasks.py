"""Requests about tasks are refused with a status, a sentence and problem details; keys are checked first."""

import json
from typing import Any

import pytest
from tests.master.bench import Bench, on_bench
from tests.web.http_bench import AUTHORIZED, KEY, HttpBench

from distq.core.strict_json import DEPTH_MAX
from distq.net import failed_keys
from distq.web import tasks
from distq.web.json_body import BODY_BYTES_MAX

JSON = {"Content-Type": "application/json"}
PATH = "/api/v1/tasks"


def refused(content: bytes, status: int, words: str, headers: dict[str, str] | None = None) -> None:
    """Check that a submit with this body is refused."""

    @on_bench()
    async def test(bench: Bench) -> None:
        http = HttpBench(bench)
        answer = await http.ask("POST", PATH, content=content, headers=JSON if headers is None else headers)
        problem = answer.json()
        assert (answer.status_code, problem["status"]) == (status, status), problem
        assert answer.headers["content-type"] == "application/problem+json"
        assert words in problem["detail"], problem
        assert problem["detail"].endswith(".")
        assert bench.counts("q") == {}

    test()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expecting value"),
        (b"{", "line 1, column 2"),
        (b'{"name": "f"} x', "extra data"),
        (b'\xef\xbb\xbf{"name": "f"}', "BOM"),
        (b'{"name": "f\xff"}', "byte 11"),
        ('{"name": "f"}'.encode("utf-16"), "UTF-8"),
        (b'{"name": "f", "args": [NaN]}', "NaN"),
        (b'{"name": "f", "args": [-Infinity]}', "Infinity"),
        (b'{"name": "f", "args": [1e999]}', "1e999"),
        (b'{"name": "f", "args": [' + b"9" * 5000 + b"]}", "4,300 digits"),
        (b'{"name": "f", "name": "g"}', "'name' more than once"),
        (b'{"name": "f", "args": [{"a": 1, "a": 1}]}', "'a' more than once"),
        (b'{"name": "f", "args": ["\\ud800"]}', "surrogate"),
        (b'{"name": "f", "args": ' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", "nested"),
        (b'{"name": "f", "args": ' + b"[" * 400_000, "nested"),
        (b'{"a":' * 200_000, "nested"),
    ],
)
def test_a_body_that_is_no_strict_json_is_refused(content: bytes, words: str) -> None:
    """Two programs could read such a body in two ways, or it would hold the event loop up."""
    refused(content, 400, words)


def test_a_body_of_the_largest_depth_is_taken() -> None:
    """The object itself is the first level, its array of arguments the second."""

    @on_bench()
    async def test(bench: Bench) -> None:
        content = b'{"name": "f", "args": ' + b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1) + b"}"
        assert (await HttpBench(bench).ask("POST", PATH, content=content, headers=JSON)).status_code == 201

    test()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "not an array"),
        ({}, "'name' is missing"),
        ({"name": None}, "name is a text"),
        ({"name": ""}, "name is a text"),
        ({"name": "  "}, "not a blank one"),
        ({"name": " f\r\n"}, "no line break or control character, and no space at an end"),
        ({"name": "f\x00"}, "control character"),
        ({"name": "x" * 129}, "128 bytes"),
        ({"name": "é" * 65}, "128 bytes"),
        ({"name": "f\ud800"}, "surrogate"),
        ({"name": "f", "nme": "f"}, "no field 'nme'"),
        ({"name": "f", "args": {}}, "args is an array"),
        ({"name": "f", "args": "ab"}, "args is an array"),
        ({"name": "f", "kwargs": []}, "kwargs is an object"),
        ({"name": "f", "queue": "q" * 65}, "64 bytes"),
        ({"name": "f", "priority": 10}, "from 0 to 9"),
        ({"name": "f", "priority": True}, "from 0 to 9"),
        ({"name": "f", "priority": 1.5}, "from 0 to 9"),
        ({"name": "f", "priority": 1e300}, "from 0 to 9"),
        ({"name": "f", "retries": "3"}, "retries is a whole number"),
        ({"name": "f", "delay_s": -1}, "delay_s is a number of seconds from 0"),
        ({"name": "f", "delay_s": "30s"}, "delay_s is a number of seconds"),
        ({"name": "f", "expires_s": 0}, "above 0"),
        ({"name": "f", "time_limit_s": 1e9}, "31,622,400"),
        ({"name": "f", "eta": "tomorrow"}, "RFC 3339"),
        ({"name": "f", "eta": "2026-02-30T00:00:00Z"}, "RFC 3339"),
        ({"name": "f", "eta": "2026-02-03T00:00:00"}, "RFC 3339"),
        ({"name": "f", "eta": "9999-12-31T23:59:59-23:59"}, "eta is"),
        ({"name": "f", "requires": "gpu"}, "array of labels"),
        ({"name": "f", "requires": ["no blanks"]}, "label"),
        ({"name": "f", "on_conflict": "ignore"}, "one of reject, return, replace"),
        ({"name": "f", "on_conflict": ["reject"]}, "one of reject, return, replace"),
        ({"name": "f", "headers": {"a": 1}}, "texts by their names"),
        ({"name": "f", "headers": {"a": "x" * 2000}}, "1,024 bytes"),
        ({"name": "f", "headers": ["a"]}, "object of texts"),
        ({"name": "f", "idempotency_key": "a b"}, "idempotency_key is"),
        ({"name": "f", "queue": "result"}, "queue of results"),
    ],
)
def test_a_field_with_a_wrong_value_is_refused(body: Any, words: str) -> None:
    """The sentence has the field, what it takes, and the value received."""
    refused(json.dumps(body).encode(), 422, words)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "a type that the request does not name"),
        ({"Content-Type": "text/plain"}, "text/plain"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type: application/json"),
        ({"Content-Type": "application/json; charset=latin-1"}, "UTF-8"),
        ({**JSON, "Content-Encoding": "gzip"}, "uncompressed"),
    ],
)
def test_another_type_than_json_is_refused(headers: dict[str, str], words: str) -> None:
    """The type says how the bytes are read."""
    refused(b'{"name": "f"}', 415, words, headers)


def test_a_body_beyond_the_limit_is_refused() -> None:
    """The length is announced, or it is not known before the end."""
    refused(b" " * (BODY_BYTES_MAX + 1), 413, "1,048,576 bytes")

    @on_bench()
    async def unannounced(bench: Bench) -> None:
        async def pieces() -> Any:
            for _ in range(17):
                yield b" " * (64 << 10)

        answer = await HttpBench(bench).ask("POST", PATH, content=pieces(), headers=JSON)
        assert answer.status_code == 413

    unannounced()


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer é".encode().decode("latin-1")]
)
def test_a_request_without_a_key_is_refused(authorization: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the request is read before, and the answer says how to send a key."""
    monkeypatch.setattr(failed_keys, "PAUSE_S", 0.0)

    @on_bench()
    async def test(bench: Bench) -> None:
        http = HttpBench(bench)
        for method, path in (
            ("POST", PATH),
            ("GET", f"{PATH}/1-1"),
            ("GET", f"{PATH}/x"),
            ("POST", f"{PATH}/1-1/cancel"),
        ):
            answer = await http.ask(
                method, path, content=b"{", headers={"Authorization": authorization.encode("latin-1")}
            )
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith('Bearer realm="distq"')
            assert "DISTQ_AUTHKEY" in answer.json()["detail"]
            assert KEY not in answer.text

    test()


@on_bench()
async def test_a_key_from_another_machine_needs_tls(bench: Bench) -> None:
    """The answer names the setting and does not say whether the key is right; every key on loopback is checked."""
    for host in ("192.0.2.7", "::ffff:192.0.2.7", "", "localhost.example"):
        answer = await HttpBench(bench, host).submit()
        assert (answer.status_code, "DISTQ_HTTP_PLAIN_KEYS" in answer.json()["detail"]) == (403, True)
    for host in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert (await HttpBench(bench, host).submit({"queue": host})).status_code == 201
    secure = HttpBench(bench, "192.0.2.7")
    assert (await secure.ask("POST", f"https://distq{PATH}", json={"name": "f"})).status_code == 201


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PATH}/1-ffff", 404),
        (f"{PATH}/no-id", 404),
        (f"{PATH}/01-2", 404),
        (f"{PATH}/1-1/nothing", 404),
        (f"{PATH}/", 404),
        (f"{PATH}/1-1?wait=", 400),
        (f"{PATH}/1-1?wait=-1", 400),
        (f"{PATH}/1-1?wait=1e3", 400),
        (f"{PATH}/1-1?wait=1s&wait=2s", 400),
        (f"{PATH}/1-1?wiat=1s", 400),
        (f"{PATH}/1-1/result?wait=x", 400),
    ],
)
def test_a_request_for_no_task_is_refused(path: str, status: int) -> None:
    """The answer is a problem with a sentence."""

    @on_bench()
    async def test(bench: Bench) -> None:
        answer = await HttpBench(bench).ask("GET", path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["detail"]

    test()


@on_bench()
async def test_a_method_that_a_path_lacks_is_refused_with_those_that_it_has(bench: Bench) -> None:
    """The key does not matter for that; HEAD is served where GET is."""
    http = HttpBench(bench)
    for method, path, allowed in (
        ("GET", PATH, "POST"),
        ("HEAD", PATH, "POST"),
        ("OPTIONS", PATH, "POST"),
        ("DELETE", f"{PATH}/1-1", "GET, HEAD"),
        ("BREW", f"{PATH}/1-1/result", "GET, HEAD"),
        ("PUT", f"{PATH}/1-1/cancel", "POST"),
    ):
        answer = await http.ask(method, path, headers={"Authorization": ""})
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    task_id = (await http.submit()).json()["id"]
    assert (await http.ask("HEAD", f"{PATH}/{task_id}")).status_code == 200


def test_too_many_waiting_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a connection of its own, so their number is limited."""
    monkeypatch.setattr(tasks, "WAITS_MAX", 2)

    @on_bench()
    async def test(bench: Bench) -> None:
        http = HttpBench(bench)
        task_id = (await http.submit()).json()["id"]
        waiting = [http.start("GET", f"{PATH}/{task_id}?wait=1m") for _ in range(2)]
        await http.settle()
        third = await http.ask("GET", f"{PATH}/{task_id}?wait=30s")
        assert (third.status_code, third.json()["code"], third.headers["retry-after"]) == (429, "TOO_MANY_WAITS", "1")
        assert (await http.task(task_id))["state"] == "ready"
        await bench.advance(60)
        await http.settle()
        assert [one.result().status_code for one in waiting] == [200, 200]
        assert not http.start("GET", f"{PATH}/{task_id}?wait=30s").done()

    test()


@on_bench()
async def test_every_option_arrives(bench: Bench) -> None:
    """The master shows each of them."""
    http = HttpBench(bench)
    body = {
        "priority": 9.0,
        "retries": 2,
        "max_deliveries": 2,
        "cost": 2,
        "time_limit_s": 1.5,
        "result_ttl_s": 50,
        "delay_s": 5,
        "expires_s": 100,
        "requires": ["gpu"],
        "concurrency_key": "k",
        "concurrency": 3,
        "unique_key": "u",
        "unique_for_s": 60,
        "headers": {"tenant": "acme"},
    }
    task_id = (await http.submit(body)).json()["id"]
    shown = await bench.admin("show", id=task_id)
    assert (shown["priority"], shown["retries"], shown["cost"], shown["time_limit_s"]) == (9, 2, 2, 1.5)
    assert (shown["concurrency_key"], shown["unique_key"], shown["requires"]) == ("k", "u", ["gpu"])
    assert (shown["state"], shown["headers"]) == ("delayed", {"tenant": "acme"})
    assert (shown["due_at"], shown["expires_at"]) == (bench.clock.at + 5, bench.clock.at + 100)
    at = await http.submit({"eta": "1970-01-12T13:47:00.5+00:00", "unique_key": "v"})
    assert (await http.task(at.json()["id"]))["due_at"] == 1_000_020.5
    assert AUTHORIZED["Authorization"] not in json.dumps(shown)
