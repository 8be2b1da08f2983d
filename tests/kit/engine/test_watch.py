"""Test of `docker compose watch`: changed code runs in a new image."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.kit.engine.stack import ON_IMAGES, inspect, stack
from tests.kit.shell import run, wait_for_value
from tests.tidy.tree import ROOT

pytestmark = ON_IMAGES

WITHIN_S = 120
MASTER, WORKER = "distq-test-watched-master:1", "distq-test-watched-worker:1"


def copy_of_the_project(folder: Path) -> Path:
    """Copy the files that git knows to a folder."""
    for name in run("git", "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def test_a_change_of_distqs_code_is_in_a_new_image(tmp_path: Path) -> None:
    """`watch` builds and replaces the worker, which then runs the new code."""
    folder = copy_of_the_project(tmp_path / "project")
    # The images have names of their own. Grafana, whose image may not be available, is not started.
    services = {"master": {"image": MASTER}, "worker": {"image": WORKER}, "grafana": {"profiles": ["elsewhere"]}}
    (folder / "names.yaml").write_text(json.dumps({"services": services}))
    tasks = folder / "src" / "distq" / "demo" / "tasks.py"
    try:
        with stack(("compose.yaml", "names.yaml"), folder=folder) as project:
            project.compose("build")
            project.up("master", "worker", scale=1)
            before = inspect(project.containers("worker")[0])["Image"]
            with project.watching():
                # `watch` does not print when it has begun to watch: the change is made again until the test sees it.
                def changed() -> bool:
                    tasks.write_text(tasks.read_text() + "\n\nNEW = 7\n")
                    found = [inspect(container) for container in project.containers("worker")]
                    return any(one["Image"] != before and one["State"]["Running"] for one in found)

                wait_for_value(changed, bool, WITHIN_S, every_s=3)
            output = project.exec("worker", "python", "-c", "import distq.demo.tasks as tasks; print(tasks.NEW)")
            assert output.strip() == "7"
    finally:
        subprocess.run(["docker", "rmi", "--force", MASTER, WORKER], check=False, capture_output=True)
