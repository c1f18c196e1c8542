"""Packages of npm for the tests of programs for Node: installed once a machine, outside of the repository."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

NODE = shutil.which("node")
OLDEST = 20
PATIENCE_S = 120


def needed_node() -> str:
    """Return where Node is; skip the test if it is not there, or is too old for the page."""
    if NODE is None:
        pytest.skip("node is not installed")
    said = subprocess.run([NODE, "--version"], capture_output=True, text=True, timeout=PATIENCE_S).stdout
    if int(said.removeprefix("v").partition(".")[0]) < OLDEST:
        pytest.skip(f"node is {said.strip()}, and the page needs {OLDEST}")
    return NODE


def installed(package: str) -> Path:
    """Return a folder `node_modules` that has a package, such as `zeromq@6`; skip the test if npm cannot.

    The folder is in the user's cache, and is made in one step, so that tests beside this one do not meet half
    of it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "binance-proxy-tests"
    there = cache / package / "node_modules"
    if there.is_dir():
        return there
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed, and {package} is not in {cache}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="installing-") as place:
        done = subprocess.run(
            [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock",
             "--prefix", place, package],
            capture_output=True, text=True, timeout=PATIENCE_S, cwd=place,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip(f"npm cannot install {package}: {done.stderr.strip()[-300:]}")
        try:
            Path(place).rename(there.parent)
        except OSError:
            assert there.is_dir()  # another process was quicker
        else:
            Path(place).mkdir()  # for the end of the block to remove
    return there
