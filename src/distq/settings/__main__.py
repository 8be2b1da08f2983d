"""`python -m distq.settings` writes `.env.example`, the settings reference and the chart's list of settings."""

from pathlib import Path

from distq.settings.docs import chart_names, env_example, reference


def main() -> None:
    """Write the files below the current folder, which must be the root of the repository."""
    Path(".env.example").write_text(env_example(), encoding="utf-8")
    Path("helm/files/settings.txt").write_text(chart_names(), encoding="utf-8")
    page = Path("docs/reference/settings.md")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
