#!/usr/bin/env bash
# multiprocessing's Pool.imap: `chunksize` decides whether the results of tasks that succeeded are handed over at
# all.
#
# Versions: CPython 3.11.7 and 3.13.0 (standard library only, nothing is installed).
#
# Behaviour: with chunksize=1 the iterator raises for the item that failed and goes on with the next. With
# chunksize=5 the whole chunk of a failed item is one failure: the results before it in the chunk are thrown away
# although their work was done, those after it are not run, and the iterator is at its end: the results of all later
# chunks, which are run to the last, cannot be had any more. concurrent.futures ends its map at the first failure
# with any chunksize.
#
# Output seen (item 3 of 0..14 fails):
#     chunksize=1: 14 results, 1 error, 15 items were run
#     chunksize=5: 0 results, 1 error, 14 items were run
#
# Guess: chunksize is for speed alone, so an error costs one item with 5 as it does with 1.
#
# Why it matters for a task queue: a loop of `next()` and `except` around imap is how people let the other items of
# a batch go on. Raising chunksize to make it faster leaves it without error and without results, after the side
# effects of 13 other items; a retry of "what has no result" does them all twice.
set -euo pipefail
python3 - <<'PY'
import multiprocessing

context = multiprocessing.get_context("fork")
runs = context.Value("i", 0)


def work(item):
    with runs.get_lock():
        runs.value += 1
    if item == 3:
        raise ValueError(item)
    return item


def outcome(chunksize):
    runs.value = 0
    results, errors = [], 0
    with context.Pool(2) as pool:
        iterator = pool.imap(work, range(15), chunksize)
        while True:
            try:
                results.append(next(iterator))
            except ValueError:
                errors += 1
            except StopIteration:
                break
        pool.close()
        pool.join()
    print(f"chunksize={chunksize}: {len(results)} results, {errors} error, {runs.value} items were run")
    return len(results), errors, runs.value


assert outcome(1) == (14, 1, 15)
assert outcome(5) == (0, 1, 14)
PY
