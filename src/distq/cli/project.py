"""The files of the small project that `distq init` writes, as texts."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

TASKS: Final = '''\
"""The tasks of this project. Workers import this module: it only defines functions."""

import distq


@distq.task(retries=3, time_limit="1m")
def count_words(text: str) -> int:
    """Return the number of words of a text."""
    return len(text.split())
'''

PROGRAM: Final = '''\
"""Submits tasks to the master that .env names, and prints their results."""

import distq
import tasks

LINES = ["to be or not to be", "that is the question"]

if __name__ == "__main__":
    with distq.Client() as client:
        for line, count in zip(LINES, client.map(tasks.count_words, LINES)):
            print(f"{line}: {count} words")
'''

TEST: Final = '''\
"""Tests of tasks.py. They start a cluster of their own, so no master needs to run."""

import tasks
from distq.testing import cluster


def test_a_task_counts_words() -> None:
    with cluster(tasks) as running:
        assert running.client.submit(tasks.count_words, "to be or not to be").result(timeout=30) == 6
'''

COMPOSE: Final = """\
# A master and two workers that run tasks.py: docker compose up --detach --wait
# After a change of tasks.py: docker compose restart worker
name: "{name}"

x-service: &service
  restart: unless-stopped
  read_only: true
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  tmpfs: ["/tmp:size=64m"]

x-settings: &settings
  DISTQ_AUTHKEY: ${{DISTQ_AUTHKEY}} # of .env
  DISTQ_ADDRESS: master:9000
  DISTQ_BIND: 0.0.0.0:9000
  DISTQ_HTTP_ADDRESS: 0.0.0.0:9001

services:
  master:
    <<: *service
    image: ${{REGISTRY:-}}distq-master:{version}
    environment:
      <<: *settings
      DISTQ_STORE: sqlite:////var/lib/distq/queue.db
    volumes: ["data:/var/lib/distq"]
    ports: ["127.0.0.1:${{MASTER_PORT:-9000}}:9000", "127.0.0.1:${{MASTER_HTTP_PORT:-9001}}:9001"]

  worker:
    <<: *service
    image: ${{REGISTRY:-}}distq-worker:{version}
    environment:
      <<: *settings
      DISTQ_TASKS: tasks
    volumes: ["./tasks.py:/app/tasks.py:ro"]
    depends_on:
      master: {{condition: service_healthy}}
    deploy: {{replicas: 2}}

volumes:
  data:
"""

ENV: Final = """\
# Settings of distq in this folder; `distq settings` prints all of them. Keep the key secret.
DISTQ_AUTHKEY={key}
DISTQ_ADDRESS=127.0.0.1:9000
"""

GITIGNORE: Final = """\
.env
distq.db*
__pycache__/
"""


def project_files(version: str, key: str, name: str) -> Mapping[str, str]:
    """Return the text of each file of a project, by its name; `name` is that of the project in Compose."""
    return MappingProxyType(
        {
            "tasks.py": TASKS,
            "program.py": PROGRAM,
            "test_tasks.py": TEST,
            "compose.yaml": COMPOSE.format(version=version, name=name),
            ".env": ENV.format(key=key),
            ".gitignore": GITIGNORE,
        }
    )
