"""Run a program under strace: kill it at a chosen system call, let the call fail, or count the calls."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).parent
LIMIT_S = 120


def can_trace() -> bool:
    """Return whether strace is here, and may do what it is for."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True)
    return tried.returncode == 0


def run(
    program: Path, arguments: Sequence[str], calls: Sequence[str], *inject: str, log: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a Python program to its end, whatever that is, with some of its calls traced."""
    line = ["strace", "-f", "-qq", "-o", str(log or "/dev/null"), "-e", "trace=" + ",".join(calls), *inject,
            sys.executable, str(program), *arguments]  # fmt: skip
    environ = os.environ | {"PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(line, capture_output=True, env=environ, timeout=LIMIT_S)


def counted(log: Path, calls: Sequence[str]) -> dict[str, int]:
    """Return how often each call was made, in the thread that made most: strace counts in each by itself."""
    found: dict[str, dict[str, int]] = {call: {} for call in calls}
    for traced in log.read_text().splitlines():
        thread, _, rest = traced.partition(" ")
        call = rest.strip().partition("(")[0]
        if call in found:
            found[call][thread] = found[call].get(thread, 0) + 1
    return {call: max(threads.values(), default=0) for call, threads in found.items()}
