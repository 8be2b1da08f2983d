"""`python -m distq.cli.doctor.page` writes the page of all checks, and the checklist in the page about security."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from distq.cli.doctor.model import Check
from distq.cli.doctor.table import CHECKS, TITLES

PAGE: Final = Path("docs/how-to/harden-a-cluster.md")
SECURITY: Final = Path("docs/explanation/security.md")
BEGIN: Final = "<!-- Written by `python -m distq.cli.doctor.page` from src/distq/cli/doctor. -->\n"
END: Final = "<!-- End of the written part. -->\n"

LINE_CHARS_MAX: Final = 118
_BARE: Final = re.compile(
    r"(?<![`\w])(?:DISTQ_[A-Z_]+(?:=[^\s;`]*[^\s;.,`])?|distq_[a-z_]+|[A-Z]+_FOLDER)\b(?![^`]*`[^`]*$)"
)
"""A setting or a metric that is not written as code yet."""

INTRODUCTION: Final = f"""\
# Harden a cluster

{BEGIN}
`distq doctor` compares a running cluster with the [checklist](../explanation/security.md#harden-a-cluster). It
connects with the settings of every command, the address and a key, and prints a line for each check. It changes
nothing, and prints no key.

```text
distq doctor
distq doctor --strict --json
distq doctor --compose
distq doctor --no-connect --kubernetes default/distq
```

`--compose` checks a Compose project as well, and `--kubernetes` the objects of a release of the chart. `--no-connect`
leaves out the master.

| state | means | exit code |
|---|---|---|
| ok | what was found is right, or the check does not apply | 0 |
| warning | better for most clusters; read the reason | 0, with `--strict` 1 |
| problem | change it | 1 |
| unknown | the facts cannot be had: an earlier version, a key that may not ask, no worker | 0 |

If nothing could be checked, the exit code is 2 (the settings are wrong) or 3 (the master cannot be reached or refuses
the key).

A key with the role `read` is enough. Add it to the file of [keys and roles](keys.md), and give it to the machine that
runs the doctor, for example once a day:

```text
doctor read KEY
```
"""


def page() -> str:
    """Return the text of the page of all checks, in Markdown."""
    lines = [INTRODUCTION.rstrip("\n")]
    for area, checks in CHECKS.items():
        lines += ["", f"## {TITLES[area]}"]
        for check in checks:
            lines += ["", f"### {check.name}", "", *_wrapped(f"{check.advice} {check.why}")]
            lines += ["", *_wrapped(f"To change it: {check.change}")]
    return "\n".join(lines) + "\n"


def checklist() -> str:
    """Return the checklist of the page about security, in Markdown."""
    lines = []
    for area, checks in CHECKS.items():
        lines += ["", f"{TITLES[area]}:", "", *(_item(check) for check in checks)]
    return "\n".join(lines) + "\n"


def with_checklist(text: str) -> str:
    """Return the page about security with the present checklist between its two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + checklist() + "\n" + end + after


def _item(check: Check) -> str:
    return "\n  ".join(_wrapped(f"- {check.advice} (`{check.name}`)"))


def _wrapped(text: str) -> Iterator[str]:
    """Yield a text, with its settings and metrics as code, in lines of at most LINE_CHARS_MAX characters."""
    line = ""
    for word in _BARE.sub(r"`\g<0>`", text).split():
        if line and len(line) + 1 + len(word) > LINE_CHARS_MAX:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


def main() -> None:
    """Write both pages below the current folder, which must be the root of the repository."""
    PAGE.write_text(page(), encoding="utf-8")
    SECURITY.write_text(with_checklist(SECURITY.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
