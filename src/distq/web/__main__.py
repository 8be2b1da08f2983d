"""`python -m distq.web`: writes the OpenAPI document of the HTTP API into the documentation."""

from pathlib import Path

from distq.web.openapi import page

FILE = "docs/reference/openapi.json"


def main() -> None:
    """Write the file in the current folder, which is the repository's."""
    Path(FILE).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
