"""The programs of the front page and of the tutorial that use the client print what is shown."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pages import DOCS, ROOT, fenced
from served_bridge import ServedBridge

PATIENCE_S = 120


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBridge]:
    made = ServedBridge.ready(tmp_path_factory.mktemp("bridge") / "var")
    with made.running():
        yield made


def shape(text: str) -> list[str]:
    """Return the lines without their numbers; how many candles there are depends on the time of day."""
    words = re.sub(r"\d[\d.,:+-]*", "0", re.sub(r"\b(?:buy|sell)$", "side", text, flags=re.MULTILINE))
    lines = [re.sub(r"\s+", " ", line.strip()) for line in words.splitlines()]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line != before]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", DOCS / "tutorials/first-bridge.md"], ids=lambda page: page.stem
)
def test_the_program_prints_what_the_page_shows(page: Path, bridge: ServedBridge, tmp_path: Path) -> None:
    parts = fenced(page)
    at = next(
        number for number, (name, block) in enumerate(parts) if name == "python" and "SyncBridge()" in block
    )
    program = parts[at][1]
    shown = next(block for name, block in parts[at:] if name == "")
    (tmp_path / "program.py").write_text(program.replace("SyncBridge()", f"Sync{bridge.given}"))
    done = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in shape(done.stdout) if not line.startswith("wait:")]
    assert said == shape(shown), done.stdout
