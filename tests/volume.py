"""A small volume in memory, to be filled."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_volume(folder: Path, mib: int) -> Iterator[Path]:
    """A new volume of the given size below the folder; needs root."""
    volume = folder / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "distq-test", volume], check=True)
    try:
        yield volume
    finally:
        subprocess.run(["umount", "--lazy", volume], check=True)
