"""The tasks of run_together.py."""

import time
from pathlib import Path

import distq


@distq.task
def fetch(name: str) -> str:
    """A page."""
    return f"{name}: seven plain words and no more"


@distq.task
def parse(page: str) -> list[str]:
    """Its words."""
    return page.split()


@distq.task
def count(words: list[str], what: str) -> str:
    """How many there are."""
    return f"{len(words)} {what}"


@distq.task(queue="numbers")
def square(number: int) -> int:
    """A small piece of work."""
    return number * number


@distq.task(queue="sums")
def total(numbers: list[int]) -> int:
    """What a group comes to."""
    return sum(numbers)


@distq.task
def slow(number: int) -> int:
    """A piece that takes a while."""
    time.sleep(1)
    return number


@distq.task(retries=0)
def needs(path: str) -> str:
    """Fail as long as a file is not there."""
    return Path(path).read_text()


@distq.task(on_failure="run")
def report(results: list[object]) -> str:
    """Say of each whether it went well."""
    return ", ".join("no" if isinstance(one, Exception) else "yes" for one in results)


@distq.task
def joined(texts: list[str]) -> str:
    """Put them together."""
    return " ".join(texts)
