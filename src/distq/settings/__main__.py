"""`python -m distq.settings` writes `.env.example` and the settings reference into the current folder."""

from pathlib import Path

from distq.settings.docs import env_example, reference


def main() -> None:
    """Write both files; run it at the root of the repository."""
    Path(".env.example").write_text(env_example(), encoding="utf-8")
    page = Path("docs/reference/settings.md")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
