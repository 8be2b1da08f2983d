"""Tests of counts in messages."""

import pytest

from distq.core.plurals import counted


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 dead letters"), (1, "1 dead letter"), (2, "2 dead letters"), (1000, "1,000 dead letters")],
)
def test_only_one_thing_has_a_noun_in_the_singular(count: int, text: str) -> None:
    """Zero and every count above one take the plural, and a large count has separators."""
    assert counted(count, "dead letter") == text
