"""Procrastinate with PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector  # type: ignore[import-not-found]

from benchmarks import tasks
from benchmarks.peers.system import BIN, WAIT_S, System, as_text, if_any

TITLE = "Procrastinate, PostgreSQL"
SETTINGS = (
    "two processes of procrastinate worker with --concurrency 1, which listen for new jobs; it keeps no results, so "
    "that a client here polls the states of its jobs each millisecond; payloads in base64, as "
    "arguments are JSON; the server was started before"
)
CONNECTION = "PEERS_POSTGRESQL"
"""Name of the environment variable with the address of the database."""
CHECK_S = 0.001


def made(connector: Any) -> Any:
    """Make the app and its tasks."""
    made_app = App(connector=connector)
    for name in ("square", "same"):
        made_app.task(getattr(tasks, name), name=name)
    return made_app


app = made(PsycopgConnector(conninfo=os.environ.get(CONNECTION, "")))


class OfProcrastinate(System):
    """A client of Procrastinate."""

    returns_results = False

    def __init__(self, client: Any, database: psycopg.Connection[Any]) -> None:
        self._client = client
        self._database = database

    def submit(self, task: str, argument: object) -> Any:
        """Submit a task; arguments are JSON."""
        name = "n" if task == "square" else "body"
        return self._client.configure_task(task).defer(**{name: as_text(argument)})

    def result(self, handle: Any) -> Any:
        """Wait for the end of the task."""
        self._wait("SELECT status = 'succeeded' FROM procrastinate_jobs WHERE id = %s", handle)

    def many(self, task: str, arguments: Sequence[object]) -> Sequence[Any]:
        """Wait for the end of all tasks."""
        for argument in arguments:
            self.submit(task, argument)
        self._wait("SELECT NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))")
        return [None] * len(arguments)

    def _wait(self, query: Any, *arguments: object) -> None:
        async def wait() -> None:
            while True:
                row = self._database.execute(query, arguments).fetchone()
                if row is not None and row[0]:
                    return
                await asyncio.sleep(CHECK_S)

        asyncio.run(asyncio.wait_for(wait(), WAIT_S))


@contextlib.contextmanager
def running(workers: int) -> Iterator[System]:
    """Make a new schema in the database, and start the workers."""
    conninfo = os.environ[CONNECTION]
    with psycopg.connect(conninfo, autocommit=True) as database:
        database.execute("DROP SCHEMA public CASCADE")
        database.execute("CREATE SCHEMA public")
        with made(SyncPsycopgConnector(conninfo=conninfo)).open() as client, contextlib.ExitStack() as stack:
            client.schema_manager.apply_schema()
            for _ in range(workers):
                command = (f"--app={__name__}.app", "worker", "--concurrency", "1")
                stack.enter_context(if_any(workers, BIN / "procrastinate", *command))
            yield OfProcrastinate(client, database)
