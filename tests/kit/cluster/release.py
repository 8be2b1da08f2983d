"""Helpers that install the chart in a namespace of the test, which enforces Pod Security `restricted`."""

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml
from tests.kit.shell import CHART, PRINT_METRICS, TASKS, WORKER_IMAGE, run, sum_of_series

READY_WITHIN = "60s"
POD_SECURITY = "pod-security.kubernetes.io/enforce=restricted"
BUSY = 'distq_worker_executors{pool="default",state="busy"}'
# This program runs in the master's container, which has the address and the key's file.
CLIENT = """
import os
from multiprocessing.managers import BaseManager

class Master(BaseManager):
    pass

Master.register("get_work_queue")
Master.register("get_result_queue")
key = open(os.environ["DISTQ_AUTHKEY_FILE"], "rb").read().strip()
master = Master(("127.0.0.1", 9000), key)
master.connect()
work, results = master.get_work_queue(), master.get_result_queue()
"""

NAPS = """
import sys
import distq

count, nap_s = int(sys.argv[1]), float(sys.argv[2])
with distq.Client() as client:
    futures = [client.submit_named("nap", [nap_s]) for _ in range(count)]
    print(sum(future.result() == "rested" for future in futures), "results")
"""


CLIENT_LABEL = {"distq/client": "true"}
TLS_FOLDER = "/etc/distq-tls"
CLIENT_TLS = {
    "DISTQ_TLS_CERT": f"{TLS_FOLDER}/tls.crt",
    "DISTQ_TLS_KEY": f"{TLS_FOLDER}/tls.key",
    "DISTQ_TLS_CA": f"{TLS_FOLDER}/ca.crt",
    "DISTQ_TLS_SERVER_NAME": "distq-master",
}
"""The settings of a client whose certificates are mounted."""


