"""The text of compose.yaml: what holds before anything runs."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kit.shell import BASE_IMAGE, CHART, VERSION, compose
from tests.tidy.tree import ROOT

from distq.settings.dotenv_file import read_dotenv

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIANT = "${VARIANT:+-${VARIANT:-}}"
"""The end of the tags of distq's images."""
MASTERS = ("master", "master-1", "master-2", "master-3")
WORKERS = ("worker", "replicated-worker")
CLIENTS = ("client", "demo", "replicated-client")
SERVERS = ("database", "database-standby")
each_service = pytest.mark.parametrize("name", SERVICES)


def seconds(text: str) -> int:
    """Return a duration of compose.yaml in whole seconds."""
    return int(text.removesuffix("s"))


@each_service
def test_a_service_has_no_unneeded_privilege(name: str) -> None:
    """A service has a read-only root and no capability, and cannot gain one; it writes to a tmpfs or a volume."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(line.startswith("/tmp") for line in service["tmpfs"])


@each_service
def test_every_port_is_only_on_the_loopback(name: str) -> None:
    """A laptop on a public network exposes no port."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_every_image_is_pinned(name: str) -> None:
    """The same file starts the same programs next year; a version of PostgreSQL has two numbers, others have three."""
    image, _, tag = SERVICES[name]["image"].partition(":")
    numbers = r"\d+\.\d+" if image == "postgres" else r"v?\d+\.\d+\.\d+"
    assert re.fullmatch(numbers, tag.removesuffix(VARIANT))


@each_service
def test_a_service_waits_until_its_dependencies_are_healthy(name: str) -> None:
    """Every `depends_on` has the condition `service_healthy`."""
    assert {dependency["condition"] for dependency in SERVICES[name].get("depends_on", {}).values()} <= {
        "service_healthy"
    }


def test_no_service_depends_on_the_workers() -> None:
    """Compose scales the dependencies of a started service to their declared number: it would undo `--scale`."""
    assert not [name for name, service in SERVICES.items() if {*WORKERS} & {*service.get("depends_on", {})}]


def test_one_master_starts_without_a_profile() -> None:
    """Several masters, their workers and the database start only with the profile `replicated`."""
    names_by_profile: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service.get("profiles", [""]):
            names_by_profile.setdefault(profile, set()).add(name)
    assert names_by_profile == {
        "": {"master", "worker", "prometheus", "grafana"},
        "replicated": {*MASTERS, *WORKERS, *SERVERS} - {"master", "worker"},
        "client": {"client"},
        "demo": {"demo"},
        "replicated-client": {"replicated-client"},
    }


def test_workers_and_the_client_know_the_address_of_each_of_several_masters() -> None:
    """Each master tells peers its own address of these, where they then connect to the leader."""
    addresses = [SERVICES[name]["environment"]["DISTQ_ADVERTISE"] for name in MASTERS[1:]]
    assert addresses == [f"{name}:9000" for name in MASTERS[1:]]
    for name in (*MASTERS[1:], "replicated-worker", "replicated-client"):
        assert SERVICES[name]["environment"]["DISTQ_ADDRESS"] == ",".join(addresses)


def test_only_servers_and_masters_mount_the_password_of_the_database() -> None:
    """No file and no variable contains it; the masters read it from a volume that they cannot write to."""
    mounts = {
        name: [line.partition(":")[2] for line in service.get("volumes", []) if line.startswith("database-shared:")]
        for name, service in SERVICES.items()
    }
    assert {name: lines for name, lines in mounts.items() if lines} == {
        **{name: ["/etc/distq-database:ro"] for name in MASTERS[1:]},
        **{name: ["/run/postgresql"] for name in SERVERS},
    }
    for name in (*MASTERS[1:], *SERVERS):
        environment = SERVICES[name]["environment"]
        secrets = {key: environment[key] for key in environment if "PASS" in key or "STORE" in key}
        assert set(secrets.values()) <= {
            "postgresql://distq@database,database-standby/distq",
            "/etc/distq-database/password",
        }


