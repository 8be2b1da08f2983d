"""A standard-library worker: it gets items, processes them, and puts the results, until the work queue is empty.

It needs only the standard library, and works with server.py and with `distq master`. To use distq's own class, change
the two marked lines to

    import distq                                # 1
    class QueueManager(distq.QueueManager):     # 2
"""

import os
import queue
from multiprocessing.managers import BaseManager  # 1

ADDRESS = (os.environ.get("RECIPE_HOST", "127.0.0.1"), int(os.environ.get("RECIPE_PORT", "50000")))
AUTHKEY = os.environ["RECIPE_AUTHKEY"].encode()


class QueueManager(BaseManager):  # 2
    pass


QueueManager.register("get_work_queue")
QueueManager.register("get_result_queue")


def main() -> None:
    manager = QueueManager(address=ADDRESS, authkey=AUTHKEY)
    manager.connect()
    work_queue = manager.get_work_queue()
    result_queue = manager.get_result_queue()
    while True:
        try:
            number = work_queue.get(timeout=2)
        except queue.Empty:
            print("the work queue is empty", flush=True)
            return
        except (EOFError, ConnectionError):
            print("the server is gone", flush=True)
            return
        result_queue.put(f"{number} * {number} = {number * number}")


if __name__ == "__main__":
    main()
