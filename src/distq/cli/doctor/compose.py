"""The checks of a Compose project: its file, its `.env`, and the users of its images."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from distq.cli.doctor.facts import SecretFile
from distq.cli.doctor.keys import env_file_found
from distq.cli.doctor.model import OK, PROBLEM, UNKNOWN, Check, Found, listed
from distq.cli.doctor.programs import json_of, output_of
from distq.core.plurals import counted

FILES: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""The names for which `docker compose` looks, the first one that exists."""
SECRETS: Final = ("DISTQ_AUTHKEY", "DISTQ_HTTP_TOKEN", "DISTQ_SIGNING_KEY", "DISTQ_ENCRYPTION_KEY")
"""The settings whose value is a secret."""
_LITERAL: Final = re.compile(rf"^[\s-]*[\"']?({'|'.join(SECRETS)})[\"']?\s*[:=]\s*+[\"']?+(?!\$|[\"'#]|\s*$)")
"""A line that gives a secret a value of its own, and not that of a variable."""
_ASSIGNED: Final = re.compile(rf"^\s*(?:export\s+)?({'|'.join(SECRETS)})\s*=\s*[\"']?[^\s\"'#]")
ROOT_USERS: Final = frozenset({"", "0", "root"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of a Compose project."""

    name: str
    ports: tuple[tuple[str, str], ...]
    """Host address and port of each published port; '' as the address for all of them."""
    read_only: bool
    drops_all: bool
    """Whether it drops all capabilities, and can gain none."""
    user: str | None
    """The user as which it runs; '' for root, None if it is the image's and the image is not here."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ComposeFacts:
    """What `docker compose config` and the files say."""

    services: tuple[Service, ...]
    literal_keys: tuple[str, ...]
    """Place and setting of each secret that a Compose file has in plain text."""
    env_file: SecretFile | None


def compose_facts(file: str) -> ComposeFacts:
    """Ask `docker compose` about a file, '' for the project of the current folder. Raises CannotCheck."""
    chosen = (f"--file={file}",) if file else ()
    config = json_of("docker", "compose", *chosen, "--profile=*", "config", "--format=json")
    services: Mapping[str, Any] = config.get("services") or {}
    users = _users_of_images(fields.get("image", "") for fields in services.values())
    folder = Path(file).parent if file else Path()
    return ComposeFacts(
        services=tuple(_service(name, fields, users) for name, fields in services.items()),
        literal_keys=tuple(found for path in _texts(file) for found in literal_keys(path)),
        env_file=_env_file(folder / ".env"),
    )


def _service(name: str, fields: Mapping[str, Any], users: Mapping[str, str]) -> Service:
    options = fields.get("security_opt") or ()
    return Service(
        name=name,
        ports=tuple(
            (str(port.get("host_ip", "")), str(port["published"]))
            for port in fields.get("ports") or ()
            if port.get("published")
        ),
        read_only=fields.get("read_only") is True,
        drops_all="ALL" in (fields.get("cap_drop") or ())
        and not fields.get("privileged")
        and any(option in ("no-new-privileges:true", "no-new-privileges") for option in options),
        user=str(fields["user"]) if fields.get("user") else users.get(fields.get("image", "")),
    )


def _users_of_images(images: Iterable[str]) -> dict[str, str]:
    """The user of each image that the engine has."""
    wanted = sorted({image for image in images if image})
    if not wanted:
        return {}
    # It fails if it lacks one of the images, and prints the others all the same.
    template = "{{range .RepoTags}}{{.}} {{end}}|{{.Config.User}}"
    printed = output_of("docker", "image", "inspect", "--format", template, *wanted, may_fail=True)
    rows = [line.rpartition("|") for line in printed.splitlines()]
    return {tag: user for tags, separator, user in rows if separator for tag in tags.split()}


def _texts(file: str) -> list[Path]:
    if file:
        return [Path(file)]
    if named := os.environ.get("COMPOSE_FILE"):
        return [Path(name) for name in named.split(os.environ.get("COMPOSE_PATH_SEPARATOR", ":"))]
    first = next((Path(name) for name in FILES if Path(name).is_file()), None)
    if first is None:
        return []
    override = first.with_name(f"{first.stem}.override{first.suffix}")
    return [first, override] if override.is_file() else [first]


def literal_keys(path: Path) -> list[str]:
    """Return the places in a file at which a secret has a value in plain text, without the value."""
    lines: list[str] = []
    with suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = ((number, _LITERAL.match(line)) for number, line in enumerate(lines, 1))
    return [f"{path}, line {number} ({match[1]})" for number, match in found if match]


def _env_file(path: Path) -> SecretFile | None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    secret = next((match[1] for line in lines if (match := _ASSIGNED.match(line))), "")
    return SecretFile(setting=secret, path=str(path), mode=mode)


def _ports(facts: ComposeFacts) -> Found:
    ports = [(service.name, *port) for service in facts.services for port in service.ports]
    outside = [
        f"{name} at {host or 'all addresses'}, port {port}" for name, host, port in ports if not _is_loopback(host)
    ]
    if outside:
        return Found(PROBLEM, f"Other machines reach these published ports: {listed(outside)}.")
    return Found(OK, f"Only this machine reaches the {counted(len(ports), 'published port')}.")


def _is_loopback(host: str) -> bool:
    return host in ("::1", "localhost") or host.startswith("127.")


def _all(holds: Callable[[Service], bool], good: str, bad: str) -> Callable[[ComposeFacts], Found]:
    """Make a judgement that all services have a property; `bad` ends in their names."""

    def judge(facts: ComposeFacts) -> Found:
        wrong = [service.name for service in facts.services if not holds(service)]
        return Found(PROBLEM, f"{bad} {listed(wrong)}.") if wrong else Found(OK, good)

    return judge


def _user(facts: ComposeFacts) -> Found:
    root = [service.name for service in facts.services if service.user is not None and _is_root(service.user)]
    if root:
        return Found(PROBLEM, f"These services run as root: {listed(root)}.")
    missing = [service.name for service in facts.services if service.user is None]
    if missing:
        return Found(UNKNOWN, f"The engine does not have the images of these services yet: {listed(missing)}.")
    return Found(OK, "No service runs as root.")


def _is_root(user: str) -> bool:
    return user.partition(":")[0] in ROOT_USERS


def _literal(facts: ComposeFacts) -> Found:
    if facts.literal_keys:
        return Found(PROBLEM, f"These lines have a key in plain text: {listed(facts.literal_keys)}.")
    return Found(OK, "No Compose file has a key in plain text.")


def _env(facts: ComposeFacts) -> Found:
    return env_file_found(facts.env_file)


CHECKS: Final = (
    Check(
        "compose-ports",
        "Publish ports on loopback only, or behind TLS and a firewall.",
        "Docker opens a published port past the rules of the machine's firewall.",
        'Compose: write the address in front of the port, as in "127.0.0.1:9000:9000". For other machines use TLS, and '
        "publish on the address of their network.",
        _ports,
    ),
    Check(
        "compose-read-only",
        "Keep the root of each container read-only.",
        "A program in wrong hands cannot replace the programs that run next.",
        "Compose: `read_only: true`, and `tmpfs` or volumes for what the service writes.",
        _all(lambda service: service.read_only, "Each service has a read-only root.", "These services can write it:"),
    ),
    Check(
        "compose-capabilities",
        "Drop all capabilities of each container.",
        "A capability is a part of root's rights on the machine itself.",
        "Compose: `cap_drop: [ALL]` and `security_opt: [no-new-privileges:true]`; no `privileged`.",
        _all(
            lambda service: service.drops_all,
            "Each service has no capability, and can gain none.",
            "These services have, or can gain, capabilities:",
        ),
    ),
    Check(
        "compose-user",
        "Run no container as root.",
        "Root in a container is root on the machine if it finds a way out. The images of distq run as user 65532.",
        'Compose: `user: "65532:65532"`, or an image with a user.',
        _user,
    ),
    Check(
        "compose-keys",
        "Keep keys out of Compose files, which are copied and committed.",
        "Each reader of the file can do what the key allows.",
        "Compose: let the master make its key in a volume, or write the variable `${DISTQ_AUTHKEY:-}` and set it in "
        ".env.",
        _literal,
    ),
    Check(
        "compose-env-file",
        "Keep the `.env` of a Compose project readable for its user alone if it has a key.",
        "Another user of the machine who reads a key can do what the key allows.",
        "`chmod 600 .env`",
        _env,
    ),
)
