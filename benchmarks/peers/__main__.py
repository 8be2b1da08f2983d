"""Measures the systems in turn, prints the settings and the medians, and writes JSON and a plot: `make bench-peers`.

    python -m benchmarks.peers [--rounds N] [--to FOLDER] [NAME ...]

Each measurement is a process of its own, with new servers and workers. A round measures every system once, and the
next round begins with another system, so that a change of the machine's load reaches all of them. A system that cannot
run is in the table with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from tests.storage.postgresql.server import binaries, server_in, short_folder

from benchmarks.measure import show
from benchmarks.peers.plot import drawn
from benchmarks.peers.system import ROOT, number_text

SYSTEMS: Final = (
    "distq_memory",
    "distq_durable",
    "recipe",
    "process_pool_executor",
    "multiprocessing_pool",
    "mpi4py_futures",
    "huey_redis",
    "dramatiq_redis",
    "celery_redis",
    "rq_redis",
    "taskiq_streams",
    "procrastinate_postgresql",
    "dask_distributed",
    "ray_core",
    "ipyparallel_engines",
)
STANDARD: Final = SYSTEMS[:5]
"""The systems that run in this project's environment; the others run in that of the peers."""
LAUNCHERS: Final = {"mpi4py_futures": (("mpiexec", "--oversubscribe", "-n", "3"), ("-m", "mpi4py.futures"))}
"""What stands before and behind the interpreter of a measurement."""
ALLOWED: Final = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
"""Lets mpiexec run in a container as root."""
PEERS_PYTHON: Final = ROOT / ".venv" / "peers" / "bin" / "python"
MEASURE_S: Final = 180.0
"""Maximum seconds of one measurement of one system."""
CLIENT_HOLDS: Final = {
    "process_pool_executor",
    "multiprocessing_pool",
    "mpi4py_futures",
    "ray_core",
    "ipyparallel_engines",
    "procrastinate_postgresql",
}
"""Systems without a process of their own that keeps queued tasks in memory: the client does, or a disk."""
UNITS: Final = {
    "tasks_per_s": "no-op, tasks/s",
    "p50_ms": "round trip p50, ms",
    "p99_ms": "p99, ms",
    "mb_per_s": "100 kB in and out, MB/s",
    "start_s": "start, s",
    "held_bytes": "bytes a queued task",
}
"""The figures of the table, and what each is."""

Found = dict[str, dict[str, Any]]
"""What is known of each system: its title, its settings, its figures of each round, or why it has none."""


def measured(name: str, *options: str, **environ: str) -> dict[str, Any]:
    """Run one measurement; the answer has `failed`, a reason, instead of figures if it did not end well."""
    python = sys.executable if name in STANDARD else str(PEERS_PYTHON)
    with tempfile.TemporaryDirectory() as logs:
        path = f"{Path(python).parent}:{os.environ['PATH']}"
        env = {**os.environ, **environ, **ALLOWED, "PATH": path, "PYTHONPATH": str(ROOT), "PEERS_LOGS": logs}
        before, behind = LAUNCHERS.get(name, ((), ()))
        command = [*before, python, *behind, "-m", "benchmarks.peers.measure", name, *options]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as child:
            try:
                output, errors = child.communicate(timeout=MEASURE_S)
            except subprocess.TimeoutExpired:
                return {"failed": f"It had not ended after {MEASURE_S:.0f} s."}
            finally:
                end_group(child.pid)
    lines = [line for line in output.splitlines() if line.startswith('{"title"')]
    if child.returncode or not lines:
        reason = errors.strip().splitlines() or [f"It ended with {child.returncode}."]
        return {"failed": reason[-1].strip()[:300]}
    answer: dict[str, Any] = json.loads(lines[-1])
    answer["figures"]["load"] = os.getloadavg()[0]  # says whether other programs have used the processors, too
    return answer


def end_group(pid: int) -> None:
    """Kill what a measurement has left running; its processes are a group."""
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        pass


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """Run a PostgreSQL server, if one is installed; yield the environment variable with its address."""
    if binaries() is None:
        yield {}
        return
    with short_folder() as folder, server_in(folder, "shared_buffers=128MB", "max_wal_size=4GB") as server:
        yield {"PEERS_POSTGRESQL": server.conninfo}


def run(names: Sequence[str], rounds: int) -> Found:
    """Measure all systems in turn."""
    found: Found = {name: {"title": name, "settings": "", "rounds": []} for name in names}
    with database() as environ:
        for number in range(rounds + 1):
            start = number * 4 % len(names)
            for name in (*names[start:], *names[:start]):
                of_name = found[name]
                if "failed" in of_name or (number == rounds and name in CLIENT_HOLDS):
                    continue
                answer = measured(name, *(("--held",) if number == rounds else ()), **environ)
                print(
                    f"{'held' if number == rounds else f'round {number + 1}'}: {name}: {answer.get('failed', 'done')}"
                )
                if "failed" not in answer:
                    of_name |= {"title": answer["title"], "settings": answer["settings"]}
                    of_name["rounds"].append(answer["figures"])
                elif number < rounds:
                    of_name["failed"] = answer["failed"]
                else:
                    of_name["held"] = answer["failed"]
    return found


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds that have it."""
    names = {name for figures in rounds for name in figures}
    return {name: statistics.median(figures[name] for figures in rounds if name in figures) for name in sorted(names)}


def versions() -> dict[str, str]:
    """Return the version of each package of the peers that this module's systems use, from the lock file."""
    lock = (Path(__file__).parent / "requirements.lock").read_text(encoding="utf-8")
    wanted = (Path(__file__).parent / "requirements.in").read_text(encoding="utf-8")
    names = {line.partition("[")[0].strip() for line in wanted.splitlines() if line and not line.startswith("#")}
    pins = [line.partition("==") for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    return {name: version.split()[0] for name, _, version in pins if name.partition("[")[0] in names} | {
        "distq": metadata.version("distq"),
        "python": platform.python_version(),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("names", nargs="*", default=SYSTEMS, metavar="NAME")
    given = parser.parse_args()
    found = run(given.names, given.rounds)
    rows = []
    for of_name in found.values():
        of_name["medians"] = figures = medians(of_name["rounds"])
        rows.append((of_name["title"], *(number_text(figures.get(unit)) for unit in UNITS)))
    show(f"Two workers each, medians of {given.rounds} rounds", rows, ("", *UNITS.values()))
    print("\nSettings:")
    for of_name in found.values():
        print(f"  {of_name['title']}: {of_name['settings'] or of_name['failed']}")
        if "failed" in of_name:
            print(f"    It could not run to the end: {of_name['failed']}")
    given.to.mkdir(parents=True, exist_ok=True)
    result = {"versions": versions(), "units": UNITS, "rounds": given.rounds, "systems": found}
    (given.to / "peers.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (given.to / "peers.svg").write_text(drawn(result), encoding="utf-8")
    print(f"\n{given.to}/peers.json has every round, {given.to}/peers.svg the plot.")


if __name__ == "__main__":
    main()
