"""Policies of queues: rates as texts, rate windows that never allow too many leases, and stored policies."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from distq.core.policy import OPEN, BadPolicy, Policy, Rate, RateWindow, pack_policy, unpack_policy


@pytest.mark.parametrize(
    ("text", "tasks", "period_s"), [("100/m", 100, 60.0), ("5/30s", 5, 30.0), ("1/h", 1, 3600.0), ("9/2d", 9, 172800.0)]
)
def test_a_rate_is_read_and_written(text: str, tasks: int, period_s: float) -> None:
    """A rate is a number of tasks and a period, and its text is the same after reading."""
    assert Rate.parse(text) == (tasks, period_s)
    assert str(Rate.parse(text)) == text


def test_a_rate_of_another_spelling_is_the_same() -> None:
    """A rate is written with the largest unit that fits its period."""
    assert str(Rate.parse("10/60s")) == "10/m"


@pytest.mark.parametrize("text", ["", "100", "0/m", "1.5/s", "100/y", "-1/s", "5/0s", "100 / m", "1e3/s"])
def test_a_text_that_is_no_rate_is_refused_with_an_example(text: str) -> None:
    """The error says that the text is not a rate, and its hint has an example."""
    with pytest.raises(BadPolicy, match="not a rate") as raised:
        Rate.parse(text)
    assert "100/m" in raised.value.hint


@given(
    rate=st.builds(Rate, st.integers(1, 20), st.sampled_from([1.0, 60.0])),
    steps=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 8)), max_size=60),
    restarts=st.booleans(),
)
def test_no_period_sees_more_than_its_rate(rate: Rate, steps: list[tuple[float, int]], *, restarts: bool) -> None:
    """No period has more leases than the rate allows, for any requests, and also when the window is stored and read."""
    window, now, given_out = RateWindow(rate), 1000.0, []
    for pause_s, want in steps:
        now += pause_s
        if restarts:
            _, _, spent = unpack_policy(pack_policy("q", OPEN, window))
            window = RateWindow(rate)
            window.restore(spent, now)
        count = min(window.allowance(now), want)
        if count:
            window.spend(count, now)
        given_out += [now] * count
        assert sum(at > now - rate.period_s for at in given_out) <= rate.tasks
    opens_at = window.opens_at()
    if opens_at is not None:
        assert now < opens_at <= now + rate.period_s
        assert window.allowance(opens_at) > 0


@given(
    st.builds(
        Policy,
        st.booleans(),
        st.frozensets(st.text(st.characters(codec="utf-8"), min_size=1), max_size=3),
        st.none() | st.integers(1, 100),
        st.none() | st.builds(Rate, st.integers(1, 1000), st.sampled_from([1.0, 30.0, 3600.0])),
        st.none() | st.integers(1, 10**6),
    )
)
def test_a_policy_is_read_as_it_was_stored(policy: Policy) -> None:
    """Every field of a stored policy is the same after reading."""
    assert unpack_policy(pack_policy("q", policy, None)) == ("q", policy, [])


def test_an_operators_limits_override_the_settings() -> None:
    """Each limit of the operator's policy replaces the same limit of the settings; other limits stay."""
    base = Policy(running=5, rate=Rate(1, 1.0), capacity=10)
    assert Policy(running=7).overridden_by(base) == base._replace(running=7)
    assert Policy(paused=True).overridden_by(base) == base._replace(paused=True)


@pytest.mark.parametrize("options", [{"running": 0}, {"running": True}, {"capacity": "5"}, {"rate": 5}, {"rate": "5"}])
def test_a_limit_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    """A limit of a wrong type or size raises BadPolicy."""
    with pytest.raises(BadPolicy):
        OPEN.changed(options)


def test_a_hundred_names_can_be_paused_on_a_queue() -> None:
    """The 101st name is refused; to resume the whole queue resumes all names."""
    policy = OPEN
    for number in range(100):
        policy = policy.paused_as(paused=True, name=str(number))
    with pytest.raises(BadPolicy, match="100 names"):
        policy.paused_as(paused=True, name="one more")
    assert policy.paused_as(paused=False, name=None).paused_names == frozenset()
