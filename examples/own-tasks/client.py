"""Submits texts as tasks and prints the results; `python3 client.py TEXT...`.

It needs distq and the authkey of the master: export DISTQ_AUTHKEY=$(docker compose exec master distq key show)
"""

import asyncio
import sys

import distq
from tasks import words


async def counts(client: distq.Client, text: str) -> dict[str, int]:
    return await asyncio.wrap_future(client.submit(words.count, text))


def main() -> None:
    texts = sys.argv[1:] or ["to be or not to be"]
    with distq.Client() as client:
        for word in client.map(words.most_frequent, texts, timeout=60):
            print(word)
        print(asyncio.run(counts(client, texts[0])))


if __name__ == "__main__":
    main()
