"""The chart's pools: their own values, the values of the defaults, and the pods of `helm test`."""

from typing import Any

import pytest
from tests.kit.chart import env_of, render, worker
from tests.kit.shell import CHART


def test_pools_are_merged_over_the_defaults() -> None:
    """A pool's own values win at any depth, also 0 and an empty text; `workerDefaults` gives the others."""
    rendered = render(CHART / "ci" / "pools-values.yaml")
    assert {name for kind, name in rendered if kind == "Deployment"} == {"distq-worker-gpu", "distq-worker-small"}
    assert rendered["Deployment", "distq-worker-small"]["spec"]["replicas"] == 0
    assert rendered["Deployment", "distq-worker-gpu"]["spec"]["replicas"] == 3
    gpu = worker(rendered, "gpu")
    assert gpu["image"] == "own-worker:2"
    assert gpu["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    assert {"name": "models", "mountPath": "/models"} in gpu["volumeMounts"]
    assert env_of(gpu) == {
        "BATCH": "10000000",
        "DISTQ_ADDRESS": "distq-master:9000",
        "DISTQ_AUTHKEY_FILE": "/etc/distq/authkey",
        "DISTQ_CONCURRENCY": "1",
        "DISTQ_DRAIN_S": "600",
        "DISTQ_LOG_LEVEL": "warning",
        "DISTQ_PLAIN_HANDLER": "tasks.words:most_frequent",
        "DISTQ_POOL": "gpu",
        "DISTQ_QUEUES": "images,words",
        "DISTQ_TASKS": "tasks.words,tasks.images",
        "PASSWORD": {"secretKeyRef": {"name": "database", "key": "password"}},
    }
    assert env_of(worker(rendered, "small"))["DISTQ_LOG_LEVEL"] == "debug"


@pytest.mark.parametrize(
    ("pools", "plain", "queue"),
    [
        ({"default": {}}, True, "default"),
        ({"default": {"queues": ["work"]}, "more": {"queues": ["mail", "default"]}}, True, "default"),
        ({"default": {"queues": ["mail", "work"]}}, True, "mail"),
        ({"default": {"queues": ["mail"]}, "off": {"replicas": 0}}, False, "mail"),
        ({"default": None}, False, None),
    ],
)
def test_helm_test_uses_only_queues_that_workers_serve(pools: dict[str, Any], plain: bool, queue: str | None) -> None:
    """The standard-library test exists if a pool serves the queue `work`; tasks go to a queue that a pool serves."""
    tests = {
        name: pod["containers"][0]
        for (kind, name), pod in render({"workerPools": pools}).pods().items()
        if kind == "Pod"
    }
    assert ("distq-test-plain" in tests) == plain
    assert [container["args"][1:] for name, container in tests.items() if name.endswith("-tasks")] == (
        [["3", queue]] if queue else []
    )


def test_an_empty_list_of_a_pool_replaces_the_defaults() -> None:
    """The pool then runs the tasks that its image names, from all queues."""
    defaults = {"tasks": ["mail.tasks"], "queues": ["mail"]}
    rendered = render({"workerDefaults": defaults, "workerPools": {"all": {"tasks": [], "queues": []}}})
    assert env_of(worker(rendered))["DISTQ_TASKS"] == "mail.tasks"
    assert not {"DISTQ_TASKS", "DISTQ_QUEUES"} & set(env_of(worker(rendered, "all")))


def test_a_pools_environment_wins_and_null_removes() -> None:
    """Variables are merged by name, and none occurs twice."""
    values = {"workerDefaults": {"env": {"DISTQ_POOL": "mine", "DISTQ_CONCURRENCY": None, "RATE": 0.5, "FAST": True}}}
    env = env_of(worker(render(values)))
    assert env["DISTQ_POOL"] == "mine"
    assert "DISTQ_CONCURRENCY" not in env
    assert (env["RATE"], env["FAST"]) == ("0.5", "true")