def test_each_server_of_the_database_knows_itself_and_the_other() -> None:
    """Their script has both names in the setting that makes commits wait for the other one."""
    script = (ROOT / "deploy" / "postgresql" / "server.sh").read_text(encoding="utf-8")
    for name, other in (SERVERS, SERVERS[::-1]):
        assert SERVICES[name]["environment"] == {"SERVER": name, "PEER": other}
        assert f'\\"{name}\\"' in script


@pytest.mark.parametrize("name", [*MASTERS, *WORKERS])
def test_docker_waits_longer_than_the_drain(name: str) -> None:
    """Docker never kills a task that would end or be handed back in the drain."""
    service = SERVICES[name]
    assert seconds(service["stop_grace_period"]) > seconds(service["environment"]["DISTQ_DRAIN_S"])


SETTINGS_OF_TASKS = {"DISTQ_TASKS", "DISTQ_QUEUES", "DISTQ_PLAIN_HANDLER", "DISTQ_MAX_TASKS"}


def test_compose_leaves_an_images_own_settings() -> None:
    """A user's image names its tasks; a variable of compose.yaml would win over it."""
    assert not SETTINGS_OF_TASKS & set(SERVICES["worker"]["environment"])


@pytest.mark.engine
def test_the_tasks_of_workers_come_from_dotenv(tmp_path: Path) -> None:
    """`.env` sets modules, queues and recycling of workers; Prometheus and Grafana get none of its variables."""
    given = {"DISTQ_TASKS": "mail.tasks,reports", "DISTQ_QUEUES": "mail", "DISTQ_MAX_TASKS": "100"}
    config = services_of(tmp_path, dotenv(given))
    assert given.items() <= config["worker"]["environment"].items()
    for name in ("prometheus", "grafana"):
        assert not SETTINGS_OF_TASKS & set(config[name].get("environment") or {})


def test_the_default_number_of_workers_is_two() -> None:
    """One worker would not show that workers share the tasks."""
    assert {SERVICES[name]["deploy"]["replicas"] for name in WORKERS} == {"${WORKER_REPLICAS:-2}"}


def test_only_composes_masters_create_a_key() -> None:
    """No image has the setting, so a master outside Compose whose key is missing never creates one."""
    makers = [name for name, service in SERVICES.items() if "DISTQ_AUTHKEY_CREATE" in service.get("environment", {})]
    assert makers == [*MASTERS]
    assert "AUTHKEY_CREATE" not in (ROOT / "images" / "Dockerfile").read_text(encoding="utf-8")


def test_only_distqs_containers_mount_the_key() -> None:
    """Prometheus, Grafana and the database cannot read it, and only masters can write it."""
    mounts = {
        name: [line for line in service.get("volumes", []) if "AUTHKEY" in line] for name, service in SERVICES.items()
    }
    assert {name for name, lines in mounts.items() if lines} == {*MASTERS, *WORKERS, *CLIENTS}
    assert all(lines[0].endswith(":ro") for name, lines in mounts.items() if lines and name not in MASTERS)


def test_grafana_lets_everyone_read_without_a_login() -> None:
    """Anonymous users can view, and there is no admin with a default password."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]


def test_grafana_finds_the_mounted_files() -> None:
    """Datasource, dashboard folder and home dashboard have the paths of the volumes."""
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
    """Package, images, compose.yaml, chart and the example of a user's image agree."""
    lines_by_path = {
        "src/distq/_version.py": '__version__ = "{}"',
        "images/Dockerfile": "ARG VERSION={}",
        "helm/Chart.yaml": "appVersion: {}",
        "docker-bake.hcl": '  default = "{}"',
        "examples/own-tasks/Dockerfile": "FROM distq-worker:{}",
    }
    for path, line in lines_by_path.items():
        assert line.format(VERSION) in (ROOT / path).read_text(encoding="utf-8").splitlines(), path
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["annotations"]
    images = {image["image"] for image in yaml.safe_load(annotations["artifacthub.io/images"])}
    assert images == {f"distq-master:{VERSION}", f"distq-worker:{VERSION}"}
    built = {service["image"] for service in SERVICES.values() if service["image"].startswith("distq-")}
    parts = ("master", "master-postgresql", "worker")
    assert built == {f"distq-{part}:{VERSION}{VARIANT}" for part in parts}


