"""Concurrency keys, limits of a queue, tasks with a cost, a pause.

Needs a worker of `order` with four executors.
"""

import sys
import tempfile
import time

import order
from commands import command

import distq


def main() -> int:
    """Show the limits."""
    with distq.Client() as client, tempfile.TemporaryDirectory() as folder:
        started_at = time.monotonic()
        loud = [client.submit(order.import_of, "loud", folder) for _ in range(40)]
        quiet = client.submit(order.import_of, "quiet", folder)
        quiet.result(30)
        waited, left = time.monotonic() - started_at, sum(not future.done() for future in loud)
        print(f"a quiet tenant had its result after {waited:.1f} s, while {left > 20} that a loud one had a backlog")
        print("of the loud one ran at the same time, at most:", max(future.result(60) for future in loud))

        print(command("queue", "set", "reports", "--running", "2", "--create"))
        reports = [client.submit(order.report, folder) for _ in range(12)]
        print("reports that ran at the same time, at most:", max(future.result(60) for future in reports))

        films = [client.submit(order.encode, folder) for _ in range(8)]
        print("films of two slots each that ran at the same time, of four slots:", max(one.result(60) for one in films))

        print(command("queue", "set", "mail", "--rate", "5/s", "--create"))
        started_at = time.monotonic()
        mails = [client.submit(order.send, number) for number in range(12)]
        last_at = max(future.result(60)[1] for future in mails)
        print(f"twelve mails, at most five a second: the last one ran after {last_at - started_at:.1f} s")

        print(command("pause", "--queue", "reports"))
        paused = client.submit(order.report, folder)
        try:
            paused.result(1)
        except TimeoutError:
            print("no task starts")
        print(command("resume", "--queue", "reports"))
        paused.result(30)
        print(command("queue", "reset", "mail"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
