"""The tasks of run_prepared.py."""

import os
import time
from collections.abc import Generator
from pathlib import Path

import distq

NOTES = Path(os.environ.get("PREPARED_NOTES", os.devnull))


def _note(line: str) -> None:
    with NOTES.open("a") as file:
        file.write(line + "\n")


@distq.lifespan
def model() -> Generator[dict[str, int], None, None]:
    """Load a model once for all tasks of an executor."""
    _note("set up")
    yield {"joe": 1, "ann": 2}
    _note("torn down")


@distq.task
def predict(name: str, model: dict[str, int] = distq.injected(model)) -> int:
    """Return the model's value for a name."""
    return model[name]


@distq.task
def process_id() -> int:
    """Return the process id of the executor."""
    return os.getpid()


@distq.task
def greedy() -> int:
    """Take 200 MB of memory and keep it."""
    process_id.hoard = b"x" * 200_000_000  # type: ignore[attr-defined] # a memory leak
    return os.getpid()


@distq.task
def device() -> str | None:
    """Return the device of this executor."""
    time.sleep(0.2)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@distq.task(requires="gpu")
def train() -> str:
    """Run on a worker with the label `gpu`."""
    return "trained"


@distq.task
async def fetch(name: str) -> str:
    """Run as a coroutine function."""
    return f"fetched {name}"
