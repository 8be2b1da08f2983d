"""Concurrency keys, limits of a queue, tasks with a cost, a pause.

Needs a worker of `order` with four executors.
"""

import subprocess
import sys
import tempfile
import time

import order

import distq


def operator(*words: str) -> str:
    """Return the output of an operator's command."""
    return subprocess.check_output([sys.executable, "-m", "distq", *words], text=True).strip()


def main() -> int:
    """Show the limits."""
    with distq.Client() as client, tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        loud = [client.submit(order.import_of, "loud", folder) for _ in range(40)]
        quiet = client.submit(order.import_of, "quiet", folder)
        quiet.result(30)
        waited, left = time.monotonic() - begun, sum(not future.done() for future in loud)
        print(f"a quiet tenant had its result after {waited:.1f} s, while {left > 20} that a loud one had a backlog")
        print("of the loud one ran at once, at most:", max(future.result(60) for future in loud))

        print(operator("queue", "set", "reports", "--running", "2", "--create"))
        reports = [client.submit(order.report, folder) for _ in range(12)]
        print("reports that ran at once, at most:", max(future.result(60) for future in reports))

        films = [client.submit(order.encode, folder) for _ in range(8)]
        print("films of two slots each that ran at once, of four slots:", max(one.result(60) for one in films))

        print(operator("queue", "set", "mail", "--rate", "5/s", "--create"))
        mails = [client.submit(order.send, number) for number in range(12)]
        sent = [future.result(60)[1] for future in mails]
        print("mails in any second, at most:", max(sum(at <= one < at + 1 for one in sent) for at in sent))

        print(operator("pause", "--queue", "reports"))
        paused = client.submit(order.report, folder)
        try:
            paused.result(1)
        except TimeoutError:
            print("nothing is given out")
        print(operator("resume", "--queue", "reports"))
        paused.result(30)
        print(operator("queue", "reset", "mail"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
