"""What the keys of `distq top` do."""

import pytest
from tests.cli.top.scenes import page, shown

from distq.cli.top.feed import Answer, Lost, Refused
from distq.cli.top.state import VIEWS, State


def press(state: State, *keys: str) -> State:
    """Press keys, one after another."""
    for key in keys:
        state.press(key)
    return state


def test_the_number_keys_and_tab_change_the_view() -> None:
    """The first page of the other view is asked for."""
    state = shown()
    for key, view in zip("1234", VIEWS, strict=True):
        assert press(state, key).query["view"] == view
    assert press(state, "tab").query["view"] == VIEWS[0]


def test_the_key_s_goes_through_the_sort_orders() -> None:
    """The last one is followed by the first."""
    state = shown("workers")
    assert [press(state, "s").query["sort"] for _ in range(4)] == ["busy", "memory", "seen", "name"]


def test_a_filter_is_typed_applied_and_cleared() -> None:
    """Keys of commands are its characters, backspace takes one back, and Escape keeps the old one."""
    state = press(shown(), "/", "q", "c", "x", "backspace", "enter")
    assert state.query["filter"] == "qc"
    assert not state.ended
    assert press(state, "/", "z", "escape").query["filter"] == "qc"
    assert press(state, "escape").query["filter"] == ""


def test_a_move_beyond_the_last_row_turns_the_page() -> None:
    """The master is asked for the rows that the screen shows, and for no others."""
    state = shown()
    state.resize(24)
    state.receive(page(state, matched=10_000))
    assert state.rows == state.query["limit"] == 17
    press(state, *["down"] * 17)
    assert (state.query["offset"], state.selected) == (17, 0)
    press(state, "up")
    assert (state.query["offset"], state.selected) == (0, 16)
    press(state, "end")
    assert state.query["offset"] + state.selected == 9_999
    press(state, "page down", "home")
    assert (state.query["offset"], state.selected) == (0, 0)


def test_a_page_of_an_earlier_query_is_not_shown() -> None:
    """It has other rows than the view that the screen names."""
    state = shown()
    late = page(state)
    press(state, "2")
    state.receive(late)
    assert state.page is None


@pytest.mark.parametrize("view", ["queues", "workers"])
def test_the_enter_key_on_a_queue_or_worker_shows_its_running_tasks(view: str) -> None:
    """Its name is the filter."""
    state = press(shown(view), "enter")
    assert (state.view, state.query["filter"]) == ("running", {"queues": "mail", "workers": "w1"}[view])


def test_a_task_is_opened_and_left() -> None:
    """Enter asks for all about it, t for its stack, and Escape returns to the table."""
    state = press(shown("running"), "enter")
    assert state.actions == [("show", {"id": "1-2a"})]
    state.receive(Refused("the master does not know task 1-2a (any more)."))
    assert state.detail is not None
    assert state.detail.lines == ["the master does not know task 1-2a (any more)."]
    press(state, "t")
    assert state.actions[-1] == ("stack", {"id": "1-2a"})
    state.receive(Answer("stack", {"stack": "line 1\nline \x1b2"}))
    assert state.detail.lines == ["line 1", "line �2"]
    assert press(state, "escape").detail is None


@pytest.mark.parametrize(
    ("view", "key", "action"),
    [
        ("running", "c", ("cancel", {"ids": ["1-2a"], "running": True})),
        ("failures", "r", ("dead_retry", {"ids": ["1-2a"]})),
    ],
)
def test_an_action_is_confirmed_first(view: str, key: str, action: tuple[str, object]) -> None:
    """Only y does it; the question names the task, and a page that arrives meanwhile does not change which."""
    state = press(shown(view), key)
    assert state.question is not None
    assert "1-2a" in state.question.text
    assert press(state, "n").actions == []
    press(state, key)
    other = page(state)
    other.answer["rows"][0]["id"] = "9-9"
    state.receive(other)
    assert press(state, "y").actions == [action]


def test_an_action_without_a_task_says_where_tasks_are() -> None:
    """A queue cannot be cancelled by a key."""
    state = press(shown(), "c")
    assert state.question is None
    assert state.message.startswith("Choose a task first")


def test_answers_of_actions_are_shown() -> None:
    """The master's figures become a sentence."""
    state = shown("failures")
    for answer, message in (
        (Answer("cancel", {"done": 1, "running": [], "over": 0}), "1 cancelled."),
        (Answer("cancel", {"done": 0, "running": [], "over": 1}), "The task has ended already."),
        (Answer("dead_retry", {"done": 1, "unknown": []}), "1 will be retried."),
        (Answer("dead_retry", {"done": 0, "unknown": ["1-2a"]}), "The task is no dead letter any more."),
        (Answer("dead_retry", {"done": 0, "unknown": [], "taken": [("1-2a", "3-4")]}), "Task 3-4 has its unique key."),
        (Refused("no"), "no"),
    ):
        state.receive(answer)
        assert state.message == message


def test_a_lost_master_is_shown_until_its_next_page() -> None:
    """The last figures stay on the screen."""
    state = shown()
    state.receive(Lost("The master does not answer."))
    assert state.lost
    assert state.page is not None
    state.receive(page(state))
    assert not state.lost


def test_the_key_q_ends_the_screen_and_other_keys_do_nothing() -> None:
    """Any key leaves the list of keys."""
    state = press(shown(), "?", "q", "x", "§")
    assert not state.ended
    assert press(state, "q").ended
