"""Counts the instructions of each scenario under callgrind, and compares them with the budget: `make budget`.

    python -m benchmarks.budget [--update]

Seconds vary by a third on a shared machine, and instructions hardly at all, so that CI can compare them. A figure is
the ratio of a scenario's instructions to those of the reference, a program without distq that is counted in the same
run. So it does not depend on the processor, and little on how Python was built. `budget.json` has the ratios by build
of Python: the same build must be within TOLERANCE of them. A build that is not in the file is compared with the build
of the nearest version, with a tolerance as large as the differences between builds.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.budget.scenarios import REFERENCE, SCENARIOS
from benchmarks.measure import show

ROOT: Final = Path(__file__).parent.parent.parent
BUDGET: Final = Path(__file__).with_name("budget.json")
TOLERANCE: Final = 0.03
"""How much more than its budget a scenario may cost, on a build of Python that the budget has. The same sources in
folders of several names differ by up to 1.5 percent, as objects then have other addresses."""
TOLERANCE_OF_OTHERS: Final = 0.2
"""The same on another build: four builds of CPython 3.11 to 3.13 differ by up to 12 percent from one of them."""
COUNT_S: Final = 600.0
PLAIN_PROCESSOR: Final = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM"
"""Lets the C library copy and compare bytes by the same functions on every processor."""

Ratios = Mapping[str, float]
"""Instructions of each scenario, as a multiple of those of the reference."""


class Limits(NamedTuple):
    """What the ratios of this run are compared with."""

    build: str
    ratios: Ratios
    tolerance: float


def build() -> str:
    """Identify how this Python was built: its version, compiler, options and C library."""
    options = [str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "OPT", "CONFIGURE_CFLAGS")]
    digest = hashlib.sha256("\n".join([platform.python_compiler(), *options]).encode()).hexdigest()[:8]
    library = "-".join(platform.libc_ver())
    return f"{sys.implementation.name}-{platform.python_version()}-{platform.machine()}-{library}-{digest}"


def instructions() -> dict[str, int]:
    """Run every scenario under callgrind, and return its instructions."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("valgrind is not installed: on Debian `apt-get install valgrind` brings it.")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DISTQ_", "PYTHON"))}
    environ |= {"PYTHONHASHSEED": "0", "GLIBC_TUNABLES": PLAIN_PROCESSOR, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        callgrind = [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=getppid"]
        done = subprocess.run(
            [*callgrind, sys.executable, "-m", "benchmarks.budget.scenarios"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=COUNT_S,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"The scenarios ended with {done.returncode} under callgrind:\n{done.stderr[-4000:]}")
        dumps = [Path(f"{out}.{number}") for number in range(1, 2 * len(SCENARIOS) + 1)]
        return {name: _total(dump) for name, dump in zip(SCENARIOS, dumps[1::2], strict=True)}


def _total(dump: Path) -> int:
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE) if dump.exists() else None
    if found is None:
        raise SystemExit(
            f"callgrind has not written {dump.name}: does it know the function `getppid` of the C library?"
        )
    return int(found[1])


def ratios_of(counts: Mapping[str, int]) -> dict[str, float]:
    """Return the scenarios' multiples of the reference."""
    return {name: round(count / counts[REFERENCE], 4) for name, count in counts.items() if name != REFERENCE}


def limits(budget: Mapping[str, Ratios], own: str) -> Limits:
    """Return the budget of this build; of the build with the nearest version if the budget does not have it."""
    if own in budget:
        return Limits(own, budget[own], TOLERANCE)
    nearest = min(budget, key=lambda other: (abs(_version(other) - _version(own)), other))
    return Limits(nearest, budget[nearest], TOLERANCE_OF_OTHERS)


def _version(name: str) -> int:
    major, minor, patch = map(int, re.findall(r"\d+", name)[:3])
    return (major * 1000 + minor) * 1000 + patch


def faults(found: Ratios, allowed: Limits) -> list[str]:
    """Return a sentence for each scenario that exceeds its budget or has none."""
    sentences = []
    for name, ratio in found.items():
        budget = allowed.ratios.get(name)
        if budget is None:
            sentences.append(f"{name!r} has no budget: `make budget UPDATE=1` gives it one.")
        elif ratio > budget * (1 + allowed.tolerance):
            sentences.append(
                f"{name!r} costs {ratio:.4f} of the reference, {ratio / budget - 1:.1%} more than its budget of "
                f"{budget:.4f}; the tolerance is {allowed.tolerance:.0%}. Make it cheaper, or accept the cost with "
                "`make budget UPDATE=1`."
            )
    sentences += [
        f"{name!r} has a budget and is no scenario: `make budget UPDATE=1` removes it."
        for name in allowed.ratios
        if name not in found
    ]
    return sentences


def main(arguments: list[str]) -> int:
    """Count, print the table, and compare; or write the budget of this build."""
    budget: dict[str, dict[str, float]] = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    own, counts = build(), instructions()
    found = ratios_of(counts)
    if "--update" in arguments:
        BUDGET.write_text(json.dumps(budget | {own: found}, indent=2, sort_keys=True) + "\n")
        print(f"{BUDGET.relative_to(ROOT)} has the budget of {own}.")
        return 0
    allowed = limits(budget, own)
    rows = [
        (name, f"{counts[name] / 1e6:,.1f} M", f"{ratio:.4f}", *_compared(ratio, allowed.ratios.get(name)))
        for name, ratio in found.items()
    ]
    show(f"Instructions on {own}", rows, ("", "instructions", "ratio", "budget", "of budget"))
    if allowed.build != own:
        print(
            f"\nThe budget has no figures of this build of Python. Those of {allowed.build} apply, with a tolerance of "
            f"{allowed.tolerance:.0%}; `make budget UPDATE=1` adds this build."
        )
    sentences = faults(found, allowed)
    print("\n" + "\n".join(sentences or [f"No scenario exceeds its budget by more than {allowed.tolerance:.0%}."]))
    return 1 if sentences else 0


def _compared(ratio: float, budget: float | None) -> tuple[str, str]:
    return ("-", "-") if budget is None else (f"{budget:.4f}", f"{ratio / budget:.3f} x")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
