"""The images as they are built: their contents, their metadata, and how they end."""

import json
import signal
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from tests.kit.engine.conftest import EXAMPLE_IMAGE
from tests.kit.engine.stack import ON_IMAGES, inspect, stack
from tests.kit.shell import BASE_IMAGE, MASTER_IMAGE, VERSION, WORKER_IMAGE, fails, run, wait_for_value
from tests.tidy.tree import ROOT

pytestmark = ON_IMAGES

MEGABYTE = 1_000_000
OVER_THE_BASE_MAX = 25 * MEGABYTE
"""On CPython 3.15: 19 MB for the environment, 5 MB for bytecode of the standard library, which official images lack."""
STARTS = 8
LIST_FILES = """
import json, os, stat
found = {"world_writable": [], "setuid": [], "scripts": [], "foreign": []}
for top in ("/opt/distq", "/app", "/etc/distq", "/var/lib/distq"):
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files, "."]:
            path = os.path.normpath(os.path.join(folder, name))
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                continue
            if mode & 0o002:
                found["world_writable"].append(path)
            if mode & (stat.S_ISUID | stat.S_ISGID):
                found["setuid"].append(path)
            if stat.S_ISREG(mode) and open(path, "rb").read(9).startswith((b"#!/bin/sh", b"#!/bin/ba")):
                found["scripts"].append(path)
            if name.startswith(("pip", "uv-", "setuptools", "wheel", ".cache")) or path.endswith(("/uv", "/bin/uvx")):
                found["foreign"].append(path)
print(json.dumps(found))
"""

SHELLLESS = f"""
FROM {BASE_IMAGE} AS full
RUN rm -f /bin/sh /bin/bash /bin/dash
FROM scratch
COPY --from=full / /
"""

both = pytest.mark.parametrize("image", [MASTER_IMAGE, WORKER_IMAGE])
every = pytest.mark.parametrize("image", [MASTER_IMAGE, WORKER_IMAGE, EXAMPLE_IMAGE])


@both
def test_an_image_is_at_most_25_mb_larger_than_its_base(image: str) -> None:
    """An image adds one stripped environment without unused files, and bytecode that the base lacks."""
    assert inspect(image)["Size"] - inspect(BASE_IMAGE)["Size"] <= OVER_THE_BASE_MAX


@both
def test_an_image_compiles_nothing_of_the_standard_library_at_its_start(image: str) -> None:
    """Python reads the modules that distq imports as bytecode, on a base that has none."""
    command = ["docker", "run", "--rm", "--entrypoint", "python", image, "-v", "-c", "import distq.master.main"]
    imports = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stderr
    loaded = [line.split()[-1] for line in imports.splitlines() if line.startswith("# code object from ")]
    assert len(loaded) > 100
    assert [path for path in loaded if "__pycache__" not in path] == []


def test_both_images_share_their_layers() -> None:
    """A node that has one image has nearly all of the other."""
    master, worker = (inspect(image)["RootFS"]["Layers"] for image in (MASTER_IMAGE, WORKER_IMAGE))
    assert master == worker


