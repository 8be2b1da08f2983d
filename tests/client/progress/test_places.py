"""Tests of bars on standard error that is not a stream as Python makes it."""

import io
import sys
from typing import Any

import pytest
from tests.testing import jobs
from tests.waiting import eventually

import distq
from distq import testing
from distq.client.progress import lines
from distq.client.progress.drawing import drawn
from distq.client.progress.places import place_here
from distq.client.progress.tally import Tally


class WriteOnly:
    """An object with only `write()`, as programs that log their output put in the place of streams."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        """Note the text."""
        self.text += text


class Broken:
    """A stream of which every method raises an error that no stream raises."""

    def write(self, _text: str) -> None:
        """Fail."""
        raise LookupError

    flush = isatty = fileno = write


def closed() -> io.StringIO:
    """Return a stream that is closed."""
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), WriteOnly(), Broken(), object()])
def test_a_bar_never_ends_the_work(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever standard error is, the calls have their results; each bar has time to print."""
    monkeypatch.setattr(lines, "FIRST_S", 0.0)
    monkeypatch.setattr(sys, "stderr", stream)
    with testing.eager() as eager:
        assert list(eager.client.map(jobs.add, [1], progress=True)) == [1]
        futures = [eager.client.submit(jobs.add, 2)]
        assert [future.result() for future in distq.progress(futures)] == [2]


def test_an_object_that_can_only_write_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is no terminal."""
    stream = WriteOnly()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(lines, "FIRST_S", 0.0)
    place = place_here()
    assert isinstance(place, lines.LinesPlace)
    with drawn("x", Tally(1), place):
        eventually(lambda: bool(stream.text), "the first line")
    assert stream.text.startswith("x: 0/1, 0:00\n")


def test_a_place_that_cannot_begin_gets_no_bar() -> None:
    """A notebook that is closed does not end the work either."""

    class Gone(lines.LinesPlace):
        def begin(self, _bar: object) -> None:
            raise ConnectionError

    has_run = False
    with drawn("x", Tally(1), Gone(io.StringIO())):
        has_run = True
    assert has_run
