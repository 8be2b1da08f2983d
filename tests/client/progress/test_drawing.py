"""Tests of the thread that draws bars, with a place that records what is drawn."""

import os
import threading
from concurrent.futures import Future

import pytest
from tests.e2e.cluster import fork
from tests.waiting import eventually

from distq.client.progress import drawing, lines
from distq.client.progress.drawing import ProgressBar, drawn
from distq.client.progress.lines import LinesPlace
from distq.client.progress.tally import CallCounts, Tally


class FakePlace:
    """Records what is drawn."""

    pause_s = 0.001

    def __init__(self, fails: type[Exception] | None = None) -> None:
        self.drawn: list[list[CallCounts]] = []
        self.ended: list[tuple[str, CallCounts, list[str]]] = []
        self.left = 0
        self.fails = fails

    def begin(self, bar: ProgressBar) -> None:
        """Do as `Place` does."""

    def draw(self, bars: list[ProgressBar]) -> None:
        """Do as `Place` does."""
        if self.fails is not None:
            raise self.fails
        self.drawn.append([bar.state.counts for bar in bars])

    def end(self, bar: ProgressBar, bars: list[ProgressBar]) -> None:
        """Do as `Place` does."""
        if self.fails is not None:
            raise self.fails
        self.ended.append((bar.label, bar.state.counts, [one.label for one in bars]))

    def leave(self) -> None:
        """Do as `Place` does."""
        self.left += 1


def futures(count: int) -> tuple[list[Future[int]], Tally]:
    """Return futures of no executor, and their tally."""
    made: list[Future[int]] = [Future() for _ in range(count)]
    tally = Tally(count)
    for future in made:
        tally.add(future)
    return made, tally


def is_over() -> bool:
    """Return whether no thread draws."""
    return "distq-progress" not in [thread.name for thread in threading.enumerate()]


def test_a_tally_counts_results_failures_and_cancelled_calls() -> None:
    """A future of a chunk counts for each of its calls, and is released when it has ended."""
    (first, second, third, fourth), tally = futures(4)
    chunk: Future[int] = Future()
    tally.add(chunk, 10)
    assert tally.count() == CallCounts(0, 0, 0, 4)
    tally.complete()
    first.set_result(1)
    second.set_exception(ValueError())
    third.cancel()
    chunk.set_result(1)
    assert tally.count() == CallCounts(13, 1, 1, 14)
    fourth.set_result(1)
    assert tally.count() == tally.count() == CallCounts(14, 1, 1, 14)
    assert tally._left == []


def test_bars_are_drawn_while_they_are_open_and_end_with_their_last_state() -> None:
    """Several bars are drawn together; the thread ends with the last one."""
    place = FakePlace()
    (one,), first = futures(1)
    (other,), second = futures(1)
    with drawn("outer", first, place):
        with drawn("inner", second, place):
            eventually(lambda: any(len(bars) == 2 for bars in place.drawn), "both bars")
            one.set_result(1)
            other.set_result(1)
        assert place.ended == [("inner", CallCounts(1, 0, 0, 1), ["outer"])]
    assert place.ended[1] == ("outer", CallCounts(1, 0, 0, 1), [])
    eventually(is_over, "the end of the thread")


def test_no_place_draws_nothing() -> None:
    """A program without a console has no standard error."""
    with drawn("x", Tally(1), None):
        assert is_over()


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_terminal_that_is_gone_does_not_disturb_the_program(error: type[Exception]) -> None:
    """Its bars are drawn no more, and their end does not wait for a drawing."""
    with drawn("x", Tally(1), FakePlace(error)):
        eventually(is_over, "the end of the thread")


def test_a_bar_whose_end_is_interrupted_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C comes while the first one closes the bar."""
    place = FakePlace()

    def interrupted(_self: object, _timeout_s: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt), drawn("x", Tally(1), place):
        pass
    monkeypatch.undo()
    eventually(lambda: [label for label, *_ in place.ended] == ["x"], "the last drawing")


def test_a_bar_may_be_closed_by_the_thread_that_draws() -> None:
    """A finalizer runs in any thread; it must not wait for its own thread."""

    class Closing(FakePlace):
        closed_in = ""

        def draw(self, bars: list[ProgressBar]) -> None:
            drawing._DrawingProcess.drawing.close(bars[0])
            Closing.closed_in = threading.current_thread().name

    place = Closing()
    with drawn("x", Tally(1), place):
        eventually(lambda: bool(place.ended), "the last drawing")
    assert Closing.closed_in == "distq-progress"


def test_a_forked_child_has_no_bars() -> None:
    """The parent process goes on drawing; the child gives its streams back, and waits for no drawing."""
    place = FakePlace()
    with drawn("x", Tally(1), place) as _:
        child = fork()
        if child == 0:
            bars = drawing._DrawingProcess.drawing.bars
            os._exit(0 if (bars, place.left) == ([], 1) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        before = len(place.drawn)
        eventually(lambda: len(place.drawn) > before, "a drawing of the parent")
    assert place.left == 0


class Stream:
    """A stream that keeps what is printed."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        """Keep a text."""
        self.text += text

    def flush(self) -> None:
        """Do nothing."""


def test_a_log_gets_a_line_after_ten_seconds_and_then_at_longer_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that ends sooner prints nothing."""
    now = 100.0
    monkeypatch.setattr(lines, "_now", lambda: now)
    monkeypatch.setattr(drawing, "_now", lambda: now)
    stream = Stream()
    place = LinesPlace(stream)  # type: ignore[arg-type] # it needs no more of a stream
    bar = ProgressBar("x", Tally(3), place)
    place.end(bar, [])
    assert stream.text == ""
    printed_at = []
    for now in range(100, 401):
        bar.update()
        before = stream.text
        place.draw([bar])
        if stream.text != before:
            printed_at.append(now - 100)
    assert printed_at == [10, 30, 70, 130, 190, 250]
    place.end(bar, [])
    assert stream.text.splitlines() == [
        *(f"x: 0/3, {span}" for span in ("0:10", "0:30", "1:10", "2:10", "3:10", "4:10", "5:00"))
    ]


def test_counting_takes_a_small_share_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause grows with the time that a drawing takes."""
    clock, pauses = [0.0], []

    class Slow(FakePlace):
        def draw(self, bars: list[ProgressBar]) -> None:
            clock[0] += 1.0
            super().draw(bars)

    def wait(_self: object, pause_s: float) -> None:
        pauses.append(pause_s)
        eventually(bar_is_closed, "the end of the block")

    def bar_is_closed() -> bool:
        return all(bar.is_closed for bar in drawing._DrawingProcess.drawing.bars)

    monkeypatch.setattr(drawing, "_now", lambda: clock[0])
    monkeypatch.setattr("distq.client.progress.drawing.Wakeup.wait", wait)
    with drawn("x", Tally(1), Slow()):
        eventually(lambda: bool(pauses), "the first pause")
    assert pauses[0] == drawing.SHARE
