"""The command itself: its output, its exit codes, and a master of an earlier version."""

import json
import threading
from collections.abc import Iterator
from multiprocessing.connection import Listener

import pytest

from distq.cli.app import run
from distq.cli.doctor.command import summary
from distq.cli.doctor.model import OK, PROBLEM, UNKNOWN, WARNING, Finding, examine
from distq.cli.doctor.table import CHECKS, MASTER

KEY = "k3" * 20


class EarlierMaster:
    """A master of one connection that greets as the first release did, and refuses every other call."""

    def __init__(self) -> None:
        self.listener = Listener(("127.0.0.1", 0), authkey=KEY.encode())
        self.calls: list[str] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            with self.listener.accept() as connection:
                while True:
                    _, method, _, _ = connection.recv()
                    self.calls.append(method)
                    known = method == "hello"
                    connection.send(("#RETURN", {"protocol": 1}) if known else ("#TRACEBACK", "It has no such call."))
        except EOFError:
            pass

    def close(self) -> None:
        """End the master."""
        self._thread.join()
        self.listener.close()


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> Iterator[EarlierMaster]:
    """Run such a master at DISTQ_ADDRESS."""
    master = EarlierMaster()
    host, port = master.listener.address
    monkeypatch.setenv("DISTQ_ADDRESS", f"{host}:{port}")
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    yield master
    master.close()


def test_an_earlier_master_gives_unknown_and_no_traceback(
    earlier: EarlierMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it refuses is unknown, in words."""
    assert run(["doctor", "--json"]) == 0
    found = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["checks"]}
    assert {name for name, one in found.items() if one["state"] in ("problem", "warning")} == {"key-strength", "tls"}
    assert found["signatures"]["state"] == found["key-roles"]["state"] == found["clock"]["state"] == UNKNOWN
    assert earlier.calls[0] == "hello"


def test_the_text_has_a_line_for_each_check_and_explains_what_is_not_ok(
    earlier: EarlierMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --quiet it has only what is not ok; the key is in neither."""
    assert run(["doctor", "--quiet", "--strict"]) == 1
    printed, _ = capsys.readouterr()
    assert "warning  tls: The connection to" in printed
    assert "why: Without TLS" in printed
    assert "change: Settings: DISTQ_TLS_CERT" in printed
    assert "  ok " not in printed
    assert KEY not in printed
    assert len(earlier.calls) > 1


def test_wrong_options_and_settings_are_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They exit with 2, before anything is asked."""
    monkeypatch.setenv("DISTQ_AUTHKEY", KEY)
    assert run(["doctor", "--wait", "soon"]) == 2
    assert "'soon' is no duration" in capsys.readouterr().err
    monkeypatch.delenv("DISTQ_AUTHKEY")
    assert run(["doctor"]) == 2
    assert "There is no key" in capsys.readouterr().err


def test_the_summary_counts_the_states() -> None:
    """The nouns have their plural."""
    check = CHECKS[MASTER][0]
    states = (OK, OK, WARNING, PROBLEM, UNKNOWN)
    found = [Finding(check, MASTER, state, "It is.") for state in states]
    assert summary(found) == "5 checks: 2 ok, 1 warning, 1 problem, 1 unknown."
    assert not list(examine(MASTER, (), None))
