"""compose.yaml as text: what holds before anything runs."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kit.shell import BASE_IMAGE, CHART, ROOT, VERSION, compose

from distq.settings.dotenv_file import read_dotenv

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def seconds(text: str) -> int:
    """A duration in whole seconds, as compose.yaml writes them."""
    return int(text.removesuffix("s"))


@each_service
def test_a_service_has_no_right_that_it_does_not_need(name: str) -> None:
    """Read-only root, no capability, no way to gain one; what is written goes to a tmpfs or a volume."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(line.startswith("/tmp") for line in service["tmpfs"])


@each_service
def test_every_port_is_on_the_loopback_alone(name: str) -> None:
    """A laptop in a café offers nothing to the café."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_every_image_is_pinned(name: str) -> None:
    """The same file gives the same programs next year."""
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


@each_service
def test_a_service_waits_until_what_it_needs_is_healthy(name: str) -> None:
    """Order by health, not by hope."""
    assert {how["condition"] for how in SERVICES[name].get("depends_on", {}).values()} <= {"service_healthy"}


def test_nothing_depends_on_the_workers() -> None:
    """Compose brings what a started service depends on to its declared number: it would stop workers of `--scale`."""
    assert not [name for name, service in SERVICES.items() if "worker" in service.get("depends_on", {})]


@pytest.mark.parametrize("name", ["master", "worker"])
def test_docker_waits_longer_than_the_drain(name: str) -> None:
    """A task that may end or go back in peace is never killed by Docker in between."""
    service = SERVICES[name]
    assert seconds(service["stop_grace_period"]) > seconds(service["environment"]["DISTQ_DRAIN_S"])


WHAT_A_WORKER_RUNS = {"DISTQ_TASKS", "DISTQ_QUEUES", "DISTQ_PLAIN_HANDLER", "DISTQ_MAX_TASKS"}


def test_compose_does_not_overrule_what_an_image_runs() -> None:
    """An image of one's own names its tasks; compose.yaml would win over it, and so says nothing itself."""
    assert not WHAT_A_WORKER_RUNS & set(SERVICES["worker"]["environment"])


@pytest.mark.engine
def test_what_workers_run_comes_from_dotenv(tmp_path: Path) -> None:
    """`.env` beside compose.yaml: modules, queues, recycling; nothing of it reaches Prometheus or Grafana."""
    given = {"DISTQ_TASKS": "mail.tasks,reports", "DISTQ_QUEUES": "mail", "DISTQ_MAX_TASKS": "100"}
    (tmp_path / ".env").write_text("".join(f"{name}={text}\n" for name, text in given.items()), encoding="utf-8")
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    config = json.loads(compose("--project-directory", str(tmp_path), "config", "--format", "json"))["services"]
    assert given.items() <= config["worker"]["environment"].items()
    for name in ("prometheus", "grafana"):
        assert not WHAT_A_WORKER_RUNS & set(config[name].get("environment") or {})


def test_there_are_two_workers_by_default() -> None:
    """One worker would not show that work is shared."""
    assert SERVICES["worker"]["deploy"]["replicas"] == "${WORKER_REPLICAS:-2}"


def test_only_the_master_makes_a_key_and_only_here() -> None:
    """No image carries the setting, so a master that was meant to be given a key never makes up its own."""
    makers = [name for name, service in SERVICES.items() if "DISTQ_AUTHKEY_CREATE" in service.get("environment", {})]
    assert makers == ["master"]
    assert "AUTHKEY_CREATE" not in (ROOT / "images" / "Dockerfile").read_text(encoding="utf-8")


def test_only_distqs_containers_mount_the_key() -> None:
    """Prometheus and Grafana never see it, and only the master may write there."""
    mounts = {
        name: [line for line in service.get("volumes", []) if "AUTHKEY" in line] for name, service in SERVICES.items()
    }
    assert {name for name, lines in mounts.items() if lines} == {"master", "worker", "client", "demo"}
    assert all(lines[0].endswith(":ro") for name, lines in mounts.items() if lines and name != "master")


def test_grafana_lets_everybody_look_and_nobody_log_in() -> None:
    """Anonymous viewing, and no admin whose default password could be tried."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]


def test_grafana_finds_what_is_mounted() -> None:
    """Datasource, dashboard folder and home dashboard are named as the volumes put them."""
    grafana = SERVICES["grafana"]
    mounted = dict(line.split(":")[:2] for line in grafana["volumes"])
    inside = {path: ROOT / source for source, path in mounted.items() if source.startswith("./")}
    provisioning = inside["/etc/grafana/provisioning"]
    provider = yaml.safe_load((provisioning / "dashboards" / "distq.yaml").read_text(encoding="utf-8"))["providers"][0]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert provider["options"]["path"] in inside
    assert str(home.parent) in inside
    assert (inside[str(home.parent)] / home.name).is_file()
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


def test_one_version_is_written_everywhere() -> None:
    """Package, images, compose.yaml, chart and the example of one's own image agree."""
    places = {
        "src/distq/_version.py": '__version__ = "{}"',
        "images/Dockerfile": "ARG VERSION={}",
        "helm/Chart.yaml": "appVersion: {}",
        "docker-bake.hcl": '  default = "{}"',
        "examples/own-tasks/Dockerfile": "FROM distq-worker:{}",
    }
    for path, line in places.items():
        assert line.format(VERSION) in (ROOT / path).read_text(encoding="utf-8").splitlines(), path
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["annotations"]
    images = {image["image"] for image in yaml.safe_load(annotations["artifacthub.io/images"])}
    assert images == {f"distq-master:{VERSION}", f"distq-worker:{VERSION}"}
    ours = {service["image"] for service in SERVICES.values() if service["image"].startswith("distq-")}
    assert ours == {f"distq-master:{VERSION}", f"distq-worker:{VERSION}"}
    assert CHART.is_dir()


