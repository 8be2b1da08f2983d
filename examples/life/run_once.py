"""Unique keys: a submit is refused, returns the same task, replaces it, or is debounced. Needs a worker of `once`."""

import sys

import once

import distq


def main() -> int:
    """Show unique keys."""
    with distq.Client() as client:
        first = client.submit(once.report, "Monday")
        second = client.submit(once.report, "Monday")
        try:
            second.result(30)
        except distq.TaskExists as error:
            print(f"rejected: {error}")
        same = client.options(on_conflict="return").submit(once.report, "Monday")
        print("the same task:", same.result(30) == first.result(30) and same.task_id == first.task_id)
        print("free again:", client.submit(once.report, "Monday").result(30))

        changes = [client.submit(once.index, version) for version in range(5)]
        print("the last of five changes was indexed:", changes[-1].result(30))
        for change in changes[:-1]:
            try:
                change.result(30)
            except distq.TaskCancelled as error:
                sentence = str(error)
        print(f"of the others one is cancelled: {sentence}")

        print(client.submit(once.remind, "joe").result(30))
        try:
            client.submit(once.remind, "joe").result(30)
        except distq.TaskExists:
            print("joe was reminded just now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
