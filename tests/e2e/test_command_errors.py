"""Tests of what a person at a shell reads when a command is wrong: the options' names, and what to give instead."""

import signal

import pytest
from tests.e2e.cluster import KEY, Cluster
from tests.waiting import eventually


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


@pytest.mark.parametrize(
    "words", ["purge --queue work", "cancel --queue work", "cancel --queue work --running", "dead purge --all"]
)
def test_a_question_without_an_answer_names_the_option_that_answers_it(grid: Cluster, words: str) -> None:
    """Standard input is empty, as in a job of CI; nothing is changed."""
    grid.master()
    grid.tasks(DISTQ_QUEUES="default")
    assert grid.run("submit", "tests.e2e.tasks:square", '"text"', "--wait", DISTQ_RETRIES="0").ends() == 1
    assert grid.run("submit", "m:f", "--queue", "work").ends() == 0
    code, text = error_of(grid, *words.split())
    command = " ".join(word for word in words.split() if word in ("dead", "purge", "cancel"))
    fact = "Standard input has no answer to the question: --yes answers yes."
    assert (code, text.splitlines()[-1]) == (2, f"distq: {fact} See `distq {command} --help`.")
    assert (grid.count_of("ready"), grid.count_of("dead")) == (1, 1)


def test_the_http_port_in_the_place_of_the_masters_is_named(grid: Cluster) -> None:
    """It may be the DISTQ_HTTP_ADDRESS of this environment, which concerns only a master."""
    grid.master(DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}").logs("http_listened")
    there = f"127.0.0.1:{grid.http_port}"
    sentence = f"distq: {there} is an HTTP port, such as a master has at DISTQ_HTTP_ADDRESS;"
    code, text = error_of(grid, "status", DISTQ_ADDRESS=there, DISTQ_HTTP_ADDRESS=there)
    assert (code, text[: len(sentence)]) == (3, sentence)
    code, text = error_of(grid, "submit", "m:f", DISTQ_ADDRESS=there, DISTQ_CONNECT_WAIT_S="1")
    assert code == 3
    assert sentence in text


@pytest.mark.parametrize("words", ["status", "list", "dead list", "schedule list"])
def test_a_watch_connects_again_to_a_restarted_master(grid: Cluster, words: str) -> None:
    """It says once that it does; Ctrl-C ends it."""
    master = grid.master()
    watch = grid.run(*words.split(), "--watch", "100ms", "--json")

    def lists(text: str) -> int:
        return sum(line.startswith(("{", "[")) for line in text.splitlines())

    eventually(lambda: lists(watch.text) > 1, "the first lists", lambda: watch.text)
    master.destroy()
    eventually(lambda: "Connecting again" in watch.text, "the command notices", lambda: watch.text)
    before = lists(watch.text)
    grid.master()
    eventually(lambda: lists(watch.text) > before + 1, "further lists", lambda: watch.text)
    watch.signal(signal.SIGINT)
    assert watch.ends() == 130
    assert watch.text.count("Connecting again until the master answers; Ctrl-C ends.") == 1


def test_a_watch_ends_when_the_restarted_master_has_another_key(grid: Cluster) -> None:
    """No further attempt can succeed."""
    master = grid.master()
    watch = grid.run("status", "--watch", "100ms", "--json")
    eventually(lambda: "{" in watch.text, "the first list", lambda: watch.text)
    master.destroy()
    grid.master(DISTQ_AUTHKEY=f"another {KEY}")
    assert watch.ends() == 3
    assert "Give both ends the same DISTQ_AUTHKEY." in watch.text
