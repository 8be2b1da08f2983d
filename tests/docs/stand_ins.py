"""Programs that the commands of the pages call and that would need an engine, a cluster or an index.

`python stand_ins.py PROGRAM ARGUMENTS` checks the arguments against what the repository has, and with the parsers of
the real docker and helm; it renders the chart for `helm install` and `helm upgrade`, and runs on this machine what the
command would run in a container.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NoReturn

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent.parent
NOWHERE: Final = {"DOCKER_HOST": "unix:///nonexistent", "KUBECONFIG": "/nonexistent"}
"""No stand-in reaches an engine or a cluster."""
TAKES_VALUE: Final = {
    "-f",
    "--profile",
    "--scale",
    "--entrypoint",
    "--volume",
    "--file",
    "--target",
    "--build-arg",
    "-t",
    "--secret",
}
NOT_RENDERED: Final = {"--wait", "--reuse-values"}
"""Options of `helm install` and `helm upgrade` that `helm template` lacks."""
OF_HELM_4: Final = "--force-conflicts"
"""An option that Helm 3 lacks; tests/kit/test_helm4.py has Helm 4."""


def fail(sentence: str) -> NoReturn:
    """End with the sentence."""
    sys.exit(f"stand-in: {sentence}")


def expect(found: object, sentence: str) -> None:
    """End with the sentence unless something was found."""
    if not found:
        fail(sentence)


def real(program: str, *arguments: str) -> str:
    """Return the output of the real program, without an engine and a cluster."""
    there = shutil.which(program)
    if there is None:
        fail(f"{program} is not installed")
    done = subprocess.run(
        [there, *arguments], env={**os.environ, **NOWHERE}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        fail(f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the leading options with their values, and the rest."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 2 if arguments[index] in TAKES_VALUE else 1
    return arguments[:index], arguments[index:]


def values(options: list[str], name: str) -> list[str]:
    """Return the values of an option."""
    return [options[index + 1] for index, option in enumerate(options) if option == name]


def compose(arguments: list[str]) -> None:
    """Check a command of Compose; `exec` runs the command on this machine."""
    common, rest = split(arguments)
    options, rest = split(rest[1:]) if rest else fail("no command of Compose")
    command = arguments[len(common)]
    real("docker", "compose", *common, command, *options, "--help")
    services = json.loads(real("docker", "compose", "--profile", "*", *common, "config", "--format", "json"))[
        "services"
    ]
    named = rest[:1] if command in {"exec", "run"} else rest
    expect(set(named) <= services.keys(), f"no service {named}")
    if command == "exec" and rest[1:3] == ["sh", "/server.sh"]:
        script = (ROOT / "deploy/postgresql/server.sh").read_text(encoding="utf-8")
        labels = " ".join(re.findall(r"^    ([a-z |]+)\)", script, re.MULTILINE))
        expect(rest[3] in re.findall("[a-z]+", labels), f"server.sh has no command {rest[3]}")
    elif command == "exec":
        os.execvp(rest[1], rest[1:])
    if command == "run" and values(options, "--entrypoint") == ["python"]:
        expect(rest[1] == "-c", "python -c CODE")
        compile(rest[2], "<run>", "exec")
    if command == "logs":  # one line of every event that the reference lists
        print("\n".join(re.findall(r"^\| `(\w+)`", (ROOT / "docs/reference/logs.md").read_text(), re.MULTILINE)))


def docker(arguments: list[str]) -> None:
    """Check a command of docker: Compose, `buildx bake`, `build`, or `volume rm` of a volume of compose.yaml."""
    if arguments[0] == "compose":
        return compose(arguments[1:])
    if arguments[:2] == ["volume", "rm"]:
        volumes = json.loads(real("docker", "compose", "--profile", "*", "config", "--format", "json"))["volumes"]
        names = {volume["name"] for volume in volumes.values()}
        return expect({*arguments[2:]} <= names, f"compose.yaml has only the volumes {sorted(names)}")
    if arguments[:2] == ["buildx", "bake"]:
        rest = [argument for argument in arguments[2:] if argument != "--push"]
        expect(json.loads(real("docker", "buildx", "bake", "--print", *rest))["target"], "no target")
        return None
    expect(arguments[0] == "build", f"no stand-in for docker {arguments[0]}")
    options, folders = split(arguments[1:])
    real("docker", "build", *options, "--help")
    (folder,) = folders
    file = Path(*values(options, "-f") or [f"{folder}/Dockerfile"])
    content = file.read_text(encoding="utf-8")
    for target in values(options, "--target"):
        expect(re.search(rf"^FROM .* AS {target}$", content, re.MULTILINE), f"{file} has no target {target}")
    for argument in values(options, "--build-arg"):
        name = argument.partition("=")[0]
        expect(re.search(rf"^ARG {name}\b", content, re.MULTILINE), f"{file} has no ARG {name}")
    return None


def helm(arguments: list[str]) -> None:
    """Render the chart as `install` and `upgrade` would, with their values; check the options of other commands."""
    arguments = [argument for argument in arguments if argument != OF_HELM_4]
    real("helm", *arguments, "--help")
    if arguments[0] in {"install", "upgrade"}:
        rest = [argument for argument in arguments[1:] if argument not in NOT_RENDERED]
        expect(real("helm", "template", *rest), "it renders nothing")
    else:
        expect(arguments[0] in {"test", "rollback"}, f"no stand-in for helm {arguments[0]}")


def kubectl(arguments: list[str]) -> None:
    """Check that the object is one of the chart; `exec` runs the command on this machine."""
    rendered = [found for found in yaml.safe_load_all(real("helm", "template", "distq", "helm")) if found]
    names = {(found["kind"].lower(), found["metadata"]["name"]) for found in rendered}
    match arguments:
        case ["exec", pod, "--", *command]:
            expect(("statefulset", pod.removesuffix("-0")) in names, f"the chart has no pod {pod}")
            os.execvp(command[0], command)
        case ["debug", "--stdin", "--tty", pod, "--image", _, "--target", container]:
            expect(("statefulset", pod.removesuffix("-0")) in names, f"the chart has no pod {pod}")
            expect(container == "master", f"the pod has no container {container}")
        case ["scale", "statefulset", name, "--replicas", count]:
            expect(("statefulset", name) in names, f"the chart has no StatefulSet {name}")
            expect(count.isdigit(), f"--replicas {count}")
        case ["create", "secret", "generic", _, *sources] | ["create", "configmap", _, *sources]:
            expect(sources, "nothing to create it from")
            for source in sources:
                option, _, value = source.partition("=")
                if option == "--from-file":
                    expect(Path(value).is_file(), f"no file {value}")
                else:
                    key, _, content = value.partition("=")
                    expect(option == "--from-literal" and key and content, f"not understood: {source}")
        case _:
            fail(f"no stand-in for kubectl {arguments}")


def pip(arguments: list[str]) -> None:
    """Check that the packages exist: the extras of distq are in pyproject.toml, others are installed here."""
    expect(arguments[0] == "install", f"no stand-in for pip {arguments[0]}")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for requirement in arguments[1:]:
        found = re.fullmatch(r"([a-z]+)(?:\[([a-z]+)\])?", requirement)
        expect(found, f"{requirement} is no package")
        assert found
        if found[2]:
            expect(found[1] == "distq" and found[2] in extras, f"distq has no extra {found[2]}")
        try:
            distribution(found[1])
        except PackageNotFoundError:
            fail(f"{found[1]} is not installed here")


def make(arguments: list[str]) -> None:
    """Let make read the targets and variables, and print what it would run."""
    expect(real("make", "--dry-run", *arguments), "it would run nothing")


def jq(arguments: list[str]) -> None:
    """Print the part of the standard input's JSON that a path such as `.overview.tasks` names."""
    found = json.load(sys.stdin)
    for name in arguments[0].strip(".").split("."):
        found = found[name]
    print(json.dumps(found))


def sudo(arguments: list[str]) -> None:
    """Run a command as root; a user who is not root gets its options checked."""
    if os.geteuid():
        expect(real(arguments[0], "--help"), f"no help of {arguments[0]}")
    else:
        real(*arguments)


PROGRAMS: Final[dict[str, Callable[[list[str]], None]]] = {
    stand_in.__name__: stand_in for stand_in in (docker, helm, kubectl, pip, make, jq, sudo)
}


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
