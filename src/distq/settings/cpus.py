"""Counts the CPUs that this process may use, within its affinity and its control group."""

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def available_cpus(root: Path = CGROUP_ROOT) -> int:
    """Return the number of CPUs that this process may use, rounded up: 1 for half a CPU, 3 for 2.5."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota_cpus(root)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _quota_cpus(root: Path) -> float | None:
    """Return the control group's limit in CPUs (version 2, then version 1), None without one."""
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
