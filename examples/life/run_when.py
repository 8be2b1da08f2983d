"""Delay, expiry and priority. Needs a worker of `when` with one executor."""

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import when

import distq


def main() -> int:
    """Show delay, expiry and priority."""
    with distq.Client() as client:
        now = time.monotonic()
        later = client.options(delay=1.5).submit(when.waited, now)
        at = client.options(eta=datetime.now(UTC) + timedelta(seconds=1)).submit(when.waited, now)
        print(f"a delay of 1.5 s ran after {later.result(30):.1f} s, an eta of 1 s after {at.result(30):.1f} s")

        client.submit(when.busy, 1.0)
        try:
            client.submit(when.news, "read all about it").result(30)
        except distq.TaskExpired as error:
            print(f"the only executor was busy for a second: {error}")

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "order"
            client.submit(when.busy, 0.5)
            client.flush()
            notes = [
                client.options(priority=priority).submit(when.note, str(path), f"priority {priority}")
                for priority in (0, 5, 9)
            ]
            for future in notes:
                future.result(30)
            print("in the order in which they ran:", ", ".join(path.read_text().splitlines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
