"""Executors with a set-up, a memory limit, devices and labels; coroutine functions.

Needs a worker of `prepared` with two executors, DISTQ_MAX_RSS=150MB, DISTQ_DEVICES=0,1 and DISTQ_LABELS=gpu. Set
PREPARED_NOTES to the path of a file, for the worker and for this program.
"""

import os
import sys
import time
from pathlib import Path

import prepared

import distq


def main() -> int:
    """Show what executors can do."""
    notes = Path(os.environ["PREPARED_NOTES"])
    with distq.Client() as client:
        print(
            "predicted:", [future.result(30) for future in (client.submit(prepared.predict, "ann") for _ in range(9))]
        )
        print("set up, once an executor:", 1 <= notes.read_text().splitlines().count("set up") <= 2)
        print("a coroutine function:", client.submit(prepared.fetch, "a page").result(30))
        devices = {client.submit(prepared.device) for _ in range(8)}
        print("devices:", *sorted({str(future.result(30)) for future in devices}))
        print("requires a label:", client.submit(prepared.train).result(30))

        swollen = client.submit(prepared.greedy).result(30)
        while "torn down" not in notes.read_text():
            time.sleep(0.05)
        others = {client.submit(prepared.process_id).result(30) for _ in range(20)}
        print("the executor that had too much memory is gone:", swollen not in others)
    return 0


if __name__ == "__main__":
    sys.exit(main())
