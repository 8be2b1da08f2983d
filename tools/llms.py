"""Writes llms.txt, a list of the docs for language models (llmstxt.org): `python -m tools.llms`.

The list is the table of contents in docs/README.md.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = ROOT / "docs" / "README.md"
ROW = re.compile(r"^\| (?P<topic>.+?) \| (?P<links>.*\[.+) \|$")
LINK = re.compile(r"\[(?P<title>[^\]]+)\]\((?P<link>[^)]+)\)")
HEAD = """\
# distq

> A distributed task queue for Python: a durable master with one port, workers anywhere on the network, clients that
> are executors of the standard library, metrics, container images, Compose and a Helm chart. Programs that use
> `multiprocessing.managers` work unchanged.

Start with the README: it installs distq, runs a first task, and shows each part. `distq mcp` lets an agent read the
state of a cluster.

- [README](README.md): what distq is, and a first program
- [Contributing](CONTRIBUTING.md): how the source code is organised and tested
"""


def llms(contents: str) -> str:
    """Return the text of llms.txt for the table of contents of the docs."""
    return HEAD + "\n".join(_sections(contents)) + "\n"


def _sections(contents: str) -> Iterator[str]:
    for line in contents.splitlines():
        if line.startswith("## "):
            yield f"\n{line}\n"
        elif row := ROW.match(line):
            for found in LINK.finditer(row["links"]):
                link = os.path.normpath(Path("docs") / found["link"])
                yield f"- [{found['title']}]({link}): {row['topic']}"


def main() -> None:
    """Write the file in the root of the repository."""
    (ROOT / "llms.txt").write_text(llms(CONTENTS.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
