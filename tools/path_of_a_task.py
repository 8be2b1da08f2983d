"""Draws docs/pictures/path-of-a-task.svg from the source code: `python -m tools.path_of_a_task`.

Above: the steps of one task, each with the functions that do it, which must exist. Below: the packages of src/distq in
their layers, each with the packages that it imports.
"""

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src" / "distq"
PICTURE: Final = ROOT / "docs" / "pictures" / "path-of-a-task.svg"
LAYERS: Final = "A package imports only packages of lower layers"
"""The contract of pyproject.toml that has the layers, the highest first."""


class Step(NamedTuple):
    """One step: its number on the page of the architecture, its place in the picture, and its functions."""

    number: int
    column: int
    row: int
    text: str
    functions: tuple[str, ...]
    """Each as `folder/file.py Class.function`, below src/distq."""


COLUMNS: Final = ("client process", "master process", "worker: executor process")
STEPS: Final = (
    Step(1, 0, 0, "make payload and options", ("client/submitter.py Submitter.submit",)),
    Step(2, 0, 1, "send the submit", ("client/submit_sender.py SubmitSender.send_immediately",)),
    Step(3, 1, 1, "read the call", ("wire/inert.py read_call", "master/calls/dispatch.py Dispatcher.called")),
    Step(
        4,
        1,
        2,
        "one cycle: decide, commit, apply",
        (
            "master/cycle/broker.py Broker.cycle",
            "core/ledger.py Ledger.submit",
            "storage/sqlite.py SqliteStore.commit",
            "core/ledger.py Ledger.apply",
        ),
    ),
    Step(5, 0, 2, "the future is accepted", ("client/pending_futures.py PendingFutures.accept",)),
    Step(6, 1, 3, "lease the task", ("master/calls/exchange.py ExchangeCall.give", "core/leasing.py Leasing.lease")),
    Step(
        7,
        2,
        3,
        "find the function, run it",
        (
            "worker/executor/batch_loop.py BatchLoop.serve",
            "worker/executor/functions.py Functions.runner_of",
            "tasks/payload.py run_payload",
        ),
    ),
    Step(
        8, 1, 4, "one cycle: settle", ("master/calls/exchange.py ExchangeCall.decide", "core/ledger.py Ledger.settle")
    ),
    Step(9, 1, 5, "push the result", ("master/sessions/clients.py Clients.push",)),
    Step(
        10,
        0,
        5,
        "the future has the result",
        ("client/result_receiver.py ResultReceiver.receive", "client/future.py TaskFuture.result"),
    ),
)
ARROWS: Final = ((1, 2), (2, 3), (3, 4), (4, 5), (4, 6), (6, 7), (7, 8), (8, 9), (9, 10))
"""From one step to another, by their numbers."""

ROWS: Final = "the packages of src/distq, each with those that it imports: only packages of lower rows"
WIDTH: Final = 1020
BOX: Final = 297
GAP: Final = 44
LINE: Final = 17
TOP: Final = 58
STYLE: Final = """
  svg { font: 13px system-ui, sans-serif; }
  .ground { fill: #ffffff; } text { fill: #1f2328; } .muted { fill: #59636e; }
  .code { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; } .head { font-weight: 600; }
  .box { fill: #f3f5f8; stroke: #b4bdc8; } .arrow { stroke: #3b6fb6; fill: none; stroke-width: 1.6; }
  .tip { fill: #3b6fb6; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #14181d; } text { fill: #e6edf3; } .muted { fill: #9aa6b2; }
    .box { fill: #20262e; stroke: #4a5560; } .arrow { stroke: #7fb0ee; } .tip { fill: #7fb0ee; }
  }
"""


TIP: Final = """<defs>
<marker id="tip" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="6" markerHeight="6" orient="auto">
<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>"""


