"""Reads the text files that people write: `.env`, and the files that settings name (`*_FILE`)."""

import os
import select
import stat
from pathlib import Path
from typing import Final

from distq.settings.errors import SettingsError

BYTES_MAX: Final = 1_000_000
"""Maximum bytes of such a file: a device or a log that was named by mistake is not read to its end."""
PIPE_S: Final = 5.0
"""Maximum seconds that the reading of a pipe waits for more, as of `<(command)` in a shell."""
_OF_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


def read_text_file(path: str | Path, what: str) -> str:
    """Return the text of a file with line feeds as its only line ends, without a byte order mark of UTF-8.

    Args:
        path: path of the file.
        what: the file's name in errors, as in "The settings file .env".

    Raises:
        SettingsError: the file cannot be read, or is not text in UTF-8.
    """
    try:
        data = _read(path)
    except TimeoutError:
        raise SettingsError(
            f"{what} is a pipe, and nothing was written to it within {PIPE_S:g} s. Name a file that contains text."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{what} cannot be read by user {os.getuid()}: {error.strerror}. Name a file that this user may read."
        ) from None
    return decode_text(data, what)


def decode_text(data: bytes, what: str) -> str:
    """The text of the bytes of a file; raises as `read_text_file`."""
    if len(data) > BYTES_MAX:
        raise SettingsError(f"{what} has more than {BYTES_MAX:,} bytes. Name a file that contains only settings.")
    if data.startswith(_OF_UTF_16):
        raise SettingsError(f"{what} is UTF-16 text. Save it as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{what} is not UTF-8 text: see its line {line}. Save it as UTF-8.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise SettingsError(f"{what} has a NUL character in its line {line}. Save it as plain text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read(path: str | Path) -> bytes:
    """At most BYTES_MAX + 1 bytes of a file; raises OSError, and TimeoutError for a pipe that nothing is written to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(BYTES_MAX + 1) or b""
        poll, data = select.poll(), b""
        poll.register(descriptor, select.POLLIN)
        while len(data) <= BYTES_MAX:
            if not poll.poll(PIPE_S * 1000):
                raise TimeoutError
            part = os.read(descriptor, BYTES_MAX)
            if not part:
                break
            data += part
    finally:
        os.close(descriptor)
    return data
