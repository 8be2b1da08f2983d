"""Notebooks: a real kernel runs cells, and their tasks run in the executors of a test cluster."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel
from jupyter_core.utils import ensure_event_loop
from tests.tidy.tree import ROOT
from tests.waiting import SOON_S, eventually

from distq import testing

PAGE = ROOT / "docs" / "how-to" / "notebooks.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
START_S = 60.0
"""Maximum seconds until a kernel answers."""
HOLD = """
def hold(folder):
    import pathlib, time
    folder = pathlib.Path(folder)
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return "done"
"""


class Output:
    """What one cell has shown."""

    def __init__(self) -> None:
        self.printed = ""
        self.result: dict[str, str] = {}
        """The value of the last line, by MIME type."""
        self.displays: list[tuple[str, str, dict[str, str]]] = []
        """The type of each message about a display, the display's id, and its data."""
        self.error = ""

    def note(self, message: Any) -> None:
        """Keep a message of the kernel."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            self.printed += content["text"]
        elif kind == "execute_result":
            self.result = content["data"]
        elif kind in ("display_data", "update_display_data"):
            self.displays.append((kind, content["transient"].get("display_id", ""), content["data"]))
        elif kind == "error":
            self.error = content["ename"]

    @property
    def text(self) -> str:
        """Return what the notebook shows below the cell, without displays."""
        return (self.printed + self.result.get("text/plain", "")).strip()


class Kernel:
    """A kernel and its cells."""

    def __init__(self, folder: Path) -> None:
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT / "src")))}
        self.manager, self.client = start_new_kernel(startup_timeout=START_S, env=environ, cwd=str(folder))

    def run(self, *lines: str) -> Output:
        """Run a cell."""
        output = Output()
        self.client.execute_interactive("\n".join(lines), timeout=START_S, output_hook=output.note)
        return output

    def begin(self, *lines: str) -> str:
        """Begin a cell, and return the id of the request."""
        # A kernel refuses the cells that come just after an error, unless that cell was sent so.
        return str(self.client.execute("\n".join(lines), stop_on_error=False))

    def error_of(self, request: str) -> str:
        """Wait for the end of a cell, and return the class of the error that ended it."""
        while True:
            reply = self.client.get_shell_msg(timeout=START_S)
            if reply["parent_header"].get("msg_id") == request:
                return str(reply["content"].get("ename", ""))

    def end(self) -> None:
        """End the kernel, and the event loop that its client has made for this thread."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.context.destroy()
        ensure_event_loop().close()


@pytest.fixture(scope="module", name="workers")
def cluster_of_two() -> Iterator[testing.Cluster]:
    """Yield a cluster with two executors; kernels that start in it find its master in their environment."""
    with testing.cluster() as running:
        yield running


@pytest.fixture(name="kernel")
def running_kernel(workers: testing.Cluster, tmp_path: Path) -> Iterator[Kernel]:
    """Yield a kernel that has a client with functions by value."""
    kernel = Kernel(tmp_path)
    try:
        assert kernel.run("import distq", "client = distq.Client(by_value=True)").error == ""
        yield kernel
    finally:
        kernel.end()
    assert workers.now


