"""A client with the standard library only: puts numbers on the work queue and prints the results.

It needs Python 3.8 or newer and two environment variables: DISTQ_ADDRESS (127.0.0.1:9000 if not set; commas separate
several addresses) and DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE. `python3 squares.py [COUNT]`
"""
# ruff: noqa: INP001, T201 - a program, which prints

import os
import queue
import sys
from contextlib import suppress
from multiprocessing.managers import BaseManager
from pathlib import Path

RESULT_WAIT_S = 60


class Master(BaseManager):
    """The master, as a standard-library program sees it: two queues."""


Master.register("get_work_queue")
Master.register("get_result_queue")


def authkey() -> bytes:
    """Return the first key in DISTQ_AUTHKEY, or in the file that DISTQ_AUTHKEY_FILE names."""
    text = os.environ.get("DISTQ_AUTHKEY")
    if not text:
        text = Path(os.environ["DISTQ_AUTHKEY_FILE"]).read_text(encoding="utf-8")
    return text.replace("\n", ",").split(",")[0].strip().encode()


def connected(address: str) -> Master:
    """Return a connection to the master at an address."""
    host, _, port = address.strip().rpartition(":")
    master = Master(address=(host, int(port)), authkey=authkey())
    master.connect()
    return master


def first_that_answers() -> Master:
    """Return a connection to the first address of DISTQ_ADDRESS that answers; the last one's error if none does."""
    *others, last = os.environ.get("DISTQ_ADDRESS", "127.0.0.1:9000").split(",")
    for address in others:
        with suppress(OSError):
            return connected(address)
    return connected(last)


def main() -> None:
    """Put the numbers, then get one result for each."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    master = first_that_answers()
    work, results = master.get_work_queue(), master.get_result_queue()
    for number in range(count):
        work.put(number)
    for _ in range(count):
        try:
            print(results.get(timeout=RESULT_WAIT_S), flush=True)
        except queue.Empty:
            sys.exit(f"No result arrived in {RESULT_WAIT_S} s. Check that a worker is running.")


if __name__ == "__main__":
    main()