def layers() -> list[list[str]]:
    """Return the packages of each layer, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (found,) = [contract for contract in contracts if contract["name"] == LAYERS]
    return [[name.strip() for name in layer.split("|")] for layer in found["layers"]]


def imports_of(package: str) -> list[str]:
    """Return the other packages of distq that the modules of one import."""
    found: set[str] = set()
    for path in (SOURCE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            found |= {module.split(".")[1] for module in modules if module.startswith("distq.")}
    return sorted(name for name in found - {package} if (SOURCE / name).is_dir())


def missing() -> list[str]:
    """Return the functions of the steps that do not exist."""
    return [function for step in STEPS for function in step.functions if not _exists(*function.split())]


def _exists(file: str, function: str) -> bool:
    if not (SOURCE / file).is_file():
        return False
    body: list[ast.stmt] = ast.parse((SOURCE / file).read_text(encoding="utf-8")).body
    *classes, name = function.split(".")
    for class_name in classes:
        body = [one for node in body if isinstance(node, ast.ClassDef) and node.name == class_name for one in node.body]
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in body)


def _height(step: Step) -> int:
    return 30 + 2 * LINE * len(step.functions)


def _tops() -> list[int]:
    """Return where each row begins, and where the last one ends."""
    tops = [TOP]
    for row in range(1 + max(step.row for step in STEPS)):
        tops.append(tops[-1] + max(_height(step) for step in STEPS if step.row == row) + GAP)
    return tops


def _left(column: int) -> int:
    return 20 + column * (BOX + GAP)


def _path(begin: Step, end: Step, tops: list[int]) -> str:
    """Return the arrow: down, to the side, or down and to the side."""
    x, y = _left(begin.column), tops[begin.row]
    to_x, to_y = _left(end.column), tops[end.row]
    if begin.column == end.column:
        return f"M{x + BOX // 2} {y + _height(begin)}V{to_y - 8}"
    if begin.row == end.row:
        return f"M{x + BOX} {y + 20}H{to_x - 8}" if x < to_x else f"M{x} {y + 20}H{to_x + BOX + 8}"
    return f"M{x + BOX // 2} {y + _height(begin)}V{to_y + 20}H{to_x + BOX + 8}"


def _steps(tops: list[int]) -> Iterator[str]:
    for column, title in enumerate(COLUMNS):
        yield f'<text class="head" x="{_left(column)}" y="36">{title}</text>'
    by_number = {step.number: step for step in STEPS}
    for begin, end in ARROWS:
        yield f'<path class="arrow" marker-end="url(#tip)" d="{_path(by_number[begin], by_number[end], tops)}"/>'
    for step in STEPS:
        x, y = _left(step.column), tops[step.row]
        yield f'<rect class="box" x="{x}" y="{y}" width="{BOX}" height="{_height(step)}" rx="6"/>'
        yield f'<text class="head" x="{x + 10}" y="{y + 20}">{step.number} {escape(step.text)}</text>'
        for index, function in enumerate(step.functions):
            file, name = function.split()
            line = y + 20 + LINE * (2 * index + 1)
            yield f'<text class="code" x="{x + 10}" y="{line}">{name}</text>'
            yield f'<text class="code muted" x="{x + 22}" y="{line + LINE - 2}">{file}</text>'


def _packages(top: int) -> Iterator[str]:
    yield f'<text class="head" x="20" y="{top}">{ROWS}</text>'
    top += 16
    for layer in layers():
        width = (WIDTH - 40 - 12 * (len(layer) - 1)) // len(layer)
        imports = [_wrapped(imports_of(package), (width - 20) // 6) for package in layer]
        height = 30 + (LINE - 2) * max(map(len, imports))
        for index, package in enumerate(layer):
            x = 20 + index * (width + 12)
            yield f'<rect class="box" x="{x}" y="{top}" width="{width}" height="{height}" rx="6"/>'
            yield f'<text class="code head" x="{x + 10}" y="{top + 20}">{package}/</text>'
            for number, line in enumerate(imports[index]):
                y = top + 20 + (LINE - 2) * (number + 1)
                yield f'<text class="muted" x="{x + 10}" y="{y}">{line}</text>'
        top += height + 10


def _wrapped(names: list[str], width: int) -> list[str]:
    """Return the names in lines of at most `width` characters."""
    return textwrap.wrap(", ".join(names) or "imports no other", width)


def picture() -> str:
    """Return the picture."""
    tops = _tops()
    packages = list(_packages(tops[-1] + 8))
    last = max(int(part.split('"')[0]) for line in packages for part in line.split(' y="')[1:])
    height = last + 30
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">',
            "<title>The path of a task through the processes, and the packages</title>",
            f"<style>{STYLE}</style>",
            TIP,
            f'<rect class="ground" width="{WIDTH}" height="{height}" rx="10"/>',
            *_steps(tops),
            *packages,
            "</svg>\n",
        )
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
