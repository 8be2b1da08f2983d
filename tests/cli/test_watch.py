"""The option --watch, and the span and the names that options of lists take."""

import json
from typing import Any

import pytest
from tests.cli.test_commands import KEY, FakeBroker, broker  # noqa: F401 - a fixture

from distq.cli.app import run
from distq.cli.status import fetched
from distq.settings.kinds import parse_modules


def stopping_after(monkeypatch: pytest.MonkeyPatch, lists: int) -> list[float]:
    """Have Ctrl-C come in the pause after `lists` lists; return the pauses."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == lists:
            raise KeyboardInterrupt

    monkeypatch.setattr("distq.cli.watch.time.sleep", sleep)
    return pauses


@pytest.mark.parametrize(("option", "pause_s"), [(["--watch"], 2.0), (["--watch", "500ms"], 0.5)])
def test_a_watch_repeats_the_list_on_one_connection_until_ctrl_c(
    option: list[str],
    pause_s: float,
    broker: FakeBroker,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With --json, each list is one line; the exit code is that of Ctrl-C."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    pauses = stopping_after(monkeypatch, 3)
    assert run(["status", "--json", *option]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert [list(json.loads(line)) for line in lines] == [["overview", "queues", "workers"]] * 3
    assert pauses == [pause_s] * 3
    assert [call[1] for call in broker.calls] == ["hello"] + ["stats"] * 9


def test_status_reads_all_pages_of_queues_and_a_whole_answer_of_the_previous_release() -> None:
    """The master names where the next page begins; the previous release answers with all queues, and no next page."""
    calls: list[Any] = []

    class Connection:
        def call(self, _ident: str, _method: str, args: tuple[str, ...], timeout_s: float) -> object:
            assert timeout_s == 5.0
            calls.append(args)
            return {"queues": [args[1] + "a"], "next": {"": "a", "a": "aa"}.get(args[1])}

    connection: Any = Connection()
    assert fetched(connection, "queues", 5.0) == {"queues": ["a", "aa", "aaa"]}
    assert calls == [("queues", ""), ("queues", "a"), ("queues", "aa")]
    connection.call = lambda *_, **__: {"queues": ["all"]}
    assert fetched(connection, "queues", 5.0) == {"queues": ["all"]}
    assert fetched(connection, "workers", 5.0) == {"queues": ["all"]}


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["status", "--watch", "soon"], "'soon' is no duration."),
        (["status", "--watch", "1ms"], "'1ms' is too short: the minimum is 0.1 s."),
        (["dead", "list", "--since", "1h", "--until", "2d"], "The span is empty: '1h' is not before --until '2d'."),
        (["dead", "purge", "--since", "1h", "--until", "2d"], "The span is empty"),
    ],
)
def test_a_wrong_pause_or_span_is_an_error_of_usage(
    args: list[str],
    error: str,
    broker: Any,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The sentence has the value, and nothing is listed or purged."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    assert run(args) == 2
    assert error in capsys.readouterr().err
    if not broker.calls:
        assert run(["status"]) == 0  # so that the fixture's master ends


@pytest.mark.parametrize(
    ("text", "module"),
    [("mytasks.py", "mytasks"), ("./shop/tasks.py", "shop.tasks"), ("shop/__init__.py", "shop"), ("a,b.py", "b")],
)
def test_a_file_in_the_place_of_a_module_is_answered_with_the_module(text: str, module: str) -> None:
    """`distq worker mytasks.py` is what a newcomer types."""
    with pytest.raises(ValueError, match=rf"is a file \(did you mean {module}\?\)"):
        parse_modules(text)
