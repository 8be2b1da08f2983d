"""Tests of `facts_of`: the master gives the bytes of a task's arguments and outcome, as long as it keeps them."""

import pickle

from tests.testing import jobs

from distq import testing
from distq.client.client import facts_of
from distq.tasks.failure import unpack_failure


def test_the_bodies_of_a_task_are_those_that_its_state_keeps() -> None:
    """Arguments before the end, the result after a success, both of a dead letter, none of a cancelled task."""
    with testing.cluster(jobs, concurrency=1) as cluster:
        client = cluster.client

        def bodies(task_id: str | None) -> tuple[str, bytes | None, bytes | None]:
            facts = facts_of(client, str(task_id))
            return facts["state"], facts["payload"], facts["outcome"]

        arguments = pickle.dumps(((20,), {}), 5)
        later = client.options(delay="1h").submit(jobs.add, 20)
        client.flush()
        assert bodies(later.task_id) == ("delayed", arguments, None)
        assert later.cancel()
        assert bodies(later.task_id) == ("cancelled", None, None)
        done = client.submit(jobs.add, 20)
        cluster.drain()
        assert bodies(done.task_id) == ("succeeded", None, pickle.dumps(jobs.add(20), 5))
        dead = client.options(retries=0).submit(jobs.fail, "no")
        cluster.drain()
        state, payload, outcome = bodies(dead.task_id)
        assert (state, payload) == ("dead", pickle.dumps((("no",), {}), 5))
        assert unpack_failure(outcome or b"").kind == "builtins:ValueError"
