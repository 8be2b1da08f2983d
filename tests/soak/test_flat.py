"""Tests of `flat.py` with series that are known to be flat or not."""

import math
import random

import pytest
from tests.soak.flat import SAMPLES_MIN, growth_of

MIB = 1024.0


def series(dice: random.Random, *, per_minute: float, noise: float, minutes: int = 20) -> list[tuple[float, float]]:
    """Return one sample every two seconds."""
    return [(at, 60_000 + per_minute * at / 60 + dice.gauss(0, noise)) for at in range(0, minutes * 60, 2)]


@pytest.mark.parametrize("noise", [0.0, 50.0, 2 * MIB])
def test_a_level_series_is_flat_however_noisy(noise: float) -> None:
    """Chance alone fails at most one of these two hundred runs, even without an allowance."""
    dice = random.Random(1)
    risen = sum(growth_of(series(dice, per_minute=0.0, noise=noise)).exceeds(0.0) for _ in range(200))
    assert risen <= 1


@pytest.mark.parametrize("minutes", [2, 20])
def test_a_leak_is_found_through_noise(minutes: int) -> None:
    """A rise of 12 MiB is found although samples vary by 1 MiB; 8 MiB are allowed."""
    dice = random.Random(2)
    for _ in range(50):
        leaking = series(dice, per_minute=12 * MIB / minutes, noise=MIB, minutes=minutes)
        assert growth_of(leaking).exceeds(8 * MIB / 2)
        assert not growth_of(leaking).exceeds(14 * MIB)


def test_one_descriptor_a_minute_is_found() -> None:
    """A series of whole numbers, which rises by steps, is not flat."""
    leaking = [(float(at), 40.0 + at // 60) for at in range(0, 1200, 2)]
    assert growth_of(leaking).exceeds(4.0)
    assert growth_of(leaking).rise == pytest.approx(20, abs=1)


def test_waves_and_shrinking_are_flat() -> None:
    """A series that goes up and down, or falls, is flat."""
    waves = [(float(at), 100 + 20 * math.sin(at / 30)) for at in range(0, 1200, 2)]
    shrinking = [(float(at), 100 - at / 60) for at in range(0, 1200, 2)]
    assert not growth_of(waves).exceeds(2.0)
    assert not growth_of(shrinking).exceeds(0.0)


def test_too_few_samples_prove_nothing() -> None:
    """Too few samples are neither flat nor growing."""
    with pytest.raises(ValueError, match="at least"):
        growth_of([(float(at), 1.0) for at in range(SAMPLES_MIN - 1)])
    with pytest.raises(ValueError, match="one time"):
        growth_of([(1.0, 1.0)] * SAMPLES_MIN)
