"""distq's own client: submits tasks and prints their results, in the order in which they were submitted.

Needs distq, and in the environment DISTQ_ADDRESS (127.0.0.1:9000 if not set) and DISTQ_AUTHKEY or DISTQ_AUTHKEY_FILE.
`python3 futures.py [HOW MANY [QUEUE]]`
"""
# ruff: noqa: INP001, T201 - a program, which prints

import sys

import distq
from distq.cli import demo_tasks

RESULT_WAIT_S = 60


def main() -> None:
    """Submits the numbers, then waits for the square of each."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    queue = sys.argv[2] if len(sys.argv) > 2 else "default"
    square = distq.task(queue=queue)(demo_tasks.square)
    with distq.Client() as client:
        futures = [client.submit(square, number) for number in range(count)]
        try:
            for future in futures:
                number, result = future.result(timeout=RESULT_WAIT_S)
                print(f"square({number}) is {result}", flush=True)
        except TimeoutError:
            client.abandon()
            sys.exit(f"No result came in {RESULT_WAIT_S} s: does a worker serve the queue {queue}?")


if __name__ == "__main__":
    main()
