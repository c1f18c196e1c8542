"""The backtests of the pages run on candles that a bridge has recorded."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pages import DOCS, blocks
from served_bridge import ServedBridge

PATIENCE_S = 120
# vectorbt compiles for half a minute otherwise, and gives the same numbers.
CLEAN = {**os.environ, "NUMBA_DISABLE_JIT": "1"}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBridge]:
    """A bridge that has recorded some minutes, and goes on."""
    made = ServedBridge.ready(tmp_path_factory.mktemp("bridge") / "var", "feed.simulated.faults.gap=0.001")
    then = time.time_ns() - 3_600 * 10**9
    settings = ("speed=max", "events=10000", f"start={then}")
    made("run", *(part for setting in settings for part in ("-o", f"feed.simulated.{setting}")))
    with made.running():
        yield made


def run(page: str, bridge: ServedBridge, folder: Path) -> str:
    """Run the program of a page on candles of a second, and return what it printed."""
    [program] = blocks(DOCS / page, "python")
    assert "SyncBridge()" in program
    (folder / "program.py").write_text(program.replace("SyncBridge()", f"Sync{bridge.given}"))
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:__main__", "program.py", "1s"],
        capture_output=True, text=True, cwd=folder, env=CLEAN, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def left_out(printed: str) -> tuple[int, int, int, int]:
    """Return how many candles there were, how many of them open and incomplete, and how many were used."""
    found = re.match(r"(\d+) candles: (\d+) open and (\d+) incomplete, left out; (\d+) whole\n", printed)
    assert found, printed
    every, still_open, incomplete, whole = (int(number) for number in found.groups())
    return every, still_open, incomplete, whole


def same_words(printed: str, page: str) -> bool:
    """Say whether the page shows this output, but for its numbers."""
    shown = next(block for block in blocks(DOCS / page, "") if " candles: " in block)
    return _words(printed) == _words(shown)


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z#%\[\]]+", text.replace("NaN", ""))


def test_backtesting_py_trades_on_whole_candles(bridge: ServedBridge, tmp_path: Path) -> None:
    page = "how-to/backtest-with-backtesting-py.md"
    printed = run(page, bridge, tmp_path)
    every, _, incomplete, whole = left_out(printed)
    assert whole > 150
    assert 0 < incomplete < every / 2
    trades = re.search(r"# Trades +(\d+)", printed)
    assert trades
    assert int(trades[1]) > 3
    assert same_words(printed, page), printed


def test_vectorbt_tries_every_pair_of_averages(bridge: ServedBridge, tmp_path: Path) -> None:
    page = "how-to/backtest-with-vectorbt.md"
    printed = run(page, bridge, tmp_path)
    every, _, incomplete, whole = left_out(printed)
    assert whole > 150
    assert 0 < incomplete < every / 2
    pairs = re.findall(r"^(?:\d+ +| +)(\d+) +(\d+) +-?\d\.\d+$", printed, re.MULTILINE)
    assert len(pairs) == 6, printed
    assert sum(int(trades) for _, trades in pairs) > 10
    assert same_words(printed, page), printed
