"""Tests of what a person at a shell reads when a command is wrong: the options' names, and what to give instead."""

import pytest
from tests.e2e.cluster import Cluster


def error_of(grid: Cluster, *arguments: str, **settings: str) -> tuple[int, str]:
    """Run a command; return its exit code and its output."""
    command = grid.run(*arguments, **settings)
    return command.ends(), command.text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cron", "60 * * * *"], "--cron has the minute '60': it takes 0-59."),
        (["--cron", "@daily"], "--cron is '@daily', which is not supported: give '0 0 * * *'."),
        (["--cron", "0 0 30 2 *"], "--cron is '0 0 30 2 *', and there is no such date: it would never run."),
        (
            ["--cron", "0 0 * * *", "--timezone", "Europe/Romme"],
            (
                "--timezone is not valid: there is no time zone 'Europe/Romme' on the master's machine; did you mean "
                "'Europe/Rome'?"
            ),
        ),
    ],
)
def test_an_error_of_the_master_about_a_schedule_names_options(
    grid: Cluster, options: list[str], sentence: str
) -> None:
    """It ends with what is wrong, or with the question about the nearest name: no advice about other options."""
    grid.master()
    assert error_of(grid, "schedule", "add", "nightly", "m:f", *options) == (2, f"distq: {sentence}\n")
