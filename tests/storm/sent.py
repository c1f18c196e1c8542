"""What a storm over the store sends, and the journal of what was accepted of it.

The events are those of the simulated market, in blocks. A block is made of its number and the seed alone: so
a recorder that begins in the middle, and whoever compares at the end, need not make all that came before.
"""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.listing import simulated_instrument
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.instrument import Market

INSTRUMENTS = tuple(simulated_instrument(symbol, Market.SPOT) for symbol in ("ETH/USDT", "SOL/USDT"))
BLOCK = 5_000
"""Events of a block; the last one may have fewer."""
START = 1_723_158_000 * SECOND_NS
"""2024-08-08T23:00Z: the first midnight is near."""
SPACING_NS = 432 * SECOND_NS
"""From the start of a block to that of the next one. Five million events take five days of market time."""
RATE = 8.0
"""Events a second and instrument: a block takes about 312 s, and its ids end far below those of the next."""


def blocks(total: int) -> int:
    """Return in how many blocks so many events come."""
    return -(-total // BLOCK)


def span(number: int) -> tuple[int, int]:
    """Return a half-open range of ``ts_event`` in which the events of a block lie, and no others."""
    start = START + number * SPACING_NS
    return start, start + SPACING_NS


async def block(seed: int, number: int, total: int) -> Sequence[StoredEvent]:
    """Make the events of a block, in the order in which they are sent."""
    start, end = span(number)
    simulation = Simulation(
        seed=seed * 1_000_003 + number,
        rate=RATE,
        levels=20,
        events=min(BLOCK, total - number * BLOCK),
        speed="max",
        start=start,
    )
    feed = SimulatedFeed(simulation, ManualClock(start))
    async with aclosing(feed.stream(INSTRUMENTS)) as stream:
        events = [event async for event in stream]
    assert events[-1].ts_event < end
    return events


async def missing(seed: int, total: int, kept: bytearray) -> AsyncIterator[tuple[int, StoredEvent]]:
    """Yield each event that is not marked in ``kept``, and its number, in order."""
    for number in range(blocks(total)):
        first = number * BLOCK
        if kept.find(0, first, first + BLOCK) < 0:
            continue
        for at, event in enumerate(await block(seed, number, total), first):
            if not kept[at]:
                yield at, event


class Journal:
    """Which events were accepted. Batches are not accepted in order, so each line has the numbers of one.

    Only what is on the disk counts, and only whole lines do: a kill may have cut the last one.
    """

    def __init__(self, path: Path, total: int) -> None:
        self.kept = bytearray(total)
        """A 1 for each event that was accepted."""
        self.twice = 0
        """Events that were accepted more than once. None should be: what was accepted is not sent again."""
        self._path = path
        self._read = 0

    @property
    def accepted(self) -> int:
        return self.kept.count(1)

    def read(self) -> None:
        """Take in what was written since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            fresh = file.read()
        whole, newline, _ = fresh.rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.splitlines():
            for span_of in line.split(b","):
                first, _, last = span_of.partition(b"-")
                self._mark(int(first), int(last) + 1)

    def open(self) -> None:
        """Read the journal, and get ready to write behind its last whole line."""
        self.read()
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.ftruncate(self._file, self._read)

    def write(self, numbers: Iterable[int]) -> None:
        """Note that these events were accepted, on the disk when this returns."""
        runs: list[list[int]] = []
        for number in sorted(numbers):
            if runs and runs[-1][1] == number - 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        line = ",".join(f"{first}-{last}" for first, last in runs).encode() + b"\n"
        assert os.write(self._file, line) == len(line)
        os.fdatasync(self._file)
        for first, last in runs:
            self._mark(first, last + 1)

    def _mark(self, start: int, end: int) -> None:
        self.twice += self.kept.count(1, start, end)
        self.kept[start:end] = b"\1" * (end - start)
