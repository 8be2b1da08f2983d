"""`distq doctor` against real masters: with the defaults, hardened, with a standby, and none at all."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.cluster import Cluster
from tests.e2e.test_several_masters import Masters
from tests.net.certificates import Authority, settings_of
from tests.storage.postgresql.server import server_in, short_folder
from tests.waiting import eventually

from distq.cli.doctor.table import CHECKS, MACHINE, MASTER

STRONG = "xK3vQ9mZ7tR2wB8nL5cJ1hF6dS4gP0aY_-uEoIyTk"
WEB, TEAM, READER = (f"{name}-{STRONG}" for name in ("web", "team", "reader"))
SIGNING = STRONG[::-1]


def doctor(grid: Cluster, *options: str, code: int = 0, **settings: Any) -> dict[str, dict[str, str]]:
    """Run the doctor and return its findings by check."""
    command = grid.run("doctor", "--json", *options, **settings)
    assert command.ends() == code, command.text
    found = json.loads(command.text)
    assert sum(found["counts"].values()) == len(found["checks"])
    return {finding["check"]: finding for finding in found["checks"]}


def other_than_ok(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the state of each finding that is not ok."""
    return {name: finding["state"] for name, finding in found.items() if finding["state"] != "ok"}


def test_the_defaults_give_exactly_these_warnings(grid: Cluster) -> None:
    """A master and a worker with the settings of a first try, and the doctor on the same machine."""
    grid.master(DISTQ_AUTHKEY=STRONG)
    grid.tasks(1, DISTQ_AUTHKEY=STRONG).logs("master_connected")
    found = doctor(grid, DISTQ_AUTHKEY=STRONG)
    assert other_than_ok(found) == {
        "key-roles": "warning",
        "key-rights": "warning",
        "signatures": "warning",
        "store-durable": "warning",  # the tests' store is in memory
        "limits-off": "warning",
    }
    assert found.keys() == {check.name for area in (MACHINE, MASTER) for check in CHECKS[area]}
    doctor(grid, "--strict", code=1, DISTQ_AUTHKEY=STRONG)


def test_a_hardened_cluster_passes_strictly_and_shows_no_key(grid: Cluster, tmp_path: Path) -> None:
    """TLS with certificates of clients, keys with roles in files, signed payloads, a durable store, and limits."""
    authority = Authority(tmp_path / "tls")
    keys = {"shared": STRONG, "team": TEAM, "reader": READER, "signing": SIGNING}
    keys["keys"] = f"web submit {WEB} default\nteam work {TEAM} default\nreader read {READER}\n"
    for name, text in keys.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    master = grid.master(
        DISTQ_AUTHKEY="",
        DISTQ_AUTHKEY_FILE=str(tmp_path / "shared"),
        DISTQ_KEYS_PATH=str(tmp_path / "keys"),
        DISTQ_STORE=f"sqlite:///{tmp_path}/queue.db",
        DISTQ_DEAD_LETTERS_MAX="1000",
        DISTQ_TLS_VERIFY_CLIENTS="1",
        DISTQ_HTTP_ADDRESS=f"127.0.0.1:{grid.http_port}",
        **settings_of(authority.server()),
    )
    master.logs("http_listened")
    peer = {"DISTQ_AUTHKEY": "", **settings_of(authority.server("client"))}
    as_worker = {"DISTQ_AUTHKEY_FILE": str(tmp_path / "team"), "DISTQ_SIGNING_KEY_FILE": str(tmp_path / "signing")}
    grid.tasks(1, DISTQ_QUEUES="default", **as_worker, **peer).logs("master_connected")
    as_reader: dict[str, Any] = {"DISTQ_AUTHKEY_FILE": str(tmp_path / "reader"), **peer}
    found = doctor(grid, "--strict", **as_reader)
    room = found.pop("store-room")  # the volume of the machine that runs the tests may be nearly full
    assert "free" in room["found"]
    assert other_than_ok(found) == {}
    for key in (STRONG, WEB, TEAM, READER, SIGNING):
        assert key not in json.dumps(found)
    (tmp_path / "reader").chmod(0o644)
    loose = doctor(grid, code=1, **as_reader)
    assert loose["secret-files"]["state"] == "problem"