class Release:
    """A namespace with the release `distq`."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.secret = "distq-authkey"
        """The Secret with the key, for the test's own pods."""
        self.certificates = ""
        """The Secret with a client's certificate and the CA, for the test's own pods; empty without TLS."""
        self.binary = "helm"
        """The name of the Helm program."""

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Return the output of `kubectl` in this namespace."""
        return run("kubectl", "--namespace", self.namespace, *arguments, given=given)

    def helm(self, command: str, *arguments: str, values: dict[str, Any] | None = None) -> str:
        """Return the output of a `helm` command in this namespace."""
        given = None if values is None else yaml.safe_dump(values)
        options = [] if values is None else ["--values", "-"]
        return run(self.binary, command, *arguments, "--namespace", self.namespace, *options, given=given)

    def install(self, values: dict[str, Any] | None = None, name: str = "distq") -> str:
        """Install the chart, wait until everything is ready, and return its NOTES."""
        return self.helm("install", name, str(CHART), "--wait", "--timeout", READY_WITHIN, values=values)

    def upgrade(self, values: dict[str, Any] | None = None) -> str:
        """Upgrade the release to other values and wait until everything is ready."""
        return self.helm("upgrade", "distq", str(CHART), "--wait", "--timeout", "180s", values=values)

    def names(self, kind: str, selector: str = "") -> list[str]:
        """Return the names of the objects of a kind."""
        chosen = ["--selector", selector] if selector else []
        return self.kubectl("get", kind, "--output", "name", *chosen).split()

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object as the API server has it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output", "json"))
        return found

    def pods(self) -> dict[str, str]:
        """Return the uid of every pod of master and workers, by name."""
        found = json.loads(self.kubectl("get", "pods", "--output", "json"))["items"]
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in found
            if pod["metadata"]["labels"]["app.kubernetes.io/component"] != "test"
        }

    def authkey(self, secret: str = "distq-authkey") -> str:
        """Return the key in a Secret."""
        return base64.b64decode(self.get("secret", secret)["data"]["authkey"]).decode()

    def client(self, *lines: str) -> str:
        """Return the output of a standard-library client that runs these lines with `work` and `results`."""
        program = CLIENT + "\n".join(lines)
        return self.kubectl("exec", "--stdin", "statefulset/distq-master", "--", "python3", "-", given=program).strip()

    def submit(self, task: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start `distq submit` in the master's container; it prints the task's result as JSON."""
        command = ["kubectl", "--namespace", self.namespace, "exec", "statefulset/distq-master", "--"]
        command += ["distq", "submit", task, *arguments, "--wait", "--timeout", "90s"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def submit_naps(self, count: int, nap_s: float) -> "subprocess.Popen[str]":
        """Start a client in a worker's container, which submits naps and prints the number of results."""
        command = ["kubectl", "--namespace", self.namespace, "exec", "deployment/distq-worker-default", "--"]
        command += ["python3", "-c", NAPS, str(count), str(nap_s)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def submit_naps_apart(self, count: int, nap_s: float) -> "subprocess.Popen[str]":
        """Start the same client in a separate pod, which outlives the test's changes to master and workers."""
        name = self.pod(["python3", "-c", NAPS, str(count), str(nap_s)], CLIENT_LABEL, {})
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout", "60s")
        command = ["kubectl", "--namespace", self.namespace, "logs", "--follow", name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def busy_slots(self) -> dict[str, float]:
        """Return the number of running tasks in each worker pod."""
        return {pod: self.metric(pod, BUSY) for pod in self.names("pods", "app.kubernetes.io/component=worker")}

    def metric(self, pod: str, beginning: str) -> float:
        """Return the sum of a pod's series whose text begins with the given prefix."""
        return sum_of_series(self.kubectl("exec", pod, "--", "python3", "-c", PRINT_METRICS), beginning)

    def get_http(self, path: str) -> str:
        """Return the master's answer to a request that is sent in its container."""
        program = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9001{path}').read().decode())"
        return self.kubectl("exec", "statefulset/distq-master", "--", "python3", "-c", program)

    def counts(self) -> dict[str, int]:
        """Return the number of tasks by state."""
        found: dict[str, int] = json.loads(self.get_http("/api/v1/overview"))["tasks"]
        return found

    def total(self, beginning: str) -> float:
        """Return the sum of the master's series whose text begins with the given prefix."""
        return sum_of_series(self.get_http("/metrics"), beginning)

    def replicas(self, pool: str = "default") -> int:
        """Return the desired number of pods of a pool."""
        return int(self.get("deployment", f"distq-worker-{pool}")["spec"]["replicas"])

    def pod(self, command: list[str], labels: Mapping[str, str], env: Mapping[str, str]) -> str:
        """Create a pod from the worker's image, without any privilege, with address and key; return its name."""
        name = f"pod-{secrets.token_hex(3)}"
        key = {"secretKeyRef": {"name": self.secret, "key": "authkey"}}
        known = {"DISTQ_ADDRESS": "distq-master:9000", "DISTQ_AUTHKEY": key, **env}
        container: dict[str, Any] = {
            "name": "pod",
            "image": WORKER_IMAGE,
            "command": command,
            "env": [
                {"name": key, **({"value": text} if isinstance(text, str) else {"valueFrom": text})}
                for key, text in known.items()
            ],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        volumes = []
        if self.certificates:
            volumes = [{"name": "tls", "secret": {"secretName": self.certificates}}]
            container["volumeMounts"] = [{"name": "tls", "mountPath": TLS_FOLDER}]
            container["env"] += [{"name": name, "value": text} for name, text in CLIENT_TLS.items()]
        profile = {"type": "RuntimeDefault"}
        spec = {
            "volumes": volumes,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": profile},
            "containers": [container],
        }
        metadata = {"name": name, "labels": {"app.kubernetes.io/component": "test", **labels}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self.kubectl("apply", "--filename", "-", given=json.dumps(pod))
        return name

    def runs(self, program: str, labels: Mapping[str, str] = CLIENT_LABEL, **env: str) -> str:
        """Return the output of a program that runs in a separate pod."""
        name = self.pod(["python3", "-c", program], labels, env)
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        self.kubectl("wait", ended, f"pod/{name}", "--timeout", "60s")
        return self.kubectl("logs", name)

    def log_ends(self) -> str:
        """Return the last lines of the logs of all pods."""
        return self.kubectl("logs", "--selector", "app.kubernetes.io/name=distq", "--tail", "30", "--prefix")

    def mount_test_tasks(self) -> dict[str, Any]:
        """Mount the tests' tasks from a ConfigMap; return the values that run them, also for plain items."""
        written = ["--dry-run=client", "--output=json"]
        tasks = self.kubectl("create", "configmap", "tasks", f"--from-file=test.py={TASKS}", *written)
        self.kubectl("apply", "--filename", "-", given=tasks)  # `apply` succeeds also if an earlier test has applied it
        return {
            "workerDefaults": {
                "tasks": ["tasks.test"],
                "plainHandler": "tasks.test:nap",
                "drainSeconds": 20,  # longer than any nap here, and short enough for the test
                "volumes": [{"name": "test-tasks", "configMap": {"name": "tasks"}}],
                "volumeMounts": [{"name": "test-tasks", "mountPath": "/app/tasks"}],
            }
        }


def last_line(client: "subprocess.Popen[str]", timeout_s: float) -> str:
    """Return the last line that a client in the cluster prints, after its warnings."""
    return client.communicate(timeout=timeout_s)[0].splitlines()[-1]


@contextmanager
def namespace() -> Iterator[Release]:
    """Yield a new namespace, and delete it afterwards with all its objects."""
    release = Release(f"distq-test-{secrets.token_hex(3)}")
    run("kubectl", "create", "namespace", release.namespace)
    try:
        run("kubectl", "label", "namespace", release.namespace, POD_SECURITY)
        yield release
    except BaseException:
        sys.stderr.write(release.kubectl("get", "events,pods") + release.log_ends())
        raise
    finally:
        run("kubectl", "delete", "namespace", release.namespace, "--timeout", "240s")
