"""The checks of a Compose project, cell by cell, and the program `docker`, of which a script takes the place."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from distq.cli.app import run
from distq.cli.doctor.compose import CHECKS, ComposeFacts, Service, literal_keys
from distq.cli.doctor.facts import SecretFile
from distq.cli.doctor.model import OK, PROBLEM, UNKNOWN, WARNING, examine

SERVICE = Service(name="master", ports=(("127.0.0.1", "9000"),), read_only=True, drops_all=True, user="65532")
GOOD = ComposeFacts(services=(SERVICE,), literal_keys=(), env_file=None)


def project(**changes: Any) -> ComposeFacts:
    """Return the facts of a hardened project after a change of its service."""
    return dataclasses.replace(GOOD, services=(dataclasses.replace(SERVICE, **changes),))


def env(mode: int, setting: str = "DISTQ_AUTHKEY") -> ComposeFacts:
    """Return the facts of a project with a `.env`."""
    return dataclasses.replace(GOOD, env_file=SecretFile(setting=setting, path=".env", mode=mode))


CELLS = [
    ("compose-ports", project(ports=(("", "9000"),)), PROBLEM, "master at all addresses, port 9000"),
    ("compose-ports", project(ports=(("10.0.0.3", "9001"),)), PROBLEM, "master at 10.0.0.3, port 9001"),
    ("compose-ports", project(ports=()), OK, "0 published ports"),
    ("compose-read-only", project(read_only=False), PROBLEM, "master"),
    ("compose-capabilities", project(drops_all=False), PROBLEM, "master"),
    ("compose-user", project(user=""), PROBLEM, "as root: master"),
    ("compose-user", project(user="0:0"), PROBLEM, "as root: master"),
    ("compose-user", project(user=None), UNKNOWN, "master"),
    ("compose-keys", dataclasses.replace(GOOD, literal_keys=("compose.yaml, line 3",)), PROBLEM, "line 3"),
    ("compose-env-file", env(0o644), PROBLEM, "DISTQ_AUTHKEY"),
    ("compose-env-file", env(0o640), WARNING, "group"),
    ("compose-env-file", env(0o644, setting=""), OK, "Does not apply"),
    ("compose-env-file", env(0o600), OK, "Only its user"),
]


@pytest.mark.parametrize(("name", "facts", "state", "text"), CELLS)
def test_a_check_of_a_project_judges_as_its_cell_says(name: str, facts: ComposeFacts, state: str, text: str) -> None:
    """The state is that of the cell, and the finding names the service or the file."""
    (found,) = (one for one in examine("compose", CHECKS, facts) if one.check.name == name)
    assert (found.state, text in found.found) == (state, True), found.found


def test_a_hardened_project_has_only_findings_that_are_ok() -> None:
    """Each check has a cell, and a project in order has none of them."""
    assert {found.state for found in examine("compose", CHECKS, GOOD)} == {OK}
    assert {name for name, *_ in CELLS} == {check.name for check in CHECKS}


@pytest.mark.parametrize(
    ("line", "is_literal"),
    [
        ("      DISTQ_AUTHKEY: abc", True),
        ("      - DISTQ_AUTHKEY=abc", True),
        ("      - 'DISTQ_SIGNING_KEY=abc'", True),
        ('      "DISTQ_HTTP_TOKEN": "abc"', True),
        ("      DISTQ_AUTHKEY: ${DISTQ_AUTHKEY:-}", False),
        ('      DISTQ_AUTHKEY:   "${DISTQ_AUTHKEY:-}"', False),
        ("      DISTQ_AUTHKEY:", False),
        ('      DISTQ_AUTHKEY: ""', False),
        ("      - DISTQ_AUTHKEY", False),
        ("      DISTQ_AUTHKEY_FILE: /etc/distq/authkey", False),
        ("# For a key of your own set DISTQ_AUTHKEY: abc", False),
    ],
)
def test_a_key_in_plain_text_is_found_by_its_line(line: str, is_literal: bool, tmp_path: Path) -> None:
    """A variable is none, nor is a comment, nor the name of a file."""
    (tmp_path / "compose.yaml").write_text(f"services:\n{line}\n")
    found = literal_keys(tmp_path / "compose.yaml")
    assert bool(found) is is_literal
    assert "abc" not in str(found)
    if is_literal:
        assert ", line 2 (DISTQ_" in found[0]


CONFIG = {
    "services": {
        "master": {
            "image": "distq-master:0.1.0",
            "ports": [{"host_ip": "127.0.0.1", "target": 9000, "published": "9000"}, {"target": 9001}],
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
        },
        "mine": {"image": "mine:1", "ports": [{"target": 80, "published": "80"}], "privileged": True},
    }
}


def docker(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program `docker` in front of the others."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


def test_the_command_reads_the_project_of_the_folder_and_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The users come from the images; one that is not here is unknown; no key is printed."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "compose.yaml").write_text("services:\n  mine:\n    environment: {}\n    # none\n")
    (tmp_path / "compose.override.yaml").write_text("    DISTQ_AUTHKEY: the-secret\n")
    (tmp_path / ".env").write_text("DISTQ_AUTHKEY=the-secret\n")
    (tmp_path / ".env").chmod(0o644)
    inspected = "echo 'distq-master:0.1.0 |65532:65532'; echo 'no such image' >&2; exit 1"
    docker(tmp_path, monkeypatch, f'[ "$1" = image ] && {{ {inspected}; }}; cat {tmp_path}/config.json')
    assert run(["doctor", "--no-connect", "--json", "--compose"]) == 1
    printed = capsys.readouterr().out
    found = {finding["check"]: finding for finding in json.loads(printed)["checks"]}
    assert found.keys() == {check.name for check in CHECKS}
    assert found["compose-ports"]["found"].endswith("mine at all addresses, port 80.")
    assert found["compose-capabilities"]["found"].endswith("capabilities: mine.")
    assert found["compose-read-only"]["found"].endswith("mine.")
    assert (found["compose-user"]["state"], "mine" in found["compose-user"]["found"]) == (UNKNOWN, True)
    assert "compose.override.yaml, line 1 (DISTQ_AUTHKEY)" in found["compose-keys"]["found"]
    assert found["compose-env-file"]["state"] == PROBLEM
    assert "the-secret" not in printed


def test_a_docker_that_cannot_answer_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line of its errors says why."""
    docker(tmp_path, monkeypatch, "echo 'open nothing.yaml: no such file or directory' >&2; exit 14")
    assert run(["doctor", "--no-connect", "--compose", "nothing.yaml"]) == 2
    assert "`docker compose --file=nothing.yaml` failed: open nothing.yaml: no such file" in capsys.readouterr().err