def test_one_default_base_is_written_everywhere() -> None:
    """Dockerfile and docker-bake.hcl name it, the page on Pythons explains it; Compose leaves it to the Dockerfile."""
    texts_by_path = {
        "images/Dockerfile": f"ARG BASE={BASE_IMAGE}\n",
        "docker-bake.hcl": f'variable "BASE" {{\n  default = "{BASE_IMAGE}"\n',
        "docs/reference/pythons.md": f"`{BASE_IMAGE}`",
    }
    for path, text in texts_by_path.items():
        assert text in (ROOT / path).read_text(encoding="utf-8"), path
    for part in (*MASTERS, *WORKERS):
        assert SERVICES[part]["build"]["args"] == ["BASE", "BUILD_BASE", "VARIANT"]


@pytest.mark.engine
@pytest.mark.parametrize("value", [None, "registry.example/python:3.15"])
def test_a_base_in_dotenv_is_a_build_argument(tmp_path: Path, value: str | None) -> None:
    """BASE in `.env` is the build argument of master and worker; without it, there is none."""
    given = {"BASE": value} if value else {}
    config = services_of(tmp_path, dotenv(given))
    for part in ("master", "worker"):
        assert config[part]["build"].get("args", {}) == given


@pytest.mark.engine
@pytest.mark.parametrize("extra", [None, "mounted", "image"])
def test_compose_reads_its_files_without_a_warning(extra: str | None) -> None:
    """`docker compose config -q` is silent, with the examples' files too."""
    files = ["-f", "compose.yaml", *(["-f", f"examples/own-tasks/{extra}.yaml"] if extra else [])]
    assert compose(*files, "config", "--quiet") == ""


@pytest.mark.engine
def test_a_hosts_settings_do_not_change_composes_master(tmp_path: Path) -> None:
    """Compose's master has its own ports and volume, also if `.env` has the settings of a master on the host."""
    given = {
        "DISTQ_STORE": "sqlite:///distq.db",
        "DISTQ_BIND": "127.0.0.1:7000",
        "DISTQ_ADDRESS": "127.0.0.1:7000",
        "DISTQ_HTTP_ADDRESS": "127.0.0.1:7001",
    }
    for addition, store in [("", "sqlite:////var/lib/distq/queue.db"), ("MASTER_STORE=memory:\n", "memory:")]:
        found = read_by_compose(tmp_path, addition + dotenv(given))
        assert found["DISTQ_STORE"] == store
        assert (found["DISTQ_BIND"], found["DISTQ_ADDRESS"]) == ("0.0.0.0:9000", "master:9000")
        assert found["DISTQ_HTTP_ADDRESS"] == "0.0.0.0:9001"


def dotenv(variables: dict[str, str]) -> str:
    """Return the text of a `.env` with these variables."""
    return "".join(f"{name}={text}\n" for name, text in variables.items())


def services_of(folder: Path, text: str) -> dict[str, Any]:
    """Return the services that Compose reads from compose.yaml with this `.env`."""
    (folder / ".env").write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "compose.yaml", folder)
    config = json.loads(compose("--project-directory", str(folder), "config", "--format", "json"))
    return dict(config["services"])


