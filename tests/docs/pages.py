"""What a reader of each page has before the first block: files, running programs; and the blocks that no test runs."""

from typing import Final, NamedTuple


class Setup(NamedTuple):
    """What the blocks of a page need, and what they stand for."""

    before: str = ""
    """Shell commands before the first block; `serve COMMAND` starts a command and waits until it is ready."""
    files: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Files of the reader's folder."""
    reads_as: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Texts of the blocks, such as hosts, each with the text of this machine; `{…}` names a value of the reader."""
    text_is: str | None = None
    """The name of the file whose content is the page's first block of text."""
    prelude: str = ""
    """Python code before each Python block that no command of the page runs."""
    awaiting: str = ""
    """The same for blocks with `await` or `async`."""


class NotRun(NamedTuple):
    """A block that no test runs, or one command of a shell block."""

    page: str
    first: str
    """The first line of the block, or the command."""
    reason: str


UP: Final = "serve distq up"
SHOP: Final = """
def resize(path, width=100): return width
def ping(): return None
"""
WEB: Final = """
def fetch(url): return url
def parse(page): return page
def store(page, table=""): return table
def index(pages, name): return name
def add(a, b): return a + b
def send(to): return None
def resize(path): return path
def download(url): return len(url)
def report(n):
    import distq
    distq.current().progress(1, 1)
"""
API: Final = """import distq, distq.testing, shop.orders, shop.tasks
from web import *
def load(path): return None
url, urls, paths = "a", ["a", "b"], ["a"]
"""
DJANGO: Final = {
    "mysite/conf.py": """from mysite.settings import *
import django
SECRET_KEY = "a key of the tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS += [] if django.VERSION >= (6,) else ["django_tasks"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.db"}}
""",
    "manage.py": """import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.conf"
execute_from_command_line(sys.argv)
""",
}
TRACED: Final = "def fetch(url): return len(url)\n"
COLLECTOR: Final = '''"""Submits a task, and is itself the collector to which this program and the worker send spans."""
import os, threading, urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

received, arrived = [], threading.Condition()

class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        with arrived:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            arrived.notify()
        self.send_response(200)
        self.end_headers()

port = urllib.parse.urlsplit(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]).port
threading.Thread(target=HTTPServer(("127.0.0.1", port), Collector).serve_forever, daemon=True).start()

import distq

with distq.Client() as client:
    assert client.submit_named("tasks:fetch", ["url"]).result(30) == 3
for name in (b"create tasks:fetch", b"process tasks:fetch", b"pages"):
    with arrived:
        assert arrived.wait_for(lambda: any(path == "/v1/traces" and name in body for path, body in received), 30), name
'''
SETUPS: Final = {
    "README.md": Setup(
        files={"web.py": WEB},
        prelude='import distq\nimport web as tasks\nclient = distq.Client()\nurl, urls = "a", ["a", "b"]\n',
        reads_as={
            "9000": "{port}",
            "program.py                               #": "program.py #",
            "while True:": "work.put(12)\nfor _ in range(3):",
            "import queue\n": """import os, queue
manager = distq.QueueManager(("127.0.0.1", {port}), os.environ["DISTQ_AUTHKEY"].encode())
manager.connect()
work, results = manager.get_work_queue(), manager.get_result_queue()
""",
        },
    ),
    "docs/how-to/asyncio.md": Setup(UP, {"shop/tasks.py": SHOP}),
    "docs/how-to/backup-and-restore.md": Setup(
        "DISTQ_STORE=sqlite:///live.db serve distq master", reads_as={"\n…\n": "\n"}
    ),
    "docs/how-to/clients-in-programs.md": Setup(
        UP,
        {"web.py": WEB},
        prelude='import distq\nfrom web import resize\npaths = ["a", "b"]\n',
    ),
    "docs/how-to/compose.md": Setup("DISTQ_STORE=sqlite:///live.db serve distq up"),
    "docs/how-to/django.md": Setup(
        "serve distq master",
        DJANGO,
        {
            "queue:9000": "{address}",
            "[..., ": "[",
            "from django.tasks import": "from {django_tasks} import",
            "/run/secrets/authkey": "authkey",
        },
        prelude="""import os, types, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.conf"
django.setup()
if os.path.exists("shop/tasks.py"):
    from shop.tasks import send_receipt
order = types.SimpleNamespace(pk=1)
""",
    ),
    "docs/how-to/fastapi.md": Setup(),
    "docs/how-to/flask.md": Setup(),
    "docs/how-to/images-without-a-shell.md": Setup("serve distq master", reads_as={'"/app"': '"."'}),
    "docs/how-to/keys.md": Setup(
        text_is="keys",
        reads_as={
            "/etc/distq/keys": "keys",
            "distq master": "chmod 600 keys\ndistq master",
            "oci://registry.example/distq": "./helm",
        },
    ),
    "docs/how-to/measure-a-cluster.md": Setup(
        "serve distq up --concurrency 2", reads_as={"distq bench": "distq bench --duration 0.5s"}
    ),
    "docs/how-to/on-kubernetes.md": Setup("PYTHONPATH=examples/own-tasks/tasks serve distq up words"),
    "docs/how-to/outbox.md": Setup(
        "serve distq up",
        {"mysite/__init__.py": "", **DJANGO},
        {
            "queue:9000": "{address}",
            "postgresql+psycopg://app@db/shop": "sqlite:///shop.db",
            "[..., ": "[",
            "/run/secrets/authkey": "authkey",
        },
        prelude="""import os, types, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.conf"
django.setup()
from django.db import transaction
from jobs import send_receipt
order = types.SimpleNamespace(pk=1)
Order = types.SimpleNamespace(objects=types.SimpleNamespace(create=lambda *_: order))
""",
    ),
    "docs/how-to/postgresql.md": Setup(
        "createuser --superuser reader\nexport PGUSER=reader\n"
        "psql postgres --command 'ALTER ROLE distq RENAME TO tests'\n"
        "DISTQ_STORE=sqlite:///queue.db serve distq master\nend_served",
        {"password": "secret\n"},
        {
            "createuser --pwprompt": "printf 'secret\\nsecret\\n' | createuser --pwprompt",
            "@db.example.com/distq?sslmode=verify-full": "@/distq?host=$PGHOST&port=$PGPORT&user=distq",
            "/run/secrets/distq-database": "password",
            "sqlite:////var/lib/distq/queue.db": "sqlite:///queue.db",
            "'postgresql://distq@db.example.com/distq'": '"postgresql:///postgres?host=$PGHOST&port=$PGPORT"',
        },
    ),
    "docs/how-to/private-registries.md": Setup(files={"company-ca.pem": "a certificate"}),
    "docs/how-to/several-masters.md": Setup(
        reads_as={
            "@db.example.com/distq": "@/postgres?host=$PGHOST&port=$PGPORT",
            "0.0.0.0:9000": "{address}",
            "master-1.example.com:9000": "{address}",
            "/run/secrets/distq-key": "authkey",
        },
    ),
    "docs/how-to/tasks-that-submit-tasks.md": Setup(),
    "docs/how-to/the-page.md": Setup(),
    "docs/how-to/tls.md": Setup(
        reads_as={
            "distq tls init --host master": "rm -r tls\ndistq tls init --host master",
            "distq tunnel --listen 127.0.0.1:9002": "DISTQ_TLS_CERT=tls/master.crt "
            "DISTQ_TLS_KEY=tls/master.key distq master\n"
            "DISTQ_TLS_CA=tls/ca.crt distq tunnel --listen {other}",
        },
    ),
    "docs/how-to/traces.md": Setup(
        "export OTEL_BSP_SCHEDULE_DELAY=100\nserve distq master",
        {"tasks.py": TRACED, "program.py": COLLECTOR},
        reads_as={"http://collector:4318": "http://{other}"},
    ),
    "docs/how-to/troubleshooting.md": Setup(UP),
    "docs/how-to/tuning.md": Setup(
        UP,
        {"shop/tasks.py": SHOP},
        {"distq bench": "distq bench --duration 0.5s", " --duration 30s": ""},
        prelude='import distq\nimport shop.tasks as tasks\nclient = distq.Client()\npaths = ["a", "b"]\n',
    ),
    "docs/how-to/upgrade.md": Setup("DISTQ_STORE=sqlite:///live.db serve distq master"),
    "docs/how-to/watch-a-cluster.md": Setup(
        UP, reads_as={"distq status --json --watch 10s |": "distq status --json --watch 0.5s | head -n 1 |"}
    ),
    "docs/reference/api.md": Setup(
        UP,
        {
            "web.py": WEB,
            "shop/__init__.py": "",
            "shop/tasks.py": "def send_receipt(order): return order\n",
            "shop/orders.py": "import distq, shop.tasks\n"
            "def place(order): distq.Client().submit(shop.tasks.send_receipt, order)\n",
        },
        reads_as={"delay=30": "delay=0.1"},
        prelude=f"{API}client = distq.Client()\n",
        awaiting=f"{API}client = distq.AsyncClient()\n"
        "futures = [await client.submit(report, 1)]\nfuture = futures[0]\n",
    ),
    "docs/reference/wire.md": Setup("serve distq up distq.demo.tasks", reads_as={"9000": "{port}"}),
    "examples/life/README.md": Setup("cd examples/life", reads_as={"DISTQ_AUTHKEY=... ": ""}),
    "examples/own-tasks/README.md": Setup(
        "DISTQ_STORE=sqlite:///live.db PYTHONPATH=examples/own-tasks serve distq up tasks.words"
    ),
}
"""The pages whose blocks need something."""
NOT_CODE: Final = ("text", "")
"""Languages of blocks that are outputs and drawings."""
VALUES: Final = "tests/docs/test_blocks.py::test_a_block_of_values_renders_the_chart"
DOCKERFILES: Final = "tests/kit/engine/test_dockerfiles.py::test_a_dockerfile_of_a_page_builds_an_image_of_tasks"
LOGQL: Final = "tests/docs/test_blocks.py::test_a_query_of_logs_names_services_and_events_that_exist"
NGINX: Final = "tests/docs/test_blocks.py::test_nginx_accepts_its_block"
CHECKED: Final = {
    ("docs/explanation/delivery.md", "stateDiagram-v2"): "tests/core/test_moves.py::test_the_docs_show_the_table",
    ("docs/how-to/compose.md", "services:"): "tests/docs/test_blocks.py::test_a_block_for_compose_overrides_the_file",
    (
        "docs/how-to/on-kubernetes.md",
        "- job_name: distq",
    ): "tests/docs/test_blocks.py::test_prometheus_accepts_its_block",
    ("docs/how-to/images-without-a-shell.md", "FROM distq-worker:0.1.0-minimal"): DOCKERFILES,
    ("docs/how-to/images-without-a-shell.md", "FROM python:3.15-slim-trixie AS packages"): DOCKERFILES,
    (
        "docs/how-to/agents.md",
        "{",
    ): "tests/e2e/test_mcp.py::test_the_file_of_the_page_starts_the_server",
    (
        "docs/how-to/postgresql-on-kubernetes.md",
        "apiVersion: postgresql.cnpg.io/v1",
    ): "tests/docs/test_blocks.py::test_the_database_of_the_page_is_one_of_cloudnativepg",
    ("docs/how-to/postgresql-on-kubernetes.md", "master:"): VALUES,
    ("docs/how-to/signed-payloads.md", "payloadKeys:"): VALUES,
    ("docs/how-to/the-page.md", "location / {"): NGINX,
    ("docs/how-to/the-page.md", "master:"): VALUES,
    ("docs/how-to/the-page.md", "proxy_next_upstream error timeout http_503 non_idempotent;"): NGINX,
    ("docs/how-to/tls.md", "tls: {existingSecret: distq-certificate}"): VALUES,
    ("docs/how-to/tls.md", "tls:"): VALUES,
    ("docs/how-to/traces.md", "FROM distq-worker:0.1.0"): DOCKERFILES,
    ("docs/how-to/troubleshooting.md", '{service="master"} | json | event="task_lost"'): LOGQL,
    ("docs/how-to/troubleshooting.md", '{service="master"} | json | event=~"commits_were_slow|store_.+"'): LOGQL,
    ("docs/how-to/troubleshooting.md", '{service="worker"} | json | event="task_failed" | name="math:sqrt"'): LOGQL,
    ("examples/own-tasks/README.md", "FROM distq-worker:0.1.0"): DOCKERFILES,
    (
        "docs/how-to/tls.md",
        "DISTQ_LOOPBACK_BIND=127.0.0.1:9002",
    ): "tests/docs/test_blocks.py::test_a_block_of_settings_is_read",
}
"""Blocks of files for other programs, by their first line, each with the test in which that program reads it."""
RUN_BY: Final = {
    (
        "docs/how-to/fastapi.md",
        "python",
    ): "tests/contrib/web/test_web.py::test_a_request_submits_a_task_and_others_see_its_state",
    (
        "docs/how-to/flask.md",
        "python",
    ): "tests/contrib/web/test_web.py::test_a_request_submits_a_task_and_others_see_its_state",
    ("docs/how-to/from-celery.md", "python"): "tests/contrib/migrants/test_pages.py::test_the_program_of_a_page_runs",
    ("docs/how-to/from-rq.md", "python"): "tests/contrib/migrants/test_pages.py::test_the_program_of_a_page_runs",
    (
        "docs/how-to/functions-by-value.md",
        "python",
    ): "tests/e2e/test_by_value.py::test_the_program_of_the_how_to_page_runs",
    (
        "docs/how-to/joblib.md",
        "python",
    ): "tests/contrib/joblib/test_backend.py::test_the_program_of_the_how_to_page_runs",
    (
        "docs/how-to/notebooks.md",
        "python",
    ): "tests/e2e/test_notebooks.py::test_the_cells_of_the_page_show_what_the_page_shows",
    (
        "docs/how-to/other-languages.md",
        "python",
    ): "tests/e2e/test_http_api.py::test_the_python_program_of_the_page_runs",
    ("docs/how-to/other-languages.md", "sh"): "tests/e2e/test_http_api.py::test_the_commands_of_the_page_run",
    (
        "docs/how-to/other-languages.md",
        "js",
    ): "tests/e2e/test_http_api.py::test_the_javascript_program_of_the_page_runs",
    (
        "docs/how-to/test-your-tasks.md",
        "python",
    ): "tests/testing/test_how_to.py::test_every_code_block_of_the_page_runs",
    ("docs/how-to/watch-a-cluster.md", "distq top"): "tests/e2e/test_top.py::test_an_example_shows_the_queues",
    ("docs/reference/cli.md", "sh"): "tests/e2e/test_examples.py::test_an_example_succeeds",
    (
        "docs/tutorial/first-cluster.md",
        "console",
    ): "tests/docs/test_outputs.py::test_every_output_of_a_page_is_that_of_its_command",
    (
        "docs/tutorial/first-cluster.md",
        "python",
    ): "tests/docs/test_outputs.py::test_every_output_of_a_page_is_that_of_its_command",
}
NOT_RUN: Final[list[NotRun]] = []
