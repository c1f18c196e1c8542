"""The feed that plays capture files, several at once, in receipt order."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Protocol, Self

from binance_proxy.adapters.capture.lines import Line, read_lines
from binance_proxy.adapters.capture.soundness import SOUND, Soundness, check
from binance_proxy.application.ports import Clock, FeedRejected, FrameRejected, TrackedPair
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BadFrame, BookSnapshot, MarketEvent, QuoteTick, TradeTick

LOOKED_AT = 200
"""Frames at the beginning of a file that say what the file is about."""
BREATH = 1_024
"""After so many lines the other tasks of the loop get a turn, also if none of them is of interest."""


class Frames(Protocol):
    """How a venue writes its frames; `binance_proxy.adapters.binance.frames.BinanceFrames` is one."""

    market: Market

    def market_of(self, raw: bytes) -> Market | None:
        """Return the market that a frame shows itself to be of, if it does."""
        ...

    def describe(self, raw: bytes) -> Instrument | None:
        """Return the instrument that a frame names, if it names one."""
        ...

    def with_instruments(self, instruments: Iterable[Instrument]) -> Self:
        """Return a decoder for these instruments."""
        ...

    def decode(
        self, raw: bytes, ts_recv: int, home: Instrument | None = None
    ) -> TradeTick | QuoteTick | BookSnapshot | None:
        """Return what a frame says, `None` if it is of no interest; raise `FrameRejected`."""
        ...


class CaptureFeed:
    """Events out of capture files, as they were received.

    A file is about the pair that nearly all of its first frames name, as recorders write one file a pair;
    a stray frame of another pair is a `BadFrame`. A file of several pairs is played for all of them, but a
    bare snapshot in it belongs to nobody. ``pairs`` names the pairs to play instead.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        frames: Frames,
        clock: Clock,
        *,
        speed: float | None,
        pairs: Sequence[str] = (),
    ) -> None:
        """Take the files; ``speed`` is a multiple of real time, `None` for as fast as can be."""
        self._paths = paths
        self._frames = frames
        self._clock = clock
        self._speed = speed
        self._pairs = set(pairs)
        self._home: dict[Path, Instrument] = {}
        self._soundness: dict[Path, Soundness] = {}

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        """Look into each file and return the instruments in them, whatever is wanted.

        Raises:
            FeedRejected: There is no file, or one cannot be opened.
        """
        if not self._paths:
            raise FeedRejected("feed.capture.paths names no file: give at least one capture to play")
        found: dict[str, Instrument] = {}
        for path in self._paths:
            self._soundness[path] = await self._check(path)
            beginning = [line.raw for line in islice(self._only_lines(path), LOOKED_AT)]
            self._refuse_other_market(path, beginning)
            named = [self._frames.describe(raw) for raw in beginning]
            counts = Counter(instrument.symbol for instrument in named if instrument)
            described = {instrument.symbol: instrument for instrument in reversed(named) if instrument}
            for symbol, count in counts.most_common(1):
                if count >= 0.9 * counts.total():
                    self._home[path] = described[symbol]
                    described = {symbol: described[symbol]}
            found |= {symbol: one for symbol, one in described.items() if symbol not in found}
        damaged = [f"{path} is a {sound.kind}" for path, sound in self._soundness.items() if sound.limit == 0]
        if damaged and not found:
            raise FeedRejected(f"nothing can be played: {', '.join(damaged)}")
        if self._pairs:
            found = {symbol: one for symbol, one in found.items() if symbol in self._pairs}
        return sorted(found.values(), key=lambda one: one.name)

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        """Yield the events of all files in receipt order, paced by ``speed``."""
        frames = self._frames.with_instruments(instruments)
        given = {instrument.name: instrument for instrument in instruments}
        home = {path: given.get(instrument.name) for path, instrument in self._home.items()}
        pace = _Pace(self._clock, self._speed) if self._speed is not None else None
        files = [read_lines(path, self._soundness.get(path, SOUND)) for path in self._paths]
        lines = merge(*files, key=lambda line: line.ts_recv)
        for number, line in enumerate(lines, 1):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            if pace is not None:
                await pace.wait_for(line.ts_recv)
            if isinstance(line, BadFrame):
                yield line
                continue
            try:
                event = frames.decode(line.raw, line.ts_recv, home.get(line.path))
            except FrameRejected as error:
                yield BadFrame(kind=error.kind, where=line.where, detail=error.detail, ts_recv=line.ts_recv)
                continue
            if event is not None:
                yield event

    def resync(self, instrument: Instrument) -> None:
        """Do nothing: a file has the snapshots that it has."""

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Do nothing: a file has the instruments that it has."""

    async def _check(self, path: Path) -> Soundness:
        try:
            return await asyncio.to_thread(check, path)
        except OSError as error:
            raise FeedRejected(f"cannot read the capture {path}: {error.strerror}") from error

    def _refuse_other_market(self, path: Path, beginning: Sequence[bytes]) -> None:
        """Raise `FeedRejected` if most frames show that they are of another market than is being recorded."""
        markets = Counter(market for market in map(self._frames.market_of, beginning) if market)
        for market, count in markets.most_common(1):
            if market is not self._frames.market and count > markets.total() / 2:
                raise FeedRejected(
                    f"{path} holds frames of {market}, not of {self._frames.market}:"
                    f" set feed.capture.market = {market}"
                )

    def _only_lines(self, path: Path) -> Iterator[Line]:
        lines = read_lines(path, self._soundness.get(path, SOUND))
        return (line for line in lines if isinstance(line, Line))


class _Pace:
    """Lets recorded time pass at a multiple of real time."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self._began: tuple[int, int] | None = None  # (recorded, real) ns

    async def wait_for(self, ts_recv: int) -> None:
        if self._began is None and ts_recv:
            self._began = ts_recv, self._clock.now()
        if self._began is not None:
            recorded, real = self._began
            await self._clock.sleep_until(real + int((ts_recv - recorded) / self._speed))
