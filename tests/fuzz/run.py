"""Fuzzes the readers of the master: `python -m tests.fuzz.run SECONDS [TARGET...]`; the targets share the seconds.

Each target runs in a process of its own, in which atheris changes inputs and keeps those that reach other lines. An
input that takes more than a minute, or a process above 1 GiB, counts as a failure, too. What was found stays in
`.venv/fuzz/TARGET` for the next run, and an input that fails in `.venv/fuzz/failures`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS
from tests.tidy.tree import ROOT

WORK: Final = ROOT / ".venv" / "fuzz"
INPUT_S: Final = 60
"""Maximum seconds for one input. Most take less than a thousandth of one, but a machine with other work may stop."""
RSS_MB_MAX: Final = 1024
INPUT_BYTES_MAX: Final = 4096
LINES_SHOWN: Final = 40
_STATISTIC: Final = re.compile(rb"stat::(\w+):\s+(\d+)")


def fuzz(target: str, seconds: float) -> tuple[int, int, bool]:
    """Fuzz one target; return the number of inputs, the highest resident memory in MB, and whether all went well."""
    found, failures = WORK / target, WORK / "failures"
    found.mkdir(parents=True, exist_ok=True)
    failures.mkdir(exist_ok=True)
    for seed in seeds_of(target):
        (found / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    options = (
        f"-max_total_time={max(int(seconds), 1)}",
        f"-timeout={INPUT_S}",
        f"-rss_limit_mb={RSS_MB_MAX}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={failures}/{target}-",
        "-print_final_stats=1",
    )
    command = [sys.executable, "-m", "tests.fuzz.instrumented", target, *options, str(found)]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    statistics = {name: int(number) for name, number in _STATISTIC.findall(done.stdout)}
    if done.returncode:
        sys.stdout.write(b"\n".join(done.stdout.splitlines()[-LINES_SHOWN:]).decode(errors="replace") + "\n")
    inputs, peak_mb = statistics.get(b"number_of_executed_units", 0), statistics.get(b"peak_rss_mb", 0)
    return inputs, peak_mb, not done.returncode and inputs > 0


def main(seconds: float, targets: list[str]) -> int:
    """Fuzz the targets one after the other; print a line for each, and return the exit code."""
    total, failed = 0, []
    for target in targets:
        inputs, peak_mb, went_well = fuzz(target, seconds / len(targets))
        total += inputs
        failed += [] if went_well else [target]
        print(f"{target:12} {inputs:12,} inputs  {peak_mb:5} MB  {'ok' if went_well else 'FAILED'}", flush=True)
    print(f"{'total':12} {total:12,} inputs")
    if failed:
        print(f"The inputs that failed are in {(WORK / 'failures').relative_to(Path.cwd())}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:] or list(TARGETS)))
