"""Tests of the output of executors: any text in any pieces becomes the lines that a terminal would show."""

import io
import json
import logging
import math
import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distq.worker.executor.capture import ToSupervisor, stream_of
from distq.worker.shared.output_messages import (
    TEXT_CHARS_MAX,
    LineSplitter,
    Logged,
    Message,
    MessageReader,
    MessageWriter,
    Printed,
)

texts = st.text(st.sampled_from("ab \r\n\u00e9"), max_size=60)


def cut(text: str, at: list[int]) -> list[str]:
    """Return a text in pieces."""
    ends = sorted({min(one, len(text)) for one in at} | {0, len(text)})
    return [text[begin:end] for begin, end in pairwise(ends)]


def lines_of(pieces: list[str]) -> list[str]:
    """Return the lines of these pieces, including the unfinished one."""
    lines = LineSplitter()
    found = [line for piece in pieces for line in lines.feed(piece)]
    return [*found, *filter(None, [lines.end()])]


@given(texts, st.lists(st.integers(0, 60)))
def test_the_cuts_between_pieces_do_not_change_the_lines(text: str, at: list[int]) -> None:
    """A cut may be between a carriage return and its line feed."""
    expected = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    assert lines_of(cut(text, at)) == [line for line in expected if line.strip()]


def test_a_line_without_an_end_is_cut_and_says_so() -> None:
    """A gigabyte without a line feed takes no gigabyte of memory."""
    lines = LineSplitter()
    for _ in range(100):
        assert not list(lines.feed("x" * 1_000))
    (line,) = lines.feed("\nnext")
    assert line == "x" * TEXT_CHARS_MAX + "… (84,000 more characters)"
    assert lines.end() == "next"


@pytest.fixture
def pipe() -> Iterator[tuple[int, MessageWriter]]:
    """Yield a pipe's read end, and a speaker at its other end."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    yield read_fd, MessageWriter(write_fd)
    os.close(read_fd)
    os.close(write_fd)


@given(st.lists(st.integers(0, 30_000)))
def test_messages_arrive_however_their_bytes_are_read(at: list[int]) -> None:
    """The messages are small and large, with characters that no encoding has."""
    sent: list[Message] = [
        Printed("1-5", "stdout", "\ud800 half"),
        Logged("", 35, "SUCCESS", "lib", "m" * 9_000, "", {"n": 1, "o": object()}),
        Printed("", "stderr", "\u00e9" * 3_000),
    ]
    read_fd, write_fd = os.pipe()
    speaker = MessageWriter(write_fd)
    for message in sent:
        speaker.write(message)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as file:
        data = file.read()
    reader, found = MessageReader(), []
    ends = sorted({min(one, len(data)) for one in at} | {0, len(data)})
    for begin, end in pairwise(ends):
        found += list(reader.feed(data[begin:end]))
    assert found == [json_form(message) for message in sent]


def json_form(message: Message) -> Message:
    """Return a message as it arrives: a value that JSON cannot express becomes its repr."""
    kind, *fields = json.loads(json.dumps((type(message).__name__, *message), default=repr))
    return Printed(*fields) if kind == "Printed" else Logged(*fields)


def test_other_data_in_the_pipe_is_ignored(pipe: tuple[int, MessageWriter]) -> None:
    """A task can find the pipe and write to it: the supervisor continues."""
    read_fd, speaker = pipe
    reader = MessageReader()
    assert not list(reader.feed(b"\x00\x03\x01" + b"\0" * 8 + b"{]["))
    assert not list(reader.feed(b"\x00\x0c\x01" + b"\0" * 8 + b'["Nothing",1]'[:12]))
    for number in range(10_000):  # messages without an end take a limited amount of memory
        list(reader.feed(b"\x00\x01\x00" + number.to_bytes(8, "big") + b"x"))
    speaker.write(Printed("1-5", "stdout", "here"))
    assert list(reader.feed(os.read(read_fd, 100_000))) == [Printed("1-5", "stdout", "here")]
    assert len(reader._unfinished) <= 65


def received(read_fd: int) -> list[Message]:
    """Return the messages that have arrived through the pipe."""
    return list(MessageReader().feed(os.read(read_fd, 1 << 16)))


def test_numbers_that_json_does_not_have_are_texts_in_a_record(pipe: tuple[int, MessageWriter]) -> None:
    """The record arrives with any value that a library has put there."""
    read_fd, speaker = pipe
    odd = {"loss": math.nan, "best": -math.inf, "big": 10**5_000, "n": 7, "f": 0.5}
    record = logging.makeLogRecord({"msg": "m", "levelno": logging.INFO, **odd})
    ToSupervisor(speaker, lambda: "1-2").emit(record)
    (message,) = received(read_fd)
    assert isinstance(message, Logged)
    assert message.extra == {
        "loss": "nan",
        "best": "-inf",
        "big": "a whole number of about 5,001 digits",
        "n": 7,
        "f": 0.5,
    }


def test_a_task_that_changes_its_standard_output_does_not_affect_the_next(pipe: tuple[int, MessageWriter]) -> None:
    """A task closes, detaches, wraps or reconfigures its stream: the next task prints as before."""
    read_fd, speaker = pipe
    stream = stream_of(speaker, "stdout", 1, lambda: "1-2")
    with stream:
        stream.write("a")
    stream.close()
    io.TextIOWrapper(stream.buffer, encoding="utf-8").close()
    io.TextIOWrapper(stream.detach(), encoding="utf-8").close()
    stream.buffer.close()
    stream.reconfigure(encoding="ascii", errors="strict", newline="\r\n", write_through=False)
    stream.write("\u20ac\ud800\n")
    assert not stream.closed
    assert [message.text for message in received(read_fd) if isinstance(message, Printed)] == ["a", "\u20ac\\ud800\n"]
