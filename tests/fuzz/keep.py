"""Chooses the inputs that `corpus/` keeps: `python -m tests.fuzz.keep [TARGET...]`, after a long run of the fuzzer.

They are the shortest of those in `.venv/fuzz` that together take every step from line to line that all of them take.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from types import FrameType
from typing import Any

from tests.fuzz.run import WORK
from tests.fuzz.seeds import CORPUS, seeds_of
from tests.fuzz.targets import PICKLES, TARGETS

Steps = set[tuple[str, int, int]]


def steps_of(target: str, data: bytes) -> Steps:
    """Return the steps from line to line that an input makes distq take."""
    taken: Steps = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name, last = frame.f_code.co_filename, 0
        if "/distq/" not in name:
            return None

        def note(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                taken.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return note

        return note if event == "call" else None

    sys.settrace(trace)
    try:
        TARGETS[target](data)
    finally:
        sys.settrace(None)
    return taken


def keep(target: str) -> int:
    """Replace the folder of a target; return the number of inputs that it keeps."""
    folder = CORPUS / target
    shutil.rmtree(folder, ignore_errors=True)
    known: Steps = set().union(*(steps_of(target, seed) for seed in seeds_of(target)))
    found = sorted((path.read_bytes() for path in (WORK / target).iterdir()), key=lambda data: (len(data), data))
    kept = 0
    for data in found:
        steps = steps_of(target, data)
        if steps - known:
            known |= steps
            folder.mkdir(parents=True, exist_ok=True)
            (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]).write_bytes(data)
            kept += 1
    return kept


if __name__ == "__main__":
    for name in sys.argv[1:] or [name for name in TARGETS if name not in PICKLES]:
        print(f"{name:12} {keep(name):4} inputs kept")
