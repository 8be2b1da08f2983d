"""Puts texts on the work queue and prints what the workers make of them; `python3 client.py TEXT...`.

Needs nothing but the standard library. The key is that of the master:
export DISTQ_AUTHKEY=$(docker compose exec master distq key show)
"""

import os
import sys
from multiprocessing.managers import BaseManager


class Master(BaseManager):
    """What a program knows of the master: two queues."""


Master.register("get_work_queue")
Master.register("get_result_queue")


def main() -> None:
    host, _, port = os.environ.get("DISTQ_ADDRESS", "127.0.0.1:9000").rpartition(":")
    master = Master(address=(host, int(port)), authkey=os.environ["DISTQ_AUTHKEY"].encode())
    master.connect()
    work, results = master.get_work_queue(), master.get_result_queue()
    texts = sys.argv[1:] or ["to be or not to be"]
    for text in texts:
        work.put(text)
    for _ in texts:
        print(results.get(timeout=60))


if __name__ == "__main__":
    main()
