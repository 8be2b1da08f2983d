"""Creates `.venv` and installs the packages of a lock file: `python3 tools/environment.py runtime|dev [FOLDER]`.

The program needs only a Python interpreter. It uses the first available installer: uv, the interpreter's `ensurepip`
(a separate package on Debian), another pip, pip's wheel from the package index that pip is configured for, or Debian's
wheel, which apt downloads without root rights and without installing it.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / (sys.argv[2] if __name__ == "__main__" and len(sys.argv) > 2 else ".venv")
PYTHON = VENV / "bin" / "python"
LOCKS = {"runtime": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}
OLDEST = (3, 11)
PIP_CONFIGURATIONS = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
NO_INSTALLER = """\
No installer for Python packages was found: on Debian or Ubuntu run `apt-get install python3-venv`, \
on other systems install uv or pip, then repeat the command."""


def works(*command: str | Path, cwd: Path | None = None) -> bool:
    """Run a command without output, and return whether it exited with 0."""
    try:
        done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def run(*command: str | Path) -> None:
    """Run a command in the project's folder; if it fails, this program exits with its exit code."""
    done = subprocess.run(command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.returncode)


def run_on_a_newer_python() -> None:
    """Start this program again on the newest interpreter of the PATH that is new enough."""
    for minor in range(OLDEST[1] + 8, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and works(found, "-c", "import venv"):
            os.execv(found, [found, *sys.argv])
    oldest = ".".join(map(str, OLDEST))
    raise SystemExit(
        f"distq needs Python {oldest} or newer and this is {sys.version.split()[0]}: "
        "name a newer one with `make PYTHON=/path/to/python3`."
    )


def pip_from(wheel: Path) -> bool:
    """Install pip into the environment from its wheel, which can run without being installed."""
    return works(PYTHON, f"{wheel}/pip", "install", "--no-index", wheel)


def pip_from_ensurepip() -> bool:
    """Install the pip that the interpreter contains."""
    return works(PYTHON, "-m", "ensurepip")


def pip_from_another_pip() -> bool:
    """Install pip into the environment with the pip of the running interpreter."""
    return works(sys.executable, "-m", "pip", "--python", PYTHON, "install", "pip")


def configured_index() -> str | None:
    """Return the package index in pip's environment variable or files; None if pip uses its default."""
    files = configparser.ConfigParser(interpolation=None)
    named = os.environ.get("PIP_CONFIG_FILE")
    files.read([Path(name).expanduser() for name in (*PIP_CONFIGURATIONS, *([named] if named else []))])
    return os.environ.get("PIP_INDEX_URL") or files.get("global", "index-url", fallback=None)


def newest_wheel(index: str, page: str) -> tuple[str, str] | None:
    """Return the address and SHA-256 of the newest release of pip that an index's page lists with a hash."""
    links = re.findall(r'href="([^"#]*/)?(pip-([\d.]+)-py3-none-any\.whl)#sha256=(\w{64})"', page)
    if not links:
        return None
    folder, name, _, digest = max(links, key=lambda link: [int(part) for part in link[2].split(".")])
    return urllib.parse.urljoin(index, folder + name), digest


def pip_from_the_index() -> bool:
    """Download pip's wheel from the configured package index and check its hash."""
    index = configured_index()
    if not index:
        return False
    index = f"{index.rstrip('/')}/pip/"
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    try:
        with urllib.request.urlopen(index, timeout=60, context=context) as answer:
            found = newest_wheel(answer.url, answer.read().decode())
        if found is None:
            return False
        with urllib.request.urlopen(found[0], timeout=60, context=context) as answer:
            body = answer.read()
    except (OSError, ValueError):
        return False
    if hashlib.sha256(body).hexdigest() != found[1]:
        return False
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder, Path(found[0]).name)
        wheel.write_bytes(body)
        return pip_from(wheel)


def pip_from_debian() -> bool:
    """Unpack Debian's wheel of pip into a temporary folder; apt downloads it with separate package lists."""
    if installed := sorted(Path("/usr/share/python-wheels").glob("pip-*.whl")):
        return pip_from(installed[-1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lists" / "partial").mkdir(parents=True)
        places = {"Dir::State::Lists": folder / "lists", "Dir::Cache": folder / "cache"}
        options = [f"-o{name}={value}" for name, value in {**places, "APT::Sandbox::User": "root"}.items()]
        apt = ("apt-get", "-qq", *options)
        if not works(*apt, "update") or not works(*apt, "download", "python3-pip-whl", cwd=folder):
            return False
        unpacked = all(works("dpkg-deb", "-x", package, folder) for package in folder.glob("*.deb"))
        wheels = sorted(folder.glob("usr/share/python-wheels/pip-*.whl"))
        return unpacked and bool(wheels) and pip_from(wheels[-1])


WAYS = (pip_from_ensurepip, pip_from_another_pip, pip_from_the_index, pip_from_debian)


def installer() -> tuple[str | Path, ...]:
    """Return the command that installs packages into the environment; exit with a sentence if there is none."""
    uv = shutil.which("uv")
    if uv and works(uv, "--version"):
        if index := configured_index():
            os.environ.setdefault("UV_DEFAULT_INDEX", index)
        return (uv, "pip", "install", "--quiet", "--python", PYTHON)
    if not works(PYTHON, "-m", "pip", "--version") and not any(way() for way in WAYS):
        raise SystemExit(NO_INSTALLER)
    return (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")


def main() -> None:
    """Install the packages of the lock file, and the project itself in editable form."""
    if sys.version_info[:2] < OLDEST:
        run_on_a_newer_python()
    lock = LOCKS[sys.argv[1]]
    if not works(PYTHON, "-c", "import sys; sys.exit(sys.prefix == sys.base_prefix)"):
        run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)
    install = installer()
    print(f"Installing {lock.name} into {VENV.relative_to(ROOT)} with {Path(install[0]).name} ...", file=sys.stderr)
    run(*install, "--require-hashes", "-r", lock)
    run(*install, "--no-deps", "--editable", ".")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # the next `make` starts again
        sys.exit(130)
