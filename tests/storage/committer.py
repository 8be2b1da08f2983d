"""A program that commits one row after another until it is killed, and prints the key of each confirmed commit."""

import asyncio
import os
import subprocess
import sys

from tests.storage.contract import follow
from tests.tidy.tree import ROOT

from distq.storage import open_store


def body_of(key: int) -> bytes:
    """Return the body that the program stores with a key."""
    return b"body %d" % key


def committer(url: str) -> "subprocess.Popen[str]":
    """Start the program on a store; its standard output is a pipe."""
    environ = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.committer", url], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True
    )


async def commit_for_ever(url: str) -> None:
    """Commit to the store until the process is killed."""
    store = open_store(url, 0.0)
    await follow(store)
    key = store.epoch << 40
    while True:
        key += 1
        await store.commit({key: (b"head", body_of(key))})
        print(key, flush=True)


if __name__ == "__main__":
    asyncio.run(commit_for_ever(sys.argv[1]))
