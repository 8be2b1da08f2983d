"""Rates and sparklines of counters."""

from distq.cli.top.rates import ASCII_BLOCKS, Rates


def rising(*increases: float, step_s: float = 5.0) -> Rates:
    """Return the rates of a counter that has risen by these amounts, one each step."""
    rates = Rates()
    count = 0.0
    rates.note("c", 0.0, count)
    for number, increase in enumerate(increases, 1):
        count += increase
        rates.note("c", number * step_s, count)
    return rates


def test_a_rate_is_the_increase_of_the_last_seconds() -> None:
    """An older burst does not count, and one sample has no rate."""
    rates = rising(1000, 10)
    assert rates.rate("c") == 2.0
    assert Rates().rate("c") is None
    rates = rising(1, 2, 3, step_s=1.0)
    assert rates.rate("c") == 2.0


def test_a_sparkline_shows_the_last_minute() -> None:
    """The newest increase is last, the highest block is the largest increase, and time without a value is blank."""
    rates = rising(1, 2, 4, 8)
    assert rates.sparkline("c", 12) == "       ▁▂▃▅█"
    assert set(rates.sparkline("c", 12, ASCII_BLOCKS).strip()) <= set(ASCII_BLOCKS)
    assert rates.sparkline("unknown", 5) == "     "


def test_a_counter_that_falls_begins_anew() -> None:
    """The master has started again: its counters are zero."""
    rates = rising(100, 100)
    rates.note("c", 12.0, 1)
    assert rates.rate("c") is None
    rates.note("c", 13.0, 3)
    assert rates.rate("c") == 2.0


def test_old_counters_and_samples_are_forgotten() -> None:
    """The memory of an evening's `distq top` is that of a minute."""
    rates = Rates()
    for second in range(1000):
        rates.note("c", float(second), second)
    assert len(rates._samples["c"]) < 70
    rates.note("d", 2000.0, 1)
    rates.discard_unused(2000.0)
    assert list(rates._samples) == ["d"]
