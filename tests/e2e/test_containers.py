"""The containers, from nothing: recorded, through a lost database, and stopped with everything stored."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
JUST = Path(sys.executable).with_name("just")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")},
    "COMPOSE_PROJECT_NAME": "binance-proxy-test",
}
COUNT = ("psql", "-U", "bridge", "-d", "ticks", "-Atc", "select count(*) from trades")
_STORED = re.compile(r"stored +([\d,]+) rows?, ([\d,]+) of them new")
_RECORDED = re.compile(r"recorded +([\d,]+) trades, ([\d,]+) quotes .*, ([\d,]+) snapshots")

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif("TEST_CONTAINERS" not in os.environ, reason="TEST_CONTAINERS is not set"),
]


def just(*words: str) -> str:
    """Run a recipe; return what it printed on stdout, and on stderr behind it."""
    done = subprocess.run(
        [JUST, *words], capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows() -> int:
    """Return how many trades are stored; -1 if the database does not say."""
    try:
        return int(just("compose", "exec", "-T", "timescaledb", *COUNT).split()[0])
    except (AssertionError, ValueError, IndexError):
        return -1


def until(true: Callable[[], bool]) -> None:
    """Wait for it, at most two minutes."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, just("compose", "logs", "--tail", "20", "bridge")
        time.sleep(0.5)


def total(found: re.Match[str] | None) -> int:
    """Return the sum of the numbers in a line."""
    assert found
    return sum(int(number.replace(",", "")) for number in found.groups())


@pytest.fixture
def containers() -> Iterator[None]:
    """Begin with nothing, and leave nothing, volumes included."""
    just("down")
    just("compose", "down", "--volumes")
    yield
    just("down")
    just("compose", "down", "--volumes")


@pytest.mark.usefixtures("containers")
def test_a_bridge_records_into_its_database_and_goes_on_when_it_comes_back() -> None:
    just("up")
    until(lambda: rows() > 0)
    just("compose", "stop", "timescaledb")
    until(lambda: "the store is away" in just("compose", "logs", "--tail", "5", "bridge"))
    just("compose", "start", "timescaledb")
    until(lambda: rows() > 0)
    before = rows()
    until(lambda: rows() > before)
    end = just("down")
    assert total(_RECORDED.search(end)) == int(_STORED.search(end)[1].replace(",", ""))  # type: ignore[index]
    just("up")
    until(lambda: rows() > before)