def test_one_default_base_is_written_everywhere() -> None:
    """Dockerfile and docker-bake.hcl name it, the page on Pythons explains it; Compose leaves it to the Dockerfile."""
    places = {
        "images/Dockerfile": f"ARG BASE={BASE_IMAGE}\n",
        "docker-bake.hcl": f'variable "BASE" {{\n  default = "{BASE_IMAGE}"\n',
        "docs/reference/pythons.md": f"`{BASE_IMAGE}`",
    }
    for path, text in places.items():
        assert text in (ROOT / path).read_text(encoding="utf-8"), path
    for part in ("master", "worker"):
        assert SERVICES[part]["build"]["args"] == ["BASE", "BUILD_BASE"]


@pytest.mark.engine
@pytest.mark.parametrize("value", [None, "registry.example/python:3.15"])
def test_a_base_of_ones_own_comes_from_dotenv(tmp_path: Path, value: str | None) -> None:
    """BASE in `.env` is the build argument of master and worker; without it, there is none."""
    given = {"BASE": value} if value else {}
    (tmp_path / ".env").write_text("".join(f"{name}={text}\n" for name, text in given.items()), encoding="utf-8")
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    config = json.loads(compose("--project-directory", str(tmp_path), "config", "--format", "json"))["services"]
    for part in ("master", "worker"):
        assert config[part]["build"].get("args", {}) == given


@pytest.mark.engine
@pytest.mark.parametrize("extra", [None, "mounted", "image"])
def test_compose_has_nothing_to_complain_of(extra: str | None) -> None:
    """`docker compose config -q` is silent, with the examples' files too."""
    files = ["-f", "compose.yaml", *(["-f", f"examples/own-tasks/{extra}.yaml"] if extra else [])]
    assert compose(*files, "config", "--quiet") == ""


@pytest.mark.engine
def test_a_hosts_settings_do_not_move_composes_master(tmp_path: Path) -> None:
    """Where a master on the host listens and keeps its data: Compose's has its own ports, and its volume."""
    given = {
        "DISTQ_STORE": "sqlite:///distq.db",
        "DISTQ_BIND": "127.0.0.1:7000",
        "DISTQ_ADDRESS": "127.0.0.1:7000",
        "DISTQ_HTTP_ADDRESS": "127.0.0.1:7001",
    }
    for own, store in [("", "sqlite:////var/lib/distq/queue.db"), ("MASTER_STORE=memory:\n", "memory:")]:
        found = read_by_compose(tmp_path, own + "".join(f"{name}={text}\n" for name, text in given.items()))
        assert found["DISTQ_STORE"] == store
        assert (found["DISTQ_BIND"], found["DISTQ_ADDRESS"]) == ("0.0.0.0:9000", "master:9000")
        assert found["DISTQ_HTTP_ADDRESS"] == "0.0.0.0:9001"


def read_by_compose(folder: Path, dotenv: str) -> dict[str, str]:
    """The environment of Compose's master with such a `.env`."""
    (folder / ".env").write_text(dotenv, encoding="utf-8")
    shutil.copy(ROOT / "compose.yaml", folder)
    said = json.loads(compose("--project-directory", str(folder), "config", "--format", "json"))
    # What is printed can be read as a Compose file again, in which $ is written $$.
    return {name: text.replace("$$", "$") for name, text in said["services"]["master"]["environment"].items()}


AWKWARD = [
    "plain",
    "a$b",
    "a$HOME",
    "${HOME}",
    "a$$b",
    "a#b",
    "a #b",
    ' "x" ',
    "a=b",
    "key: v",
    "grün",
    "a\tb",
    "$(pwd)",
]


@pytest.mark.engine
def test_single_quotes_mean_the_same_on_a_host_and_in_compose(tmp_path: Path) -> None:
    """As .env.example and the reference say."""
    lines = "".join(f"DISTQ_LABELS_{number}='{text}'\n" for number, text in enumerate(AWKWARD))
    there = read_by_compose(tmp_path, lines)
    here = read_dotenv(tmp_path / ".env", "DISTQ_").variables
    wanted = {f"DISTQ_LABELS_{number}": text for number, text in enumerate(AWKWARD)}
    assert {name: there[name] for name in wanted} == wanted
    assert here == wanted
