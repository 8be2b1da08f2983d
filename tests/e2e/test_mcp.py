"""`distq mcp` with the SDK's own client, over standard input and output, against a real master."""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from tests.docs.blocks import blocks_of
from tests.e2e import tasks
from tests.e2e.cluster import KEY, Cluster, cluster
from tests.e2e.sealed_tasks import fail
from tests.e2e.test_examples import paths
from tests.e2e.test_sealed import ENCRYPTED, SIGNED, client_of, worker_of
from tests.net.certificates import Authority
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

from distq.cli.examples import EXAMPLES
from distq.cli.mcp.fields import RESULTS
from distq.cli.mcp.tools import TOOLS

Found = TypeVar("Found")
SECRET = "a secret argument"


def settings(grid: Cluster, **more: str) -> dict[str, str]:
    """Return the environment of the server."""
    return {"DISTQ_ADDRESS": f"127.0.0.1:{grid.port}", "DISTQ_AUTHKEY": KEY, **more}


class Agent:
    """Runs a coroutine with a client that has started `distq mcp`."""

    def __init__(self, log: Path, environ: dict[str, str]) -> None:
        self.log = log
        self.server = StdioServerParameters(
            command=sys.executable, args=["-m", "distq", "mcp"], env=environ, cwd=str(ROOT)
        )

    def run(self, use: Callable[[Client], Awaitable[Found]], mode: str = "auto") -> Found:
        """Return what `use` returns."""

        async def connected() -> Found:
            with self.log.open("w") as log:
                async with (
                    asyncio.timeout(3 * SOON_S),
                    Client(stdio_client(self.server, errlog=log), mode=mode) as client,
                ):
                    return await use(client)

        return asyncio.run(connected())

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Return the structured result of one call, which its text repeats."""

        async def called(client: Client) -> dict[str, Any]:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result.content
            assert isinstance(result.structured_content, dict)
            assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
            return result.structured_content

        return self.run(called)

    def errors(self, calls: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
        """Return the text of each call that is an error of the tool, '' for one that is none; one client makes all."""

        async def called(client: Client) -> list[str]:
            results = [await client.call_tool(name, arguments) for name, arguments in calls]
            return [str(result.content[0].text) if result.is_error else "" for result in results]  # type: ignore[union-attr]

        return self.run(called)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """Yield a cluster with a dead letter, a waiting and an ended task, and their ids."""
    folder = tmp_path_factory.mktemp("shop")
    with cluster(folder) as grid:
        grid.master()
        grid.tasks()
        with grid.client() as client:
            dead = client.options(retries=0).submit(tasks.divide, SECRET, 0)  # type: ignore[call-overload] # it fails
            assert dead.exception(SOON_S) is not None
            ended = client.submit(tasks.square, 3)
            assert ended.result(SOON_S) == 9
            waits = client.options(requires="gpu", queue="mail").submit_named("shop:send", [SECRET])
            others = [client.options(requires="gpu").submit_named("shop:send", [number]) for number in range(30)]
            assert client.flush(SOON_S)
            ids = {"dead": dead.task_id, "ended": ended.task_id, "waits": waits.task_id}
            assert all(ids.values())
            del others
            client.abandon()
        yield grid, {name: str(ident) for name, ident in ids.items()}


@pytest.fixture
def agent(shop: tuple[Cluster, dict[str, str]], tmp_path: Path) -> Agent:
    """Return an agent of that cluster."""
    return Agent(tmp_path / "stderr", settings(shop[0]))


def tool_calls(ids: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return arguments for a call of each tool."""
    return {
        "status": {},
        "list_queues": {},
        "list_workers": {},
        "list_tasks": {"limit": 100},
        "list_dead_letters": {"limit": 5},
        "show_dead_letter": {"id": ids["dead"], "payload": True},
        "show_task": {"id": ids["waits"]},
        "why": {"id": ids["waits"]},
    }


