"""A standard-library server: it holds two queues, puts items on one and gets results from the other.

    python server.py              holds the queues itself
    python server.py --connect    uses the queues of a running server, such as `distq master`

It needs only the standard library. To let a distq master in this program hold the queues, change the two marked lines
to

    import distq                                # 1
    class QueueManager(distq.QueueManager):     # 2
"""

import os
import queue
import random
import sys
from multiprocessing.managers import BaseManager  # 1

ADDRESS = (os.environ.get("RECIPE_HOST", "127.0.0.1"), int(os.environ.get("RECIPE_PORT", "50000")))
AUTHKEY = os.environ["RECIPE_AUTHKEY"].encode()

work = queue.Queue()
results = queue.Queue()


def get_work() -> queue.Queue:
    return work


def get_results() -> queue.Queue:
    return results


class QueueManager(BaseManager):  # 2
    pass


QueueManager.register("get_work_queue", callable=get_work)
QueueManager.register("get_result_queue", callable=get_results)


def exchange(manager: QueueManager) -> None:
    work_queue = manager.get_work_queue()
    result_queue = manager.get_result_queue()
    for _ in range(10):
        number = random.randint(0, 10_000)
        print(f"put {number}", flush=True)
        work_queue.put(number)
    for _ in range(10):
        print(f"result: {result_queue.get(timeout=30)}", flush=True)


def main() -> None:
    manager = QueueManager(address=ADDRESS, authkey=AUTHKEY)
    if "--connect" in sys.argv:
        manager.connect()
        exchange(manager)
    else:
        with manager:
            exchange(manager)


if __name__ == "__main__":
    main()
