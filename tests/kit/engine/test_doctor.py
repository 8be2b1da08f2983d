"""`distq doctor --compose` on real projects: the shipped file with its defaults, and with the hardened values."""

import json
import os
from pathlib import Path

import pytest
from tests.kit.doctor import KEY_LINES, READER_KEY, SIGNING_KEY, WORKER_KEY, doctor, other_than_ok, readable
from tests.kit.engine.stack import ON_IMAGES, Stack, inspect, stack
from tests.kit.shell import run
from tests.net.certificates import Authority

pytestmark = ON_IMAGES

HERE = ("master", "worker")
"""The services that the tests start."""


def settings_of(project: Stack, key: str) -> dict[str, str]:
    """Return the settings of a client on this machine."""
    return {"DISTQ_ADDRESS": project.address("master", 9000), "DISTQ_AUTHKEY": key}


def test_the_shipped_file_gives_exactly_these_warnings() -> None:
    """All of them are about the master: the file itself has the hardened values."""
    with stack() as project:
        project.up(*HERE)
        found = doctor("--compose", code=0, **settings_of(project, project.authkey()))
    assert other_than_ok(found) == {
        "tls": "warning",
        "key-roles": "warning",
        "key-rights": "warning",
        "signatures": "warning",
        "limits-off": "warning",
    }
    assert found["compose-ports"]["state"] == "ok"


@pytest.fixture
def hardened(tmp_path: Path) -> dict[str, str]:
    """Make certificates and keys, and return the variables of Compose that name them."""
    authority = Authority(tmp_path / "made")
    cert, key = authority.issue("localhost", "127.0.0.1", "master")
    folders = {name: tmp_path / name for name in ("tls", "keys", "worker")}
    for folder in folders.values():
        folder.mkdir()
        folder.chmod(0o755)
    for name, source in (("master.crt", cert), ("master.key", key), ("ca.crt", authority.cert)):
        readable(folders["tls"] / name, Path(source).read_text())
    readable(folders["keys"] / "keys", KEY_LINES)
    readable(folders["worker"] / "authkey", WORKER_KEY)
    readable(folders["worker"] / "signing", SIGNING_KEY)
    worker = {
        "DISTQ_AUTHKEY_FILE": "/etc/distq-worker/authkey",
        "DISTQ_SIGNING_KEY_FILE": "/etc/distq-worker/signing",
        "DISTQ_QUEUES": "default",
    }
    override = {
        "services": {
            "master": {"environment": {"DISTQ_TLS_VERIFY_CLIENTS": "1", "DISTQ_DEAD_LETTERS_MAX": "1000"}},
            "worker": {"environment": worker, "volumes": [f"{folders['worker']}:/etc/distq-worker:ro"]},
        }
    }
    (tmp_path / "override.yaml").write_text(json.dumps(override))
    return {"TLS_FOLDER": str(folders["tls"]), "KEYS_FOLDER": str(folders["keys"])}


def test_the_shipped_file_with_the_hardened_values_passes_strictly(tmp_path: Path, hardened: dict[str, str]) -> None:
    """TLS_FOLDER and KEYS_FOLDER, and a file with the settings of the checklist."""
    with stack(**hardened) as project:
        project.use(tmp_path / "override.yaml").up(*HERE)
        folder = Path(hardened["TLS_FOLDER"])
        own_key = tmp_path / "own.key"
        own_key.write_text((folder / "master.key").read_text())
        own_key.chmod(0o600)
        tls = {
            "DISTQ_TLS_CERT": str(folder / "master.crt"),
            "DISTQ_TLS_KEY": str(own_key),
            "DISTQ_TLS_CA": str(folder / "ca.crt"),
            "COMPOSE_FILE": f"compose.yaml{os.pathsep}{tmp_path / 'override.yaml'}",
        }
        found = doctor("--strict", "--compose", code=0, **settings_of(project, READER_KEY), **tls, **hardened)
    assert other_than_ok(found) == {}


def test_the_engine_shows_no_key_of_the_shipped_file_with_the_hardened_values(
    tmp_path: Path, hardened: dict[str, str]
) -> None:
    """Nor do images, volumes, lists of processes, the logs, and the environment of `docker exec`."""
    folder = Path(hardened["TLS_FOLDER"])
    with stack(**hardened) as project:
        project.use(tmp_path / "override.yaml").up(*HERE)
        keys = [WORKER_KEY, READER_KEY, SIGNING_KEY, project.authkey()]
        keys += [line for line in (folder / "master.key").read_text().splitlines() if "-" not in line]
        shown = {
            "docker compose logs": project.compose("logs"),
            "docker compose config": project.compose("config"),
            **{f"docker volume inspect {name}": run("docker", "volume", "inspect", name) for name in project.volumes()},
        }
        for service in HERE:
            for container in project.containers(service):
                found = inspect(container)
                assert found["State"]["Running"]
                shown[f"docker inspect of {service}"] = json.dumps(found)
                shown[f"docker inspect of the image of {service}"] = json.dumps(inspect(found["Image"]))
                shown[f"docker top of {service}"] = run("docker", "top", container)
                shown[f"docker exec env of {service}"] = run("docker", "exec", container, "env")
        mounted = project.exec("worker", "cat", "/etc/distq-worker/signing")
    assert SIGNING_KEY in mounted, "the worker has the key"
    assert len(keys) > 4
    assert [(what, key[:6]) for what, text in shown.items() for key in keys if key in text] == []
