"""`python -m distq.metrics` writes the metrics reference into the current folder."""

from pathlib import Path

from distq.metrics.docs import reference


def main() -> None:
    """Write the page below the current folder, which must be the root of the repository."""
    page = Path("docs/reference/metrics.md")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