def read_by_compose(folder: Path, text: str) -> dict[str, str]:
    """Return the environment of Compose's master with this `.env`."""
    environment = services_of(folder, text)["master"]["environment"]
    # Compose prints a valid Compose file, in which $ is written $$.
    return {name: value.replace("$$", "$") for name, value in environment.items()}


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
def test_single_quotes_have_one_meaning_on_a_host_and_in_compose(tmp_path: Path) -> None:
    """Distq and Compose read a value in single quotes unchanged, as .env.example and the reference state."""
    lines = "".join(f"DISTQ_LABELS_{number}='{text}'\n" for number, text in enumerate(AWKWARD))
    read_in_compose = read_by_compose(tmp_path, lines)
    read_on_the_host = read_dotenv(tmp_path / ".env", "DISTQ_").variables
    expected = {f"DISTQ_LABELS_{number}": text for number, text in enumerate(AWKWARD)}
    assert {name: read_in_compose[name] for name in expected} == expected
    assert read_on_the_host == expected


@pytest.mark.engine
@pytest.mark.parametrize(("folder", "cert"), [("", ""), ("./certificates", "/etc/distq-tls/master.crt")])
def test_a_folder_of_certificates_switches_tls_on(tmp_path: Path, folder: str, cert: str) -> None:
    """Paths of a host's `.env` are never used in a container; without TLS_FOLDER no container has TLS."""
    given = {"DISTQ_TLS_CERT": "/home/me/master.crt", "DISTQ_TLS_KEY": "/home/me/master.key", "TLS_FOLDER": folder}
    services = services_of(tmp_path, dotenv(given))
    for name in ("master", "worker"):
        environment = services[name]["environment"]
        assert environment["DISTQ_TLS_CERT"] == cert
        assert environment["DISTQ_TLS_CA"] == (cert and "/etc/distq-tls/ca.crt")
        assert environment["DISTQ_HTTP_TLS"] == "1"
        (mount,) = [one for one in services[name]["volumes"] if one["target"] == "/etc/distq-tls"]
        assert mount["read_only"] is True
        assert mount["source"] == (str(tmp_path / "certificates") if folder else "tls")
    (mount,) = [one for one in services["prometheus"]["volumes"] if one["target"].startswith("/etc/distq-tls")]
    assert mount["source"] == (str(tmp_path / "certificates" / "ca.crt") if folder else "tls")
    assert mount["read_only"] is True
    configuration = "prometheus-tls.yml" if folder else "prometheus.yml"
    assert f"--config.file=/etc/prometheus/{configuration}" in services["prometheus"]["command"]


@pytest.mark.engine
@pytest.mark.parametrize(("folder", "path"), [("", ""), ("./role-keys", "/etc/distq-keys")])
def test_a_folder_of_keys_with_roles_is_for_the_master_alone(tmp_path: Path, folder: str, path: str) -> None:
    """The path of a host's `.env` is never used in a container."""
    services = services_of(tmp_path, dotenv({"DISTQ_KEYS_PATH": "/home/me/keys", "KEYS_FOLDER": folder}))
    assert services["master"]["environment"]["DISTQ_KEYS_PATH"] == path
    (mount,) = [one for one in services["master"]["volumes"] if one["target"] == "/etc/distq-keys"]
    assert mount["read_only"] is True
    assert mount["source"] == (str(tmp_path / "role-keys") if folder else "keys")
    for name, service in services.items():
        others = [one["target"] for one in service.get("volumes", [])] if name != "master" else []
        assert "/etc/distq-keys" not in others


def test_only_distqs_containers_mount_the_certificates() -> None:
    """They are the containers whose settings name the files."""
    mounts = {
        name for name, one in SERVICES.items() if "${TLS_FOLDER:-tls}:/etc/distq-tls:ro" in one.get("volumes", [])
    }
    assert mounts == {name for name, one in SERVICES.items() if "DISTQ_TLS_CERT" in one.get("environment", {})}
    assert mounts == {*MASTERS, *WORKERS, *CLIENTS}
