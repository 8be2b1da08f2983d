"""Web servers of tests, as real processes with the programs of a page."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.ports import free_port
from tests.waiting import SOON_S, eventually


class WebServer:
    """A server and its address."""

    def __init__(self, popen: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.popen = popen
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"

    def answers(self) -> bool:
        """Whether the server accepts requests."""
        assert self.popen.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/nothing").status_code == 404
        except httpx.TransportError:
            return False


@contextmanager
def serving(folder: Path, *command: str, **settings: str) -> Iterator[WebServer]:
    """Run `python -m COMMAND` in a folder with a port at the end, until the block ends; it must end well."""
    port, log = free_port(), folder / "server.log"
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            [sys.executable, "-m", *(word.format(port=port) for word in command)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), **settings},
            stdout=stream,
            stderr=stream,
        )
    server = WebServer(popen, port, log)
    try:
        eventually(server.answers, "the server answers", log.read_text)
        yield server
        popen.terminate()
        assert popen.wait(SOON_S) in (0, -signal.SIGTERM), log.read_text()  # uvicorn ends by the signal itself
        assert "Traceback" not in log.read_text()
    finally:
        popen.kill()
        popen.wait()
