"""The cells of the tour run in order, in one namespace, and print what the page shows."""

import ast
import asyncio
import inspect
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from bridge_process import eventually
from pages import DOCS, blocks, with_output
from served_bridge import ServedBridge

PAGE = DOCS / "tutorials/tour-of-the-client.md"
DEADLINE_S = 120

# What is another one each time, in a form that is the same each time.
_VARIES = [
    (re.compile(r"\d[\d.,]*"), "0"),
    (re.compile(r"'(?:in step|stale)'"), "'state'"),
    (re.compile(r"\b(?:buy|sell)$"), "side"),
    (re.compile(r"\b(?:open|lost), at\b"), "state, at"),
    (re.compile(r"([─═])+"), r"\1"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"^(BookStale: ETH/USDT): .+"), r"\1: reason"),
]
_OF_A_TABLE = re.compile(r"(?:│ )?0-0-0 0:")
_TRUE_OR_FALSE = re.compile(r"\b(?:true|false)\b", re.IGNORECASE)


def shape(text: str) -> list[str]:
    """Return the lines of an output without what varies: numbers, sides, the width of columns."""
    return [_shape(line.strip()) for line in text.strip().splitlines()]


def _shape(line: str) -> str:
    for what, so in _VARIES:
        line = what.sub(so, line)
    return _TRUE_OR_FALSE.sub("yes or no", line) if _OF_A_TABLE.match(line) else line


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[ServedBridge]:
    """The bridge that the page says to run."""
    [start] = (line for line in blocks(PAGE, "sh") if "bridge run" in line)
    options = re.findall(r"-o (\S+)", start)
    made = ServedBridge.ready(tmp_path / "var", *options, "feed.simulated.rate=100")
    with made.running():
        eventually(lambda: len(made.ask("candles", "ETH/USDT", "1s")) > 5, "candles")
        yield made


async def test_the_cells_print_what_the_page_shows(bridge: ServedBridge) -> None:
    there = f'requests="{bridge.serve}", control="{bridge.control}", publish='
    namespace: dict[str, Any] = {}
    try:
        for number, (cell, shown) in enumerate(with_output(PAGE, "python"), 1):
            code = cell.replace("Bridge()", bridge.given).replace(
                "Bridge(publish=await", f"Bridge({there}await"
            )
            code = code.replace("Cable(5556)", f"Cable({bridge.msgpack.rpartition(':')[2]})")
            printed = io.StringIO()
            compiled = compile(code, f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            with redirect_stdout(printed):
                done = eval(compiled, namespace)
                if inspect.iscoroutine(done):
                    await asyncio.wait_for(done, DEADLINE_S)
            said = printed.getvalue()
            assert shape(said) == shape(shown), f"cell {number} printed:\n{said}"
    finally:
        await namespace["stack"].aclose()
