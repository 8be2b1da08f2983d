"""Builds the site of this version into a folder, beside other versions: `python -m tools.site build/site`."""

import subprocess
import sys
from pathlib import Path

from tools.site.versions import write_versions

from distq import __version__

ROOT = Path(__file__).resolve().parents[2]


def build(site: Path) -> int:
    """Build the pages; returns the exit code of Sphinx, for which each warning is an error."""
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--nitpicky", "--quiet"]
    # The navigation of a page depends on other files, which an environment of an earlier build does not know.
    places = [
        "--fresh-env",
        "--conf-dir",
        "tools/site",
        "--doctree-dir",
        str(site / ".doctrees"),
        ".",
        str(site / __version__),
    ]
    done = subprocess.run([*command, "--jobs", "auto", *places], cwd=ROOT, check=False)
    if done.returncode == 0:
        write_versions(site)
    return done.returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).resolve()))
