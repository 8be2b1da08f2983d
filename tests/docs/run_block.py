"""Runs Python blocks of a page, `await` outside of functions too: `python run_block.py FILE...`."""

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from types import CodeType

import distq


async def finish(code: CodeType, names: dict[str, object]) -> None:
    """Run the code in an event loop."""
    running = eval(code, names)
    if inspect.iscoroutine(running):
        await running
    if isinstance(client := names.get("client"), distq.AsyncClient):
        await client.shutdown()  # it sends what the block has submitted


def run(path: Path) -> None:
    """Run one block; one without `await` runs outside of an event loop, as a program does."""
    print(f"+ {path.name}", flush=True)
    code = compile(path.read_text(encoding="utf-8"), path.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, object] = {"__name__": "__main__"}
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(finish(code, names))
    else:
        exec(code, names)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        run(Path(argument))
