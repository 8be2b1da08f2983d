"""The nearest name: the question at the end of a message about an unknown name."""

import pytest

from distq.core.nearest import NAMES_MAX, did_you_mean


@pytest.mark.parametrize(
    ("name", "end"), [("nightl", "; did you mean 'nightly'?"), ("zzz", "."), ("", "."), (None, "."), (5, ".")]
)
def test_the_nearest_name_is_asked_after(name: object, end: str) -> None:
    """A name that resembles none, and a value that is no name, end with a full stop."""
    assert did_you_mean(name, ["hourly", "nightly"]) == end


def test_the_nearest_name_of_very_many_is_not_searched() -> None:
    """The master would answer no other request meanwhile."""
    names = [f"name{number}" for number in range(NAMES_MAX)]
    assert did_you_mean("nam1", names) == "."
    assert did_you_mean("nam1", names[1:]) == "; did you mean 'name1'?"
