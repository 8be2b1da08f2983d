"""Reads `.env`: a line is a variable, a comment or blank; any other line is an error that names it."""

import io
import re
from pathlib import Path
from typing import Final, NamedTuple

from distq.settings.errors import SettingsError
from distq.settings.text_file import read_text_file

_AROUND: Final = re.compile(r"^\W+|\W+$")
_TYPOGRAPHIC: Final = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
"""Typographic quotes, which word processors write instead of straight ones."""
_LINE_CHARS_MAX: Final = 40
"""Maximum characters of a name in an error."""


class Dotenv(NamedTuple):
    """The variables of a `.env` file, and warnings as sentences."""

    variables: dict[str, str]
    warnings: list[str]


def read_dotenv(path: str | Path, prefix: str) -> Dotenv:
    """Read a `.env` file; `$` has no meaning in values.

    Args:
        path: path of the file.
        prefix: beginning of the names of settings; other names without a value are no error.

    Raises:
        SettingsError: the file or a line of it cannot be read; no line is left out silently.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415 - costs 10 ms, and most environments have no such file

    text = read_text_file(path, f"The settings file {path}")
    variables: dict[str, str] = {}
    lines: dict[str, int] = {}
    warnings: list[str] = []
    for found in parse_stream(io.StringIO(text)):
        line = found.original.line
        if found.error:
            raise _unreadable(path, line, found.original.string)
        name, value = found.key, found.value
        if name is None:
            continue
        bare = _AROUND.sub("", name)
        if bare.upper().startswith(prefix) and not name.upper().startswith(prefix):
            raise SettingsError(
                f"Line {line} of {path} has characters before {bare[:_LINE_CHARS_MAX]} that belong to no name, and may "
                f"not be visible: {ascii(name.partition(bare)[0])[:_LINE_CHARS_MAX]}. Delete them."
            )
        if value is None:
            if name.upper().startswith(prefix):
                raise _unreadable(path, line, found.original.string)
            continue
        if any(one.strip().startswith((prefix, f"export {prefix}")) for one in value.split("\n")[1:]):
            raise SettingsError(
                f"Line {line} of {path} opens a quote that a later line closes, with a setting in between. "
                "Close the quote in its own line."
            )
        if name.startswith(prefix) and variables.get(name, value) != value:
            warnings.append(f"{name} is set twice in {path}, in lines {lines[name]} and {line}; the last one is used.")
        if name.startswith(prefix) and value[:1] in _TYPOGRAPHIC and value:
            warnings.append(
                f"The value of {name} in line {line} of {path} begins with {value[0]}, which belongs to the value. "
                """Quotes that do not belong to it are ' and "."""
            )
        variables[name], lines[name] = value, line
    return Dotenv(variables, warnings)


def _unreadable(path: str | Path, line: int, text: str) -> SettingsError:
    """Return an error about a line that shows only its name: the value may be a key."""
    name = re.match(r"\s*((?:export\s+)?[\w.-]+)\s*[=:]", text)
    shown = name[1][:_LINE_CHARS_MAX] if name else ""
    begins = f", which begins with {shown!r}," if shown else ""
    return SettingsError(
        f"Line {line} of {path}{begins} cannot be read. It takes NAME=value, with quotes in pairs if there are any; "
        "a comment begins with #."
    )
