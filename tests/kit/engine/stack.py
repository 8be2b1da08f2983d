"""Helpers that run a Compose project for a test, with names, volumes and ports of its own."""

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from tests.kit.shell import PRINT_METRICS, TASKS, CommandFailed, run, sum_of_series
from tests.tidy.tree import ROOT

import distq

CLIENT = ROOT / "helm" / "files" / "client" / "squares.py"
ALL_BUT_GRAFANA = ("master", "worker", "prometheus")
"""The services that tests start: an image of Grafana may not be available."""
MASTERS = ("MASTER", "MASTER_1", "MASTER_2", "MASTER_3")
ANY_PORTS = {
    "PROMETHEUS_PORT": "0",
    "GRAFANA_PORT": "0",
    **{f"{master}_{port}": "0" for master in MASTERS for port in ("PORT", "HTTP_PORT")},
}
ON_IMAGES = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("images"),
]
"""Marks of the modules whose tests run the images of this tree, one after another."""
_numbers = itertools.count(1)


class Stack:
    """A running Compose project."""

    def __init__(self, files: Sequence[str | Path] = ("compose.yaml",), folder: Path = ROOT, **env: str) -> None:
        self.name = f"distq-test-{os.getpid()}-{next(_numbers)}"
        self._options = ["--project-name", self.name, "--project-directory", str(folder)]
        for path in files:
            self._options += ["--file", str(folder / path)]
        self._env = {**ANY_PORTS, **env}

    def use(self, path: Path) -> Self:
        """Add a further Compose file."""
        self._options += ["--file", str(path)]
        return self

    def compose(self, *arguments: str, timeout_s: float = 300) -> str:
        """Return the output of `docker compose` for this project."""
        return run("docker", "compose", *self._options, *arguments, timeout_s=timeout_s, **self._env)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run `docker compose watch` during a `with` statement."""
        command = ["docker", "compose", *self._options, "watch", "--no-up"]
        environ = {**os.environ, **self._env}
        with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, start_new_session=True) as watcher:
            try:
                yield
            finally:
                # SIGTERM sometimes has no effect during a build, and the test needs no orderly end.
                os.killpg(watcher.pid, signal.SIGKILL)

    def up(self, *services: str, scale: int | None = None) -> None:
        """Start services, and wait until they are healthy."""
        workers = [] if scale is None else ["--scale", f"worker={scale}"]
        self.compose("up", "--detach", "--wait", *workers, *services)

    def down(self) -> None:
        """Remove every container and volume."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "20", "--remove-orphans")

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, including stopped ones."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def volumes(self) -> list[str]:
        """Return the names of the project's volumes."""
        labelled = f"label=com.docker.compose.project={self.name}"
        return run("docker", "volume", "ls", "--quiet", "--filter", labelled).split()

    def address(self, service: str, port: int) -> str:
        """Return the address on this machine where a port is published."""
        return self.compose("port", service, str(port)).strip()

    def exec(self, service: str, *command: str) -> str:
        """Return the output of a command in a service's container."""
        return self.compose("exec", "-T", service, *command)

    def authkey(self) -> str:
        """Return the key as a user gets it."""
        return self.exec("master", "distq", "key", "show").strip()

    def client_on_the_host(self, count: int, authkey: str | None = None) -> list[str]:
        """Return the results that a standard-library client gets through the published port."""
        address = self.address("master", 9000)
        key = authkey or self.authkey()
        return run(sys.executable, CLIENT, str(count), DISTQ_ADDRESS=address, DISTQ_AUTHKEY=key).splitlines()

    def client(self) -> distq.Client:
        """Return a distq client that uses the published port."""
        return distq.Client(self.address("master", 9000), self.authkey())

    def prometheus(self, path: str, **query: str) -> Any:
        """Return the data of an answer of Prometheus' API."""
        url = f"http://{self.address('prometheus', 9090)}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error


def inspect(target: str) -> dict[str, Any]:
    """Return the engine's description of a container or an image."""
    found: dict[str, Any] = json.loads(run("docker", "inspect", target))[0]
    return found


def metric(container: str, beginning: str) -> float:
    """Return the sum of a container's series whose text begins with the given prefix."""
    return sum_of_series(run("docker", "exec", container, "python", "-c", PRINT_METRICS), beginning)


def with_test_tasks(folder: Path, options: Mapping[str, Any] | None = None, **settings: str) -> list[str | Path]:
    """Write a file that gives workers the tests' tasks, settings and options; return it with compose.yaml."""
    worker = {"volumes": [f"{TASKS}:/app/tasks/test.py:ro"], "environment": settings, **(options or {})}
    path = folder / "tasks.yaml"
    path.write_text(json.dumps({"services": {"worker": worker}}))
    return ["compose.yaml", path]


@contextmanager
def stack(*args: Any, **kwargs: Any) -> Iterator[Stack]:
    """Yield a project and remove it afterwards; after a failed test, its logs are printed first."""
    project = Stack(*args, **kwargs)
    try:
        yield project
    except BaseException:
        try:
            sys.stderr.write(project.compose("--profile", "*", "logs", "--no-color", "--tail", "50"))
        except CommandFailed as failed:
            sys.stderr.write(str(failed))
        raise
    finally:
        project.down()
