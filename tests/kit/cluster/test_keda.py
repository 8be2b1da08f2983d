"""A real KEDA scales pools from zero and back, by both triggers; each task ends once, and no busy pod is removed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kit.cluster.keda import keda
from tests.kit.cluster.release import CLIENT_LABEL, Release, last_line, namespace
from tests.kit.shell import wait_for_value

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.keda,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(600),
]

TASKS = 120
NAP_S = 0.5
FAST = {"enabled": True, "maxReplicas": 4, "pollingSeconds": 2, "cooldownSeconds": 5}
# This program answers a query as Prometheus does, with the sum of the first metric of the chart's query. The tests here
# are about KEDA and the chart's trigger; tests/kit/engine/test_prometheus.py sends the same query to a real
# Prometheus.
PROMETHEUS = r"""
import http.server, json, re, sys, time, urllib.parse, urllib.request

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
        metric = re.match(r"sum\((\w+)\{", query)[1]
        queue = re.search(r'queue=~"(\w+)"', query)[1]
        lines = urllib.request.urlopen("http://distq-master:9001/metrics").read().decode().splitlines()
        wanted = [line for line in lines if line.startswith(metric + "{") and f'queue="{queue}"' in line]
        value = [time.time(), str(sum(float(line.split()[-1]) for line in wanted))]
        result = [{"metric": {}, "value": value}] if wanted else []
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 9090), Answer).serve_forever()
"""


@pytest.fixture(name="release", scope="module")
def install() -> Iterator[Release]:
    """Yield a release in a cluster with KEDA, with zero worker pods at first, which run the tests' tasks."""
    with keda(), namespace() as release:
        yield release


def install_scaled(release: Release, keda_values: dict[str, Any]) -> None:
    """Install the release with a pool that KEDA scales with these values."""
    values = release.mount_test_tasks()
    values["master"] = {"storage": {"keep": False}}
    values["workerPools"] = {"default": {"queues": ["default"], "keda": {**FAST, **keda_values}}}
    release.install(values)


def goes_up_and_down(release: Release) -> None:
    """Check that the pool goes from zero pods to four under load and back to zero, with one result for each task."""
    wait_for_value(release.replicas, lambda found: found == 0, within_s=90)
    client = release.submit_naps_apart(TASKS, NAP_S)
    wait_for_value(release.replicas, lambda found: found == 4, within_s=90)
    assert last_line(client, timeout_s=180).split() == [str(TASKS), "results"]
    wait_for_value(release.replicas, lambda found: found == 0, within_s=120)
    counts = release.counts()
    assert (counts["ready"], counts["leased"], counts["dead"]) == (0, 0, 0)
    assert release.total('distq_tasks_completed_total{queue="default",task="nap",outcome="success"}') == TASKS
    assert release.total("distq_task_redeliveries_total") == 0


def test_keda_scales_a_pool_from_zero_to_four_and_back_by_the_masters_number(release: Release) -> None:
    """With `trigger: metrics-api` KEDA reads `/api/v1/autoscale`."""
    install_scaled(release, {})
    goes_up_and_down(release)
    release.helm("uninstall", "distq", "--wait")


def test_keda_scales_a_pool_by_a_prometheus_too(release: Release) -> None:
    """With `trigger: prometheus` KEDA sends the chart's query, and gets `distq_queue_desired_slots`."""
    name = release.pod(["python3", "-c", PROMETHEUS], {**CLIENT_LABEL, "app": "prometheus"}, {})
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "prometheus"},
        "spec": {"selector": {"app": "prometheus"}, "ports": [{"port": 9090}]},
    }
    release.kubectl("apply", "--filename", "-", given=json.dumps(service))
    install_scaled(
        release, {"trigger": "prometheus", "prometheusAddress": f"http://prometheus.{release.namespace}:9090"}
    )
    release.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout", "60s")
    goes_up_and_down(release)


def test_the_switch_to_keda_keeps_the_pods_that_run(release: Release) -> None:
    """A Deployment of three pods that gets an autoscaler keeps its pods until KEDA has read the number."""
    release.helm("uninstall", "distq", "--wait", "--ignore-not-found")
    values = {"master": {"storage": {"keep": False}}, "workerDefaults": {"replicas": 3}}
    release.install(values)
    before = set(release.names("pods", "app.kubernetes.io/component=worker"))
    scaled = {**values, "workerPools": {"default": {"keda": {**FAST, "minReplicas": 3, "cooldownSeconds": 300}}}}
    for _ in range(2):  # the second upgrade finds the autoscaler there
        release.upgrade(scaled)
        assert release.replicas() == 3
        assert set(release.names("pods", "app.kubernetes.io/component=worker")) == before
