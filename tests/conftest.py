"""Settings for every test: a clean environment, skips with reasons, interpreters, Hypothesis profiles."""

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

STRICT = pytest.StashKey[bool]()
OLDEST_PLAIN = (3, 8)
ROOT = Path(__file__).resolve().parent.parent
"""The project's folder, as in tests/tidy/tree.py: pytest reads this file before it can import another of tests/."""
UNPACKED = ROOT / ".venv" / "pythons"
"""The folder where `make pythons` and `make test-on` unpack the Pythons that this machine lacks."""

hypothesis.settings.register_profile("dev", deadline=None, max_examples=50, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=200, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make interpreters` uses."""
    parser.addoption(
        "--interpreters",
        action="store_true",
        help="run only the tests with an `interpreter` argument, once on every Python found",
    )
    parser.addoption("--free-threaded", metavar="PYTHON", help="a Python without a GIL that has distq, for its tests")


def pytest_configure(config: pytest.Config) -> None:
    """Remove distq's settings from the environment, so that no test depends on a developer's shell.

    Restore SIGINT, too: a shell script ignores it for background processes, and tests send it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    workerinput: dict[str, bool] = getattr(config, "workerinput", {})
    config.stash[STRICT] = workerinput.get("strict", os.environ.get("DISTQ_CI") == "1")
    for name in [name for name in os.environ if name.startswith("DISTQ_")]:
        del os.environ[name]
    if not config.getoption("--hypothesis-profile", default=None):
        hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: "NodeOfXdist") -> None:
    """Send a parallel test process whether DISTQ_CI=1 was set before the environment was cleaned."""
    node.workerinput["strict"] = node.config.stash[STRICT]


class NodeOfXdist:
    """The part of xdist's worker controller that this file uses; xdist has no types."""

    config: pytest.Config
    workerinput: dict[str, object]


def answers(*command: str) -> bool:
    """Return whether a command exists and exits with 0 within a minute: an engine that removes layers answers late."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def missing_curl() -> str | None:
    """Return why tests with curl cannot run here, or None if they can."""
    return None if shutil.which("curl") else "curl is not installed: `apt-get install curl`"


@functools.cache
def missing_docker() -> str | None:
    """Return why tests of docker's command line cannot run here, or None if they can; they need no engine."""
    return None if answers("docker", "compose", "version") else "docker's command line with Compose is not installed"


@functools.cache
def missing_engine() -> str | None:
    """Return why tests with containers cannot run here, or None if they can."""
    return None if answers("docker", "info") else "no Docker engine answers `docker info`"


@functools.cache
def missing_kubectl() -> str | None:
    """Return why tests of kubectl's command line cannot run here, or None if they can; they need no cluster."""
    return None if answers("kubectl", "version", "--client") else "kubectl is not installed"


@functools.cache
def missing_cluster() -> str | None:
    """Return why tests with a cluster cannot run here, or None if they can."""
    return None if answers("kubectl", "get", "--raw=/readyz") else "no Kubernetes cluster answers `kubectl`"


@functools.cache
def missing_grafana() -> str | None:
    """Return why Grafana's libraries are missing, or None if they are installed."""
    there = Path(sys.executable).parents[1] / "grafana" / "node_modules" / "data-13"
    return None if there.exists() else "Grafana's libraries are not there: `make grafana` brings them"


def missing_keda() -> str | None:
    """Return why KEDA's programs are missing, or None if they are installed."""
    home = Path(os.environ.get("KEDA_HOME", Path(sys.executable).parents[1] / "keda"))
    return None if (home / "bin" / "keda-operator").exists() else "KEDA is not there: `make keda` builds it, for long"


def missing_helm4() -> str | None:
    """Return why tests with Helm 4 cannot run here, or None if they can."""
    return None if Path(sys.executable).with_name("helm4").exists() else "Helm 4 is not there: `make helm4` brings it"


@functools.cache
def missing_postgresql() -> str | None:
    """Return why tests with a PostgreSQL server cannot run here, or None if they can."""
    found = shutil.which("initdb") or sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return None if found else "no PostgreSQL server is installed: on Debian `apt-get install postgresql` brings it"


@functools.cache
def missing_chromium() -> str | None:
    """Return why tests in a browser cannot run here, or None if they can."""
    found = shutil.which("chromium")
    return None if found else "no Chromium is installed: on Debian `apt-get install chromium` brings it"


def nginx() -> str:
    """Return the path of the nginx that `make nginx` unpacks."""
    return str(Path(sys.executable).parents[1] / "nginx" / "usr" / "sbin" / "nginx")


@functools.cache
def missing_nginx() -> str | None:
    """Return why tests with nginx cannot run here, or None if they can."""
    return None if answers(nginx(), "-v") else "nginx is not there: `make nginx` brings it"


@functools.cache
def missing_promtool() -> str | None:
    """Return why tests with promtool cannot run here, or None if they can."""
    return None if shutil.which("promtool") else "promtool is not on the PATH"


@functools.cache
def missing_root() -> str | None:
    """Return why tests that mount a small volume cannot run here, or None if they can."""
    return "mounting a small volume needs root" if os.geteuid() else None


@functools.cache
def missing_ptrace() -> str | None:
    """Return why tests that trace system calls cannot run here, or None if they can."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as traced:
        command = [sys.executable, "-m", "tests.storage.tracer", str(traced.pid)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tracer:
            assert tracer.stdout is not None
            reported = tracer.stdout.readline().strip()
            tracer.kill()
        traced.kill()
    return None if reported == "tracing" else f"system calls cannot be traced: {reported}"


@functools.cache
def missing_pythons() -> str | None:
    """Return why CPython 3.13 and 3.15 could not be unpacked here, or None if they are installed."""
    for minor in ("13", "15"):
        command: list[str | Path] = [ROOT / "tools" / "python.sh", minor, UNPACKED / f"3.{minor}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"CPython 3.{minor} could not be unpacked: {done.stderr.strip()}"
    return None


NEEDS: dict[str, Callable[[], str | None]] = {
    "chromium": missing_chromium,
    "curl": missing_curl,
    "docker": missing_docker,
    "engine": missing_engine,
    "cluster": missing_cluster,
    "grafana": missing_grafana,
    "helm4": missing_helm4,
    "keda": missing_keda,
    "kubectl": missing_kubectl,
    "nginx": missing_nginx,
    "postgresql": missing_postgresql,
    "promtool": missing_promtool,
    "ptrace": missing_ptrace,
    "pythons": missing_pythons,
    "root": missing_root,
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose engine, cluster or tool is missing; with DISTQ_CI=1, fail it."""
    for marker, missing in NEEDS.items():
        reason = missing() if item.get_closest_marker(marker) else None
        if reason and item.config.stash[STRICT]:
            pytest.fail(f"{reason}, and DISTQ_CI=1 says that it must be there", pytrace=False)
        if reason:
            pytest.skip(reason)


@functools.cache
def interpreters() -> dict[str, str]:
    """Return the path of one Python for each minor version from 3.8 on.

    The function searches this interpreter, those of `make pythons`, those of pyenv, and the PATH.
    """
    found = {"{}.{}".format(*sys.version_info[:2]): sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [str(path) for path in sorted(UNPACKED.glob("3.*/root/usr/bin/python3.*[0-9]"))]
    candidates += [str(path) for path in sorted(pyenv.glob("3.*/bin/python3"), reverse=True)]
    candidates += [f"python3.{minor}" for minor in range(8, 20)]
    for candidate in candidates:
        if candidate.removeprefix("python") in found:
            continue
        program = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
        try:
            done = subprocess.run([candidate, "-c", program], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        version, path = done.stdout.split("\n")[:2]
        if tuple(map(int, version.split("."))) >= OLDEST_PLAIN:
            found.setdefault(version, path)
    return dict(sorted(found.items(), key=lambda pair: int(pair[0].split(".")[1])))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `interpreter` its values: the present Python, or with --interpreters every Python that was found."""
    if "interpreter" in metafunc.fixturenames:
        every = metafunc.config.getoption("--interpreters")
        found = interpreters() if every else {"this": sys.executable}
        metafunc.parametrize("interpreter", found.values(), ids=found.keys())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --interpreters, keep only the tests that use the fixture `interpreter`."""
    if config.getoption("--interpreters"):
        chosen = [item for item in items if "interpreter" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the interpreters that --interpreters has found."""
    return f"interpreters: {', '.join(interpreters())}" if config.getoption("--interpreters") else None
