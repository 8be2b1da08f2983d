"""The tasks of run_prepared.py."""

import os
import time
from collections.abc import Generator
from pathlib import Path

import distq

NOTES = Path(os.environ.get("PREPARED_NOTES", os.devnull))


def _note(words: str) -> None:
    with NOTES.open("a") as file:
        file.write(words + "\n")


@distq.lifespan
def model() -> Generator[dict[str, int], None, None]:
    """What takes long to load and is good for all tasks of an executor."""
    _note("set up")
    yield {"joe": 1, "ann": 2}
    _note("torn down")


@distq.task
def predict(name: str, model: dict[str, int] = distq.injected(model)) -> int:
    """Use the model."""
    return model[name]


@distq.task
def process_id() -> int:
    """Which executor this is."""
    return os.getpid()


@distq.task
def greedy() -> int:
    """Take a lot of memory and keep it."""
    process_id.hoard = b"x" * 200_000_000  # type: ignore[attr-defined] # a leak, as in real life
    return os.getpid()


@distq.task
def device() -> str | None:
    """Which device this executor has."""
    time.sleep(0.2)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@distq.task(requires="gpu")
def train() -> str:
    """Run where there is a GPU."""
    return "trained"


@distq.task
async def fetch(name: str) -> str:
    """A coroutine function."""
    return f"fetched {name}"
