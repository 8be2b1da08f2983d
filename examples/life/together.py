"""The tasks of run_together.py."""

import time
from pathlib import Path

import distq


@distq.task
def fetch(name: str) -> str:
    """Return the text of a page."""
    return f"{name}: seven plain words and no more"


@distq.task
def parse(page: str) -> list[str]:
    """Return the words of a page."""
    return page.split()


@distq.task
def count(words: list[str], what: str) -> str:
    """Return the number of words."""
    return f"{len(words)} {what}"


@distq.task(queue="numbers")
def square(number: int) -> int:
    """Return the square of a number."""
    return number * number


@distq.task(queue="sums")
def total(numbers: list[int]) -> int:
    """Return the sum of a group's results."""
    return sum(numbers)


@distq.task
def slow(number: int) -> int:
    """Return a number after one second."""
    time.sleep(1)
    return number


@distq.task(retries=0)
def needs(path: str) -> str:
    """Fail until a file exists."""
    return Path(path).read_text()


@distq.task(on_failure="run")
def report(results: list[object]) -> str:
    """Return for each result whether its task succeeded."""
    return ", ".join("no" if isinstance(one, Exception) else "yes" for one in results)


@distq.task
def joined(texts: list[str]) -> str:
    """Join the texts."""
    return " ".join(texts)
