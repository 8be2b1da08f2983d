"""Tests of the descriptor limit: too few are an error in a sentence, otherwise the process raises its limit."""

import resource

import pytest

from distq.net import descriptors
from distq.net.descriptors import TooFewDescriptors, make_room_for, room_for_connections


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and hard limit of this process, which a test sets."""
    now = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: now.__setitem__(slice(None), list(new)))
    return now


@pytest.mark.parametrize(("soft", "hard", "room"), [(1024, 4096, 4032), (80, 80, 16), (64, 1000, 936)])
def test_a_master_raises_its_limit_to_the_hard_one(limits: list[int], soft: int, hard: int, room: int) -> None:
    """The master uses all descriptors but its reserve for connections."""
    limits[:] = soft, hard
    assert room_for_connections() == room
    assert limits == [hard, hard]


def test_a_machine_without_a_limit_has_room_enough(limits: list[int]) -> None:
    """The master requests a number even where the system sets no limit."""
    limits[:] = 1024, resource.RLIM_INFINITY
    assert room_for_connections() == descriptors.UNLIMITED_TARGET - descriptors.OWN_DESCRIPTORS


@pytest.mark.parametrize("hard", [0, 64, 79])
def test_a_master_without_room_for_connections_does_not_start(limits: list[int], hard: int) -> None:
    """The error names the limit, the need, and where to set the limit."""
    limits[:] = hard, hard
    with pytest.raises(TooFewDescriptors, match=rf"may open {hard} .* at least 80") as caught:
        room_for_connections()
    assert "ulimit -n" in caught.value.hint


def test_a_worker_raises_its_limit_only_to_what_its_executors_need(limits: list[int]) -> None:
    """The executors inherit the limit; a hard limit that is too low is an error."""
    make_room_for(10)
    assert limits == [1024, 4096]
    make_room_for(200)
    assert limits == [32 + 200 * 8, 4096]
    with pytest.raises(TooFewDescriptors, match=r"may open 4,096 .* with 1,000 executors needs 8,032"):
        make_room_for(1000)
