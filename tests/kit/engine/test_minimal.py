"""The image variant without a shell: what it contains, and that master, worker and client run on it."""

import json

import pytest
from tests.kit.engine.stack import Stack, inspect, stack
from tests.kit.shell import BASE_IMAGE, MASTER_IMAGE, VERSION, WORKER_IMAGE, fails, run

from distq.demo import tasks as demo_tasks

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engine"), pytest.mark.timeout(600)]

MEGABYTE = 1_000_000
SIZE_MAX = 85 * MEGABYTE
"""Seen: 69 MB, of which 19 are the environment of distq, and 9 the interpreter."""
WITH_POSTGRESQL = "distq-test-minimal-postgresql:1"
OTHER_BASE = "python:3.13-slim-trixie"
VERSION_OF_PYTHON = "import sys; print('%d.%d' % sys.version_info[:2])"
LOOK = """
import json, os, pwd, socket, sqlite3, ssl, stat, tempfile, time, zoneinfo

os.environ["TZ"] = "Asia/Kolkata"
time.tzset()
programs = []
for top, _, names in os.walk("/"):
    if not top.startswith(("/proc", "/sys", "/dev")):
        for path in (os.path.join(top, name) for name in names):
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and mode & 0o111 and open(path, "rb").read(2) in (b"\\x7fE", b"#!"):
                programs.append(os.path.basename(path))
print(json.dumps({
    "programs": sorted(name for name in programs if ".so" not in name and not name.endswith(".py")),
    "links": sorted(name for name in os.listdir("/usr/bin") if not name.startswith("python")),
    "user": pwd.getpwuid(os.getuid()).pw_name,
    "temporary": tempfile.gettempdir(),
    "authorities": len(ssl.create_default_context().get_ca_certs()) > 100,
    "zones": len(zoneinfo.available_timezones()) > 300,
    "local_zone": time.strftime("%Z"),
    "loopback": socket.gethostbyname("localhost"),
    "packages": "libc6" in os.listdir("/var/lib/dpkg/status.d"),
}))
"""


def minimal(image: str) -> str:
    """Return the variant's name of an image."""
    return f"{image}-minimal"


def assert_that_tasks_run(project: Stack) -> None:
    """Check health checks, a client outside and inside, a task's failure, and the drain; none of them needs a shell."""
    project.up("master", "worker", scale=1)
    with project.client() as client:
        assert client.submit(demo_tasks.square, 7).result(60) == (7, 49)
    assert "square(2) is 4" in project.compose("run", "--rm", "client")
    found = project.compose("exec", "-T", "worker", "python", "-c", LOOK)
    assert json.loads(found) == {
        "programs": [
            "distq",
            "dumb-init",
            f"python{project.exec('master', 'python', '-c', VERSION_OF_PYTHON).strip()}",
        ],
        "links": [],
        "user": "distq",
        "temporary": "/tmp",
        "authorities": True,
        "zones": True,
        "local_zone": "IST",
        "loopback": "127.0.0.1",
        "packages": True,
    }
    project.compose("stop")
    for service in ("master", "worker"):
        assert inspect(project.containers(service)[0])["State"]["ExitCode"] == 0


@pytest.mark.parametrize("base", [OTHER_BASE, BASE_IMAGE])
def test_master_worker_and_client_run_without_a_shell(base: str) -> None:
    """Compose builds and runs the variant on two bases; the images contain the interpreter and no other program."""
    with stack(VARIANT="minimal", BASE=base, BUILD_BASE=base) as project:
        project.compose("build", "master", "worker")
        assert_that_tasks_run(project)
    for image in (MASTER_IMAGE, WORKER_IMAGE):
        assert inspect(minimal(image))["Size"] <= SIZE_MAX
        for program in ("sh", "bash", "pip", "apt-get", "dpkg"):
            assert "not found" in fails("docker", "run", "--rm", "--entrypoint", program, minimal(image), "--version")


def test_the_variant_with_the_driver_of_postgresql_finds_its_libraries() -> None:
    """The driver's libpq comes from a wheel, which needs libraries of the base."""
    arguments = ["--build-arg", "VARIANT=minimal", "--target", "master-postgresql", "--file", "images/Dockerfile"]
    run("docker", "build", "--quiet", "--tag", WITH_POSTGRESQL, *arguments, ".")
    try:
        load = "import psycopg; print(psycopg.pq.__impl__, psycopg.pq.version() > 150000)"
        assert run("docker", "run", "--rm", "--entrypoint", "python", WITH_POSTGRESQL, "-c", load).split() == [
            "binary",
            "True",
        ]
        assert run("docker", "run", "--rm", WITH_POSTGRESQL, "--version").strip() == f"distq {VERSION}"
    finally:
        run("docker", "rmi", "--force", WITH_POSTGRESQL)
