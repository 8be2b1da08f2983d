"""A full queue, and results by task id. Needs a worker of `bounded` with one executor."""

import sys
import time

import bounded
from commands import command

import distq


def main() -> int:
    """Show what a submit to a full queue does with each option; then fetch a result in another client."""
    print(command("queue", "set", "small", "--capacity", "3", "--create"))
    print(command("pause", "--queue", "small"))
    with distq.Client() as client:
        futures = [client.submit(bounded.slow, number) for number in range(3)]
        client.flush()
        try:
            client.options(full="raise").submit(bounded.slow, 3)
        except distq.QueueFull as error:
            print(f"raise: {error}")
        started_at = time.monotonic()
        try:
            client.options(full=0.5).submit(bounded.slow, 3)
        except distq.QueueFull:
            print(f"half a second: raised after {time.monotonic() - started_at:.1f} s")
        command("resume", "--queue", "small")
        futures.append(client.options(full="block").submit(bounded.slow, 3))
        print("block: taken as soon as there was room, and run:", futures[-1].result(30))
        task_id = futures[0].task_id
        futures[0].result(30)

    with distq.Client() as another:
        print("another program asks for the result of the first:", another.result(task_id, timeout=30))
        print("distq result:", command("result", task_id))
        try:
            another.result("1-ffffff", timeout=30)
        except distq.TaskLost as error:
            print(f"of one that never was: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