@every
def test_an_image_declares_how_it_runs(image: str) -> None:
    """An image has a numeric user, an exec-form entry point, a health check without a shell, and SIGTERM."""
    config = inspect(image)["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["dumb-init", "--single-child", "--", "distq"]
    assert config["Cmd"] == (["master"] if image == MASTER_IMAGE else ["worker"])
    assert config["Healthcheck"]["Test"] == ["CMD", "distq", "health"]
    assert config["StopSignal"] == "SIGTERM"
    environment = dict(line.split("=", 1) for line in config["Env"])
    assert environment["HOME"] == "/tmp"
    assert not [name for name in environment if "AUTHKEY" in name]
    tasks = {MASTER_IMAGE: None, WORKER_IMAGE: "distq.demo.tasks", EXAMPLE_IMAGE: "tasks.words"}
    assert environment.get("DISTQ_TASKS") == tasks[image]


@both
def test_an_image_declares_title_version_and_licence(image: str) -> None:
    """They are OCI labels."""
    labels = inspect(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == image.partition(":")[0]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "MIT"


@both
def test_a_container_that_has_just_started_ends_by_sigterm(image: str) -> None:
    """It ends also while its interpreter starts; a process 1 without a handler would get no signal."""
    command = ["docker", "run", "--detach", "--network", "none", "--env", "DISTQ_AUTHKEY=a-key-of-a-test", image]
    for _ in range(STARTS):
        container = run(*command).strip()
        try:
            run("docker", "kill", "--signal", "TERM", container)
            ended_by = int(run("docker", "wait", container, timeout_s=20))
        finally:
            run("docker", "rm", "--force", container)
        assert ended_by in {0, 128 + signal.SIGTERM}


@every
def test_an_image_has_no_unneeded_file(image: str) -> None:
    """An image has no world-writable or setuid file, no installer, no shell script, and no cache of distq."""
    output = run("docker", "run", "--rm", "--user", "0", "--entrypoint", "python3", image, "-c", LIST_FILES)
    assert json.loads(output) == {"world_writable": [], "setuid": [], "scripts": [], "foreign": []}


@every
def test_an_image_runs_without_any_privilege(image: str) -> None:
    """It runs with a read-only root, no capability, another user id than its own, and no network."""
    restrictions = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"]
    output = run("docker", "run", "--rm", *restrictions, "--user", "12345:12345", "--tmpfs", "/tmp", image, "--version")
    assert output.strip() == f"distq {VERSION}"


def test_the_base_is_a_build_argument_and_needs_no_shell() -> None:
    """The base here has no shell, as distroless and hardened bases have none."""
    base, image = "distq-test-shellless:1", "distq-test-on-shellless:1"
    run("docker", "build", "--quiet", "--tag", base, "-", given=SHELLLESS)
    try:
        arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"BUILD_BASE={BASE_IMAGE}", "--target", "worker"]
        run("docker", "build", "--quiet", "--tag", image, *arguments, "--file", "images/Dockerfile", ".")
        assert run("docker", "run", "--rm", image, "--version").strip() == f"distq {VERSION}"
        assert "not found" in fails("docker", "run", "--rm", "--entrypoint", "sh", image, "-c", "true")
    finally:
        run("docker", "rmi", "--force", base, image)


def test_a_key_file_that_cannot_be_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    """Compose mounts files with the owner and mode that they have on the host."""
    key = tmp_path / "authkey"
    key.write_text("a-key-of-ones-own-in-a-file")
    key.chmod(0o600)
    command = ["docker", "run", "--rm", "--volume", f"{key}:/etc/distq/authkey:ro"]
    command += ["--env", "DISTQ_AUTHKEY_FILE=/etc/distq/authkey", MASTER_IMAGE]
    output = run("sh", "-c", '"$@" 2>&1; echo exit $?', "sh", *command)
    assert "cannot be read by user 65532: Permission denied" in output
    assert "exit 2" in output


def test_hadolint_finds_no_fault() -> None:
    """The Dockerfile that users copy is checked too."""
    for path in ("images/Dockerfile", "examples/own-tasks/Dockerfile"):
        run("hadolint", "--config", ".hadolint.yaml", ROOT / path)


READY_S = 2.0
"""Maximum seconds from the start of a container's process to its readiness."""


def test_a_container_is_ready_within_two_seconds_of_its_start(images: None) -> None:
    """The engine's and the process's logs show it for master and worker; the best of three runs counts."""
    with stack() as project:
        project.up("master", "worker", scale=1)
        for service, ready in (("master", "http_listened"), ("worker", "master_connected")):
            taken_s = []
            for _ in range(3):
                project.compose("restart", service)
                (container,) = project.containers(service)
                started = datetime.fromisoformat(inspect(container)["State"]["StartedAt"])
                events = wait_for_value(lambda: since(container, started, ready), bool, within_s=30)  # noqa: B023
                taken_s.append((events[0] - started).total_seconds())
            assert min(taken_s) < READY_S, (service, taken_s)


def since(container: str, at: datetime, event: str) -> list[datetime]:
    """Return the seconds from an instant to an event in a container's log."""
    lines = subprocess.run(["docker", "logs", container], capture_output=True, check=True, text=True).stderr
    events = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    instants = [datetime.fromisoformat(line["timestamp"]) for line in events if line["event"] == event]
    return [instant for instant in instants if instant > at]