def test_the_cells_of_the_page_show_what_the_page_shows(kernel: Kernel, tmp_path: Path) -> None:
    """Each block of text is the output of the cell before it; no other cell shows anything but bars."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "prices.py").write_text("def doubled(price):\n    return 2 * price\n")
    blocks = [match.groups() for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
    cells = [index for index, (language, _) in enumerate(blocks) if language == "python"]
    assert len(cells) >= 6
    for index in cells:
        output = kernel.run(blocks[index][1])
        follows = blocks[index + 1] if index + 1 < len(blocks) else ("", "")
        assert output.error == ""
        assert output.text == (follows[1].strip() if follows[0] == "text" else "")


def test_a_bar_is_one_display_that_is_replaced(kernel: Kernel) -> None:
    """Its last state is sent before the cell ends; nothing is printed."""
    for call in ("list(client.map(lambda n: n, range(30), progress='mapping'))", "distq.progress(futures)"):
        output = kernel.run("futures = [client.submit(lambda: 1) for _ in range(30)]", f"shown = {call}")
        assert (output.error, output.text) == ("", "")
        kinds = [kind for kind, *_ in output.displays]
        assert kinds == ["display_data"] + ["update_display_data"] * (len(kinds) - 1)
        assert len({display_id for _, display_id, _ in output.displays}) == 1
        last = output.displays[-1][2]
        assert "30/30" in last["text/html"]
        assert '<progress max="1" value="1.0000"' in last["text/html"]
        assert "30/30" in last["text/plain"]


def test_a_bar_of_an_asyncio_client_is_one_display(kernel: Kernel) -> None:
    """Notebooks await at the top level of a cell."""
    output = kernel.run(
        "async with distq.AsyncClient(by_value=True) as other:",
        "    print([n async for n in other.map(lambda n: n, range(3), progress=True)])",
        "    futures = await other.progress([await other.submit(lambda: 1) for _ in range(3)])",
    )
    assert (output.error, output.text) == ("", "[0, 1, 2]")
    assert len({display_id for _, display_id, _ in output.displays}) == 2
    assert "3/3" in output.displays[-1][2]["text/html"]


def test_the_last_line_of_a_cell_is_shown_as_html(kernel: Kernel) -> None:
    """Futures, results of map, and clients."""
    for line, shown in (
        ("client", "1 task without an outcome"),
        ("client.options(queue='a<b')", "queue=&#x27;a&lt;b&#x27;"),
        ("future", "distq.by_value"),
        ("client.map(abs, [])", "<b>builtins:abs</b>"),
    ):
        cell = "future = client.options(requires='gpu').submit(lambda: 1); client.flush()"
        output = kernel.run(cell, line)
        assert shown in output.result["text/html"]
        kernel.run("future.cancel()", "import concurrent.futures", "concurrent.futures.wait([future])")


@pytest.mark.parametrize(
    "wait",
    [
        "future.result()",
        "distq.progress([future])",
        "list(client.map(hold, [{folder!r}] * 3, progress=True))",
    ],
)
def test_an_interrupt_ends_the_wait_of_a_cell_and_the_client_stays_usable(
    kernel: Kernel, tmp_path: Path, wait: str
) -> None:
    """The task goes on, and a later cell gets its result."""
    folder = str(tmp_path)
    kernel.run(HOLD, f"future = client.submit(hold, {folder!r})")
    request = kernel.begin(f"open({folder + '/waits'!r}, 'w').close()", wait.format(folder=folder))
    eventually((tmp_path / "waits").exists, "the begin of the wait")
    eventually((tmp_path / "begun").exists, "the begin of the task")
    kernel.manager.interrupt_kernel()
    assert kernel.error_of(request) == "KeyboardInterrupt"
    (tmp_path / "go").touch()
    assert kernel.run("future.result()").text == "'done'"
    assert kernel.run("client.submit(lambda: 42).result()").text == "42"


def test_a_kernel_that_restarts_reads_the_results_of_its_tasks_by_their_ids(kernel: Kernel) -> None:
    """The new kernel has another client; the tasks of the first one ran to their end."""
    task_id = kernel.run("future = client.submit(lambda: 'kept')", "client.flush()", "print(future.task_id)").printed
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=START_S)
    shown = kernel.run("import distq", f"distq.Client().result({task_id.strip()!r}, timeout={SOON_S})")
    assert (shown.error, shown.text) == ("", "'kept'")


def test_a_module_that_autoreload_has_read_again_runs_in_its_new_version(kernel: Kernel, tmp_path: Path) -> None:
    """It is sent by value; the worker does not even have it."""
    module = tmp_path / "edited.py"
    module.write_text("def answer():\n    return 'first version'\n")
    kernel.run(
        "%load_ext autoreload",
        "%autoreload 2",
        "import cloudpickle, edited",
        "cloudpickle.register_pickle_by_value(edited)",
    )
    assert kernel.run("client.submit(edited.answer).result()").text == "'first version'"
    module.write_text("def answer():\n    return 'a second version'\n")
    os.utime(module, (2e9, 2e9))  # a later time than that of the first version, also on a coarse file system
    assert kernel.run("client.submit(edited.answer).result()").text == "'a second version'"


def test_a_task_that_waits_is_explained_below_the_cell(kernel: Kernel) -> None:
    """After five seconds the client warns, and a notebook shows the log of the kernel."""
    output = kernel.run(
        "import logging, threading",
        "warned = threading.Event()",
        "class Handler(logging.Handler):",
        "    def emit(self, record):",
        "        logging.lastResort.handle(record)  # which prints it, as in a notebook without handlers",
        "        warned.set()",
        "logging.getLogger('distq').addHandler(Handler())",
        "future = client.options(requires='gpu').submit(lambda: 1)",
        f"assert warned.wait({SOON_S})",
        "future.cancel()",
    )
    assert "waits. Of 1 worker with its function none has the labels gpu (DISTQ_LABELS)." in output.printed
