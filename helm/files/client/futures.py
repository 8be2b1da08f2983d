"""A client with distq.Client: submits tasks and prints their results in the order of the submits.

It needs distq, and the environment variables DISTQ_ADDRESS (127.0.0.1:9000 if not set) and DISTQ_AUTHKEY or
DISTQ_AUTHKEY_FILE. `python3 futures.py [COUNT [QUEUE]]`
"""
# ruff: noqa: INP001, T201 - a program, which prints

import sys

import distq
from distq.demo import tasks

RESULT_WAIT_S = 60


def main() -> None:
    """Submit the numbers, then wait for the square of each."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    queue = sys.argv[2] if len(sys.argv) > 2 else "default"
    with distq.Client() as client:
        submitter = client.options(queue=queue)
        futures = [submitter.submit(tasks.square, number) for number in range(count)]
        try:
            for future in futures:
                number, result = future.result(timeout=RESULT_WAIT_S)
                print(f"square({number}) is {result}", flush=True)
        except TimeoutError:
            client.abandon()
            sys.exit(f"No result arrived in {RESULT_WAIT_S} s. Check that a worker serves the queue {queue}.")


if __name__ == "__main__":
    main()
