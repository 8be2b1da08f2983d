"""Reads the text files that people write: `.env`, and the files that settings name (`*_FILE`)."""

import os
from pathlib import Path
from typing import Final

from distq.settings.errors import SettingsError

BYTES_MAX: Final = 1_000_000
"""Maximum bytes of such a file: a device or a log that was named by mistake is not read to its end."""
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
        with Path(path).open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(
            f"{what} cannot be read by user {os.getuid()}: {error.strerror}. Name a file that this user may read."
        ) from None
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