def test_counters_and_old_keys_are_reported_by_name(grid: Cluster, tmp_path: Path) -> None:
    """A wrong key, a call that a key does not allow, a replaced key in use, and a queue without a worker."""
    (tmp_path / "keys").write_text(f"team work {SIGNING}\nteam work {TEAM} default\nreader read {READER}\n")
    grid.master(DISTQ_AUTHKEY=STRONG, DISTQ_KEYS_PATH=str(tmp_path / "keys"))
    grid.tasks(1, DISTQ_AUTHKEY=TEAM, DISTQ_QUEUES="default").logs("master_connected")
    assert grid.run("status", DISTQ_AUTHKEY="w" * 40).ends() == 3
    assert grid.run("dead", "purge", "--queue", "default", "--yes", DISTQ_AUTHKEY=READER).ends() != 0
    sent = grid.run("submit", "shop:send", "--queue", "misspelt", DISTQ_AUTHKEY=STRONG)
    assert sent.ends() == 0, sent.text
    found = doctor(grid, DISTQ_AUTHKEY=READER)
    assert found["auth-failures"]["found"] == "1 connection did not prove a key since the master's start."
    assert "reader (1)" in found["forbidden-calls"]["found"]
    assert found["old-keys"]["found"] == "Open connections still use the old keys of team."
    assert "misspelt" in found["unserved-queues"]["found"]


def test_a_key_that_may_not_ask_gives_unknown_in_words(grid: Cluster, tmp_path: Path) -> None:
    """The key of a client sees what the connection shows, and the rest is unknown."""
    (tmp_path / "keys").write_text(f"web submit {WEB}\n")
    grid.master(DISTQ_AUTHKEY=STRONG, DISTQ_KEYS_PATH=str(tmp_path / "keys"))
    found = doctor(grid, DISTQ_AUTHKEY=WEB)
    assert found["key-roles"]["state"] == "unknown"
    assert "this key may not ask (role read)" in found["key-roles"]["found"]
    assert found["ready"]["state"] == "ok"


def test_no_master_and_a_wrong_key_exit_with_3_and_a_sentence(grid: Cluster) -> None:
    """Nothing could be checked."""
    nothing = grid.run("doctor", "--wait", "1s")
    assert nothing.ends() == 3
    assert f"The master at 127.0.0.1:{grid.port} cannot be reached" in nothing.text
    grid.master()
    refused = grid.run("doctor", DISTQ_AUTHKEY=STRONG)
    assert refused.ends() == 3
    assert "does not let us in" in refused.text
    assert "Traceback" not in nothing.text + refused.text
    assert STRONG not in refused.text


@pytest.mark.postgresql
def test_a_standby_and_a_missing_master_are_found(grid: Cluster) -> None:
    """The leader counts those that stand by; an address without a master is named."""
    with short_folder() as folder, server_in(folder) as server:
        masters = Masters(grid, server)
        masters.leader(0, DISTQ_AUTHKEY=STRONG)
        masters.standby(1, DISTQ_AUTHKEY=STRONG)
        running = ",".join(f"127.0.0.1:{port}" for port in masters.ports[:2])
        missing = doctor(grid, DISTQ_AUTHKEY=STRONG, DISTQ_ADDRESS=masters.addresses)
        assert missing["masters"]["state"] == "warning"
        assert f"127.0.0.1:{masters.ports[2]}" in missing["masters"]["found"]
        eventually(
            lambda: doctor(grid, DISTQ_AUTHKEY=STRONG, DISTQ_ADDRESS=running)["masters"]["state"] == "ok",
            "the leader's look at the standby",
        )
