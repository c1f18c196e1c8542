"""The program for Node gets every trade once, whatever happens to the line and to the bridge."""

import asyncio
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge_process import PATIENCE_S
from message_dropper import Dropper
from node_packages import installed, needed_node
from pages import DOCS, blocks
from served import Wires
from served_bridge import ServedBridge

PAGE = DOCS / "how-to/follow-trades-from-node.md"
ETH = ("simulated", "spot", "ETH/USDT")

pytestmark = pytest.mark.node


class Follower:
    """The program of the page as it runs: what it has printed, and what it said on standard error."""

    def __init__(self, folder: Path, publish: str, serve: str) -> None:
        node = needed_node()
        [package] = re.findall(
            r"npm install --ignore-scripts (zeromq@\d+)$", "".join(blocks(PAGE, "sh")), re.MULTILINE
        )
        [program] = blocks(PAGE, "js")
        (folder / "node_modules").symlink_to(installed(package))
        (folder / "trades.mjs").write_text(program)
        self.trades: list[tuple[str, ...]] = []
        """Each line in order, as far as it was read: trade id, ts_event, price, size, aggressor."""
        self._printed, self._said = folder / "trades.txt", folder / "said.txt"
        self._read = 0
        with self._printed.open("wb") as out, self._said.open("wb") as errors:
            self.process = subprocess.Popen(
                [node, "trades.mjs", *ETH, publish, serve], cwd=folder, stdout=out, stderr=errors
            )

    def read(self) -> list[tuple[str, ...]]:
        """Read on to where the program is."""
        with self._printed.open() as lines:
            lines.seek(self._read)
            whole, newline, _ = lines.read().rpartition("\n")
        self._read += len(whole + newline)
        self.trades += [tuple(line.split()) for line in whole.splitlines()]
        return self.trades

    @property
    def said(self) -> str:
        return self._said.read_text()

    async def until(self, condition: Callable[[list[tuple[str, ...]]], object], what: str) -> None:
        """Wait until what it has printed is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.read()):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, f"never: {what}\n{self.said[-2_000:]}"
            await asyncio.sleep(0.1)

    async def goes_on(self) -> None:
        """Wait for more trades."""
        before = len(self.read())
        await self.until(lambda trades: len(trades) > before + 20, "more trades")


@contextmanager
def following(folder: Path, publish: str, serve: str) -> Iterator[Follower]:
    folder.mkdir()
    follower = Follower(folder, publish, serve)
    try:
        yield follower
    finally:
        follower.process.terminate()
        follower.process.wait(PATIENCE_S)


def stored(bridge: ServedBridge, first: int, last: int) -> list[tuple[str, ...]]:
    """Return what is stored, in the form in which the program prints it."""
    rows = bridge.query(
        "select trade_id, (extract(epoch from ts_event) * 1000)::bigint || '000000', trim_scale(price),"
        " trim_scale(size), aggressor from trades_decimal where symbol = 'ETH/USDT'"
        f" and trade_id between {first} and {last} order by trade_id"
    )
    return [tuple(row) for row in rows]


def ids(trades: list[tuple[str, ...]]) -> list[int]:
    return [int(trade[0]) for trade in trades]


async def test_a_link_cut_ten_times_and_lost_messages_cost_no_trade(tmp_path: Path) -> None:
    needed_node()
    chance = random.Random(5)
    bridge = ServedBridge.ready(
        tmp_path / "var", "serve.recall=5000",
        "feed.simulated.speed=max", "feed.simulated.rate=200", "feed.simulated.faults.reorder=0.001",
    )  # fmt: skip
    bridge("pairs", "remove", "SOL/USDT")
    with bridge.running(), Dropper(bridge.json, seed=5).run() as dropper:
        async with Wires(dropper.address).run() as publish, Wires(bridge.serve).run() as requests:
            await asyncio.sleep(chance.uniform(0.5, 1))  # in the middle of a run
            with following(tmp_path / "node", publish.address, requests.address) as follower:
                await follower.goes_on()
                dropper.chance = 0.002
                for number in range(10):
                    await asyncio.sleep(chance.uniform(0, 0.5))
                    publish.cut()
                    if number in {2, 7}:
                        requests.cut()
                    if number == 4:  # long enough for the bridge to forget what was missed
                        publish.swallows = True
                        await asyncio.sleep(1.5)
                        publish.swallows = False
                    await follower.goes_on()
                dropper.chance = 0.0
                last = max(ids(follower.read()))
                await follower.until(
                    lambda trades: ids(trades[-1:])[0] > last + 100, "trades behind the last cut"
                )
            trades, said = follower.read(), follower.said
    assert publish.cuts >= 10
    assert dropper.dropped > 0
    assert "catching up" in said
    assert said.count("starting over") >= 2, said
    first = ids(trades)[0]
    followed = sorted((one for one in trades if int(one[0]) <= last), key=lambda one: int(one[0]))
    assert ids(trades) != sorted(ids(trades))  # some came late
    assert len(set(ids(trades))) == len(trades)
    assert ids(followed) == list(range(first, last + 1))
    assert followed == stored(bridge, first, last)


async def test_a_bridge_that_is_started_anew_costs_no_trade(tmp_path: Path) -> None:
    needed_node()
    bridge = ServedBridge.ready(tmp_path / "var", "feed.simulated.rate=200")
    with following(tmp_path / "node", bridge.json, bridge.serve) as follower:
        with bridge.running():
            await follower.goes_on()
        with bridge.running():
            await follower.goes_on()
            last = max(ids(follower.read()))
            await follower.until(lambda trades: ids(trades[-1:])[0] > last, "one more")
    assert follower.said.count("starting over") == 2, follower.said
    followed = [one for one in follower.read() if int(one[0]) <= last]
    assert followed == stored(bridge, ids(followed)[0], last)
