"""How many CPUs this process may use: what its affinity and its control group allow."""

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def available_cpus(root: Path = CGROUP_ROOT) -> int:
    """The number of CPUs that this process may keep busy, at least 1.

    A container with half a CPU counts as one; one with 2.5 counts as three.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota_cpus(root)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _quota_cpus(root: Path) -> float | None:
    """The control group's limit in CPUs (version 2, then version 1), or None where there is none."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None  # "max" in version 2, -1 in version 1: no limit
    return int(quota) / int(period)
