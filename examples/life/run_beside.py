"""Many tasks at a time in one executor. Needs a worker of `beside` with `--executor thread --executor-tasks 50`."""

import sys
import time

import beside

import distq


def main() -> int:
    """Show threads and coroutines."""
    with distq.Client() as client:
        client.submit(beside.waits, 0.01).result(30)
        started_at = time.monotonic()
        list(client.map(beside.waits, [0.5] * 50))
        print(f"fifty threads that wait for half a second: {time.monotonic() - started_at:.1f} s")
        started_at = time.monotonic()
        futures = [client.submit(beside.waits_on_the_loop, 0.5) for _ in range(50)]
        print("each task knows its id:", all(future.result(30) == future.task_id for future in futures))
        print(f"fifty coroutines: {time.monotonic() - started_at:.1f} s")
        other = client.submit(beside.waits_on_the_loop, 1.0)
        print("a limit ends one alone:", client.submit(beside.exceeds_its_limit).exception(30))
        print("the one beside it:", other.result(30) == other.task_id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
