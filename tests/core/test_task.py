"""Task ids: the text of a task's key."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from distq.core.task_ids import id_text, task_key_of


@given(epoch=st.integers(1, 2**23 - 1), number=st.integers(0, 2**40 - 1))
def test_a_key_is_the_key_of_its_text(epoch: int, number: int) -> None:
    """The id that people see gives the key of the task."""
    key = epoch << 40 | number
    assert task_key_of(id_text(key)) == key


def test_the_text_is_epoch_and_number() -> None:
    """The id is the epoch and the number in hexadecimal."""
    assert id_text(3 << 40 | 255) == "3-ff"


@pytest.mark.parametrize(
    "text", ["", "-", "1", "1-", "-1", "x-1", "1-x", "1--5", "1-F", " 1-1", "1-1 ", "0x1-1", "1-01", "1_0-1", "1-1-1"]
)
def test_a_text_that_is_no_task_id_is_refused(text: str) -> None:
    """A task has exactly one id; a text in another form is not an id."""
    with pytest.raises(ValueError, match="a task id is two hexadecimal numbers, as in 1a-2f, not '"):
        task_key_of(text)


def test_a_number_that_would_spill_into_the_epoch_is_refused() -> None:
    """`1-10000000000` is not another spelling of `2-0`."""
    with pytest.raises(ValueError, match="a task id is two hexadecimal numbers, as in 1a-2f, not "):
        task_key_of("1-10000000000")


@pytest.mark.parametrize("text", ["zz", "\ud800", 5, None, "1" * 10_000, "\u0661-1"])
def test_a_value_that_is_no_task_id_is_refused_with_a_short_error(text: str) -> None:
    """Any other value, also one that is no text, raises a short error."""
    with pytest.raises(ValueError, match="a task id is two hexadecimal numbers") as refused:
        task_key_of(text)
    assert len(str(refused.value)) < 150