@pytest.mark.parametrize(("mode", "revision"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_the_tools_are_listed_with_their_schemas_in_each_era_of_the_protocol(
    agent: Agent, mode: str, revision: str
) -> None:
    """The newest revision is agreed on, and the one before with a client that asks for the older handshake."""

    async def listed(client: Client) -> tuple[str, list[Any], str | None]:
        return str(client.protocol_version), (await client.list_tools()).tools, client.instructions

    agreed, found, instructions = agent.run(listed, mode)
    assert agreed == revision
    assert [tool.name for tool in found] == list(TOOLS)
    for tool in found:
        assert tool.input_schema == TOOLS[tool.name].input_schema
        assert tool.output_schema == TOOLS[tool.name].output_schema
        assert tool.annotations is not None
        assert (tool.annotations.read_only_hint, tool.annotations.destructive_hint) == (True, False)
    assert "never instructions" in str(instructions)


@pytest.mark.parametrize("name", list(TOOLS))
def test_every_tool_returns_the_fields_of_its_schema(
    shop: tuple[Cluster, dict[str, str]], agent: Agent, name: str
) -> None:
    """Each field that the schema names is in the result, and no other."""
    found = agent.call(name, **tool_calls(shop[1])[name])
    printed = set(paths(found, RESULTS[name]))
    assert printed == set(RESULTS[name])
    assert agent.log.read_text() == ""


def test_the_tools_say_what_is_true(shop: tuple[Cluster, dict[str, str]], agent: Agent) -> None:
    """Counts, reasons and errors are those of the cluster."""
    ids = shop[1]
    assert agent.call("status")["overview"]["tasks"]["ready"] == 31
    (mail,) = agent.call("list_queues", filter="mai")["queues"]
    assert (mail["name"], mail["ready"], mail["rate"], mail["submitted_per_s"]) == ("mail", 1, None, 0.0)
    (worker,) = agent.call("list_workers")["workers"]
    assert (worker["slots"], worker["unknown_names"]) == (1, 0)
    assert "gpu" in agent.call("why", id=ids["waits"])["why"]
    assert agent.call("show_task", id=ids["dead"])["state"] == "dead"
    (dead,) = agent.call("list_dead_letters", error="TypeError")["tasks"]
    assert dead["id"] == ids["dead"]
    assert agent.call("list_dead_letters", error="KeyError")["tasks"] == []
    shown = agent.call("show_dead_letter", id=ids["dead"])
    assert shown["error"].endswith("TypeError")
    assert "in divide" in shown["traceback"]


def test_arguments_are_shown_only_on_request(shop: tuple[Cluster, dict[str, str]], agent: Agent) -> None:
    """No tool shows them by itself."""
    calls = tool_calls(shop[1])
    quiet = {**calls, "show_dead_letter": {"id": shop[1]["dead"]}}

    async def all_results(client: Client) -> str:
        return "".join([str(await client.call_tool(name, arguments)) for name, arguments in quiet.items()])

    assert SECRET not in agent.run(all_results)
    assert f"divide({SECRET!r}, 0)" in agent.call("show_dead_letter", **calls["show_dead_letter"])["call"]


def test_lists_come_in_pages_that_join(agent: Agent) -> None:
    """The pages have every task once; the last one has no next."""

    async def pages(client: Client) -> list[list[str]]:
        found: list[list[str]] = []
        after: dict[str, str] = {}
        while True:
            result = (await client.call_tool("list_tasks", {"limit": 12, **after})).structured_content
            assert result is not None
            found.append([row["id"] for row in result["tasks"]])
            if result["next"] is None:
                return found
            after = {"after": result["next"]}

    found = agent.run(pages)
    assert [len(rows) for rows in found] == [12, 12, 7]
    assert len({ident for rows in found for ident in rows}) == 31


def test_no_tool_changes_anything(shop: tuple[Cluster, dict[str, str]], agent: Agent) -> None:
    """The tasks, their states and the queues are the same after a call of every tool."""
    grid, ids = shop

    def state() -> Any:
        listed = grid.json_of("list", "--json", "--state", "waiting", "--state", "ended", "--state", "running")
        return listed, grid.json_of("dead", "list", "--json"), grid.json_of("schedule", "list", "--json")

    before = state()
    assert not [text for text in agent.errors(tool_calls(ids).items()) if text]
    assert state() == before


def test_errors_are_those_of_the_tool_and_sentences(shop: tuple[Cluster, dict[str, str]], tmp_path: Path) -> None:
    """The server goes on after each: the next call of the same client succeeds."""
    grid = shop[0]
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "The master does not know task 1-ffff": ("show_task", {"id": "1-ffff"}),
        "A task id is two hexadecimal numbers, as in 1a-2f, not 'nope'": ("why", {"id": "nope"}),
        "1-ffff is not a dead letter": ("show_dead_letter", {"id": "1-ffff"}),
        "There is no queue 'mial'; did you mean 'mail'?": ("list_tasks", {"queue": "mial"}),
        "There is no queue 'mai'; did you mean 'mail'?": ("list_dead_letters", {"queue": "mai"}),
        "A call of list_tasks is wrong: Additional properties": ("list_tasks", {"queu": "mail"}),
        "There is no tool 'retry_all'. There are status,": ("retry_all", {}),
        "": ("status", {}),
    }
    found = Agent(tmp_path / "stderr", settings(grid)).errors(calls.values())
    assert [text for text, begins in zip(found, calls, strict=True) if not text.startswith(begins)] == []
    assert found[-1] == "", "the server goes on"
    wrong = Agent(tmp_path / "stderr", settings(grid, DISTQ_AUTHKEY="another key that is long enough"))
    assert "does not let us in" in wrong.errors([("status", {})])[0]
    absent = Agent(tmp_path / "stderr", settings(grid, DISTQ_ADDRESS="127.0.0.1:1"))
    (text,) = absent.errors([("status", {})])
    assert text.startswith("The master at 127.0.0.1:1 cannot be reached: Connection refused.")


def test_a_master_that_starts_later_answers_the_next_call(grid: Cluster, tmp_path: Path) -> None:
    """Each call connects by itself."""

    async def before_and_after(client: Client) -> tuple[bool, bool]:
        before = (await client.call_tool("status", {})).is_error
        await asyncio.to_thread(grid.master)
        return before, (await client.call_tool("status", {})).is_error

    assert Agent(tmp_path / "stderr", settings(grid)).run(before_and_after) == (True, False)


class Raw:
    """`distq mcp` as a process whose streams a test reads itself."""

    def __init__(self, grid: Cluster, **more: str) -> None:
        environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "distq", "mcp"],
            env={**environ, **settings(grid, **more)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def say(self, **message: Any) -> None:
        """Send one message."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.popen.stdin.flush()

    def initialize(self, revision: str) -> dict[str, Any]:
        """Return the result of the handshake that proposes a revision."""
        about = {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self.say(id=1, method="initialize", params={"protocolVersion": revision, **about})
        assert self.popen.stdout is not None
        answer = json.loads(self.popen.stdout.readline())
        self.say(method="notifications/initialized")
        return dict(answer["result"])


@pytest.fixture
def raw(grid: Cluster) -> Iterator[Callable[..., Raw]]:
    """Yield a function that starts such a process; the test ends them."""
    made: list[Raw] = []

    def start(**more: str) -> Raw:
        made.append(Raw(grid, **more))
        return made[-1]

    yield start
    for one in made:
        one.popen.kill()
        one.popen.communicate()


@pytest.mark.parametrize("line", EXAMPLES["mcp"])
def test_an_example_runs_until_its_input_ends(grid: Cluster, tmp_path: Path, line: str) -> None:
    """It needs no master to start, and ends with 0 and without a word."""
    for name in (".env", "prod.env"):
        (tmp_path / name).write_text("".join(f"{name}='{text}'\n" for name, text in settings(grid).items()))
    environ = {name: text for name, text in os.environ.items() if not name.startswith("DISTQ_")}
    command = [sys.executable, "-m", "distq", *shlex.split(line)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_an_older_revision_is_agreed_on(raw: Callable[..., Raw], revision: str) -> None:
    """The server answers with the revision that the agent's program proposes."""
    assert raw().initialize(revision)["protocolVersion"] == revision


def test_an_unknown_revision_is_answered_with_one_that_the_server_speaks(raw: Callable[..., Raw]) -> None:
    """The agent's program then decides whether it goes on."""
    assert raw().initialize("1999-01-01")["protocolVersion"] == "2025-11-25"


def test_standard_output_has_nothing_but_the_protocol(raw: Callable[..., Raw]) -> None:
    """A warning and a line that is no message leave it clean; the end of standard input ends the server with 0."""
    server = raw(DISTQ_LOG_LEVLE="debug")
    server.initialize("2025-11-25")
    server.popen.stdin.write("this is no message\n")  # type: ignore[union-attr]
    server.say(id=2, method="tools/call", params={"name": "status", "arguments": {}})
    server.say(id=3, method="no/such/method")
    assert server.popen.stdout is not None
    lines: list[dict[str, Any]] = []
    while not {2, 3} <= {line.get("id") for line in lines}:
        lines.append(json.loads(server.popen.stdout.readline()))
    out, err = server.popen.communicate(timeout=SOON_S)
    assert all("jsonrpc" in json.loads(line) for line in out.splitlines())
    assert all(line["jsonrpc"] == "2.0" for line in lines)
    assert "DISTQ_LOG_LEVLE is not a setting; did you mean DISTQ_LOG_LEVEL?" in err
    assert server.popen.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_the_server_while_its_input_stays_open(
    raw: Callable[..., Raw], number: signal.Signals, code: int
) -> None:
    """Nothing is printed, and no thread that reads standard input keeps the process."""
    server = raw()
    server.initialize("2025-11-25")
    server.popen.send_signal(number)
    eventually(lambda: server.popen.poll() is not None, "its end")
    assert server.popen.returncode == code
    out, err = server.popen.communicate()
    assert (out, err) == ("", "")


def test_the_file_of_the_page_starts_the_server(grid: Cluster, tmp_path: Path) -> None:
    """Its command, arguments and variables, with the paths and the address of this machine, reach a master with TLS."""
    (block,) = (block for block in blocks_of(Path("docs/how-to/agents.md")) if block.language == "json")
    authority = Authority(tmp_path)
    certificate = authority.issue("localhost", "127.0.0.1")
    grid.master(DISTQ_TLS_CERT=certificate.cert, DISTQ_TLS_KEY=certificate.key)
    (tmp_path / "key").write_text(KEY)
    here = {
        "/srv/venv/bin/distq": str(Path(sys.executable).with_name("distq")),
        "queue.example.com:9000": f"127.0.0.1:{grid.port}",
        "/srv/distq/key": str(tmp_path / "key"),
        "/srv/distq/ca.crt": authority.cert,
    }
    code = block.code
    for text, other in here.items():
        assert f'"{text}"' in code
        code = code.replace(f'"{text}"', json.dumps(other))
    (name, entry) = json.loads(code)["mcpServers"].popitem()
    agent = Agent(tmp_path / "log", {})
    agent.server = StdioServerParameters(**entry)
    assert (name, agent.call("status")["overview"]["ready"]) == ("distq", True)


@pytest.mark.parametrize("keys", [SIGNED, SIGNED | ENCRYPTED], ids=["signed", "encrypted"])
def test_dead_letters_of_a_cluster_with_keys_are_shown(grid: Cluster, tmp_path: Path, keys: dict[str, str]) -> None:
    """The server checks no signature, as it runs nothing; of an encrypted task it shows neither call nor error."""
    grid.master()
    worker_of(grid, **keys)
    with client_of(grid, **keys) as client:
        failed = client.options(retries=0).submit(fail, SECRET)
        assert failed.exception(SOON_S) is not None
    with client_of(grid) as client:
        unsigned = client.submit(fail, SECRET)
        assert unsigned.exception(SOON_S) is not None
    agent = Agent(tmp_path / "stderr", settings(grid, **keys))
    shown = agent.call("show_dead_letter", id=str(failed.task_id), payload=True)
    assert (SECRET in json.dumps(shown)) == (keys == SIGNED)
    assert ("encrypted" in shown["call"]) == (keys != SIGNED)
    refused = agent.call("show_dead_letter", id=str(unsigned.task_id), payload=True)
    assert refused["error"].endswith(":SealRefused")
    assert "is not signed" in refused["error_text"]
    assert len(agent.call("list_dead_letters", limit=5)["tasks"]) == 2
