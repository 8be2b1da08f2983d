"""A client that runs under callgrind: it makes as many round trips as each line of its standard input says.

It is run by its path, with the packages of the checkout that is counted, and so knows the names of several versions.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module

from benchmarks.tasks import square
from distq import Client

# Under callgrind a client takes fifty times as long, so that each trip would contain what a real one seldom does: many
# polls of a waiting caller, and the sender thread's look for an answer that the caller reads.
WAITS = (
    ("distq.client.result_receiver", "BUSY_POLL_S", 0.0),
    ("distq.client.result_receiver", "STAND_BACK_S", 60.0),
    ("distq.client.results", "STAND_BACK_S", 60.0),
    ("distq.client.submit_sender", "DIRECT_POLL_S", 60.0),
    ("distq.client.submits", "DIRECT_POLL_S", 60.0),
)
"""Waits that are replaced: the module, the constant and its seconds."""


def main(address: str, authkey: str) -> None:
    """Make round trips, and write a line after each group of them."""
    for module, name, wait_s in WAITS:
        with suppress(ImportError):
            setattr(import_module(module), name, wait_s)
    with Client(address, authkey) as client:
        for line in sys.stdin:
            for _ in range(int(line)):
                client.submit(square, 1).result()
            print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
