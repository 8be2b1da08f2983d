"""A program whose client is suspended while a large result is on its way; the argument is a folder of the test."""

import sys
from typing import Any
from unittest import mock

from tests.e2e import handlers

import distq
from distq.net.dial import Connection
from distq.protocol.methods import RESULTS

RESULT_BYTES = 32 << 20
"""More than the kernel's buffers between two processes take."""


@distq.task(retries=0)
def large_later(folder: str, number: int) -> tuple[int, bytes]:
    """Return a large result after the test has created `go`."""
    handlers.wait_for_go(folder)
    return number, b"x" * RESULT_BYTES


def main(folder: str) -> None:
    """Submit two tasks, and print the number and the size of each result, and when the master was asked for them."""
    ask = Connection.ask

    def ask_and_say(connection: Connection, ident: str, method: str, *args: Any, **kwds: Any) -> None:
        ask(connection, ident, method, *args, **kwds)
        if method == RESULTS:
            sys.stdout.write("asked\n")  # one write: the client's threads print at the same time
            sys.stdout.flush()

    with mock.patch.object(Connection, "ask", ask_and_say), distq.Client() as client:
        futures = [client.submit(large_later, folder, number) for number in range(2)]
        for number, result in (future.result(60) for future in futures):
            sys.stdout.write(f"result {number} {len(result)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    from tests.e2e.slow_reader import main as main_of_module  # the worker imports the tasks by this name

    main_of_module(sys.argv[1])
