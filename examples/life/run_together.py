"""Chains, groups with a callback, and what happens when a part fails. Needs a worker of `together`."""

import sys
import tempfile
from pathlib import Path

import together
from commands import command

import distq


def failing(client: distq.Client) -> None:
    """Show groups in which a task fails."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "page"
        texts = [distq.call(together.needs, str(path)), distq.call(together.fetch, "page 2")]
        future = client.group(texts, then=distq.call(together.joined))
        print("a part failed:", future.exception(30))
        print("reported all the same:", client.group(texts, then=distq.call(together.report)).result(30))
        cancelled = client.group(texts, then=distq.call(together.joined).options(on_failure="cancel"))
        print("or cancelled:", cancelled.exception(30))
        path.write_text("page 1,")
        print(command("dead", "retry", "--all"))
        print("tried again:", client.result(future.task_id, 30))


def main() -> int:
    """Show chains and groups."""
    with distq.Client() as client:
        words = client.chain(
            distq.call(together.fetch, "page 1"),
            distq.call(together.parse),
            distq.call(together.count, what="words"),
        )
        print("a chain:", words.result(30))

        squares = [distq.call(together.square, number) for number in range(1000)]
        print("a group, over two queues:", client.group(squares, then=distq.call(together.total)).result(30))
        print("gathered:", client.gather(*squares[:5]).result(30))
        pages = [distq.call(together.fetch, f"page {number}") for number in range(3)]
        print("a stage of several:", client.chain(pages, distq.call(together.joined)).result(30)[:7], "...")

        waiting = client.group([distq.call(together.slow, 1), distq.call(together.slow, 2)], distq.call(together.total))
        print("why:", command("why", str(waiting.task_id)))

    with distq.Client() as other:  # the submitting client has ended
        print("its sum, asked for by another client:", other.result(str(waiting.task_id), 30))
        failing(other)
    return 0


if __name__ == "__main__":
    sys.exit(main())
