"""The names of queues that completion offers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import pytest

from distq.cli.app import app
from distq.cli.completion import complete_queues

NAMES = ["mail", "a-b_c.d", "eu/mail:1@x%+", "é", "$(id)", "`id`", "a b", "a;b", "a'b", "a\n", "~", "*"]


class Answering:
    """A connection to a master that has queues with NAMES."""

    def call(self, *_args: object, **_options: object) -> dict[str, Any]:
        """Return one page of the queues."""
        return {"rows": [{"name": name} for name in NAMES]}


def test_only_names_without_characters_of_the_shell_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bash inserts a name without quotes: a queue called `$(id)` would run a program of its choice."""

    @contextmanager
    def answering(*_args: object) -> Iterator[Answering]:
        yield Answering()

    monkeypatch.setenv("DISTQ_AUTHKEY", "k" * 32)
    monkeypatch.setattr("distq.cli.ask.master", answering)
    offered = complete_queues(click.Context(app), click.Argument(["queue"]), "")
    assert offered == ["mail", "a-b_c.d", "eu/mail:1@x%+", "é"]
