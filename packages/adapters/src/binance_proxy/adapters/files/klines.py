"""Candles in a file of anybody's: told by its header or by Binance's columns, under any name."""

import asyncio
import csv
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from binance_proxy.adapters.files.soundness import Lines, lines_of
from binance_proxy.application.audit_candles import TheirCandle, TheirCandles
from binance_proxy.application.ports import HistoryRejected
from binance_proxy.domain.candle import SECOND_NS, Timeframe
from binance_proxy.domain.errors import ScaleError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.printed import printed_unit_ns
from binance_proxy.domain.scale import INT64_MAX, to_units

PAGE = 1_000
LONGEST_LINE = 1_024
"""Bytes."""
FIRST_MILLISECOND = 10**11
"""Whole numbers below this are seconds (until the year 5138)."""
DAY_S = 86_400
UNITS_S = {"w": 7 * DAY_S, "d": DAY_S, "h": 3_600, "m": 60, "s": 1}

NAMES = {
    "start": ("open_time", "open_time_ms", "opentime", "timestamp", "start", "time", "date", "datetime"),
    "end": ("close_time", "close_time_ms", "closetime"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "base_volume"),
    "quote_volume": ("quote_volume", "quote_asset_volume", "quotevolume"),
    "trades": ("count", "trades", "number_of_trades"),
}
"""What a column may be called."""
NEEDED = ("start", "open", "high", "low", "close", "volume")
UNNAMED = ("start", "open", "high", "low", "close", "volume", "end", "quote_volume", "trades")
"""The columns of a file without a header, as Binance has them."""


class KlineFile(Struct, frozen=True):
    """A file that was looked through, and is sound."""

    path: Path
    instrument: Instrument
    columns: dict[str, int]
    has_header: bool
    timeframe: Timeframe

    def candles(self) -> TheirCandles:
        """Return what is in the file."""
        return TheirCandles(self.path.name, self.timeframe, self._pages())

    async def _pages(self) -> AsyncGenerator[Sequence[TheirCandle]]:
        rows = _rows(self.path, self.instrument, self.columns, has_header=self.has_header)
        candles = (_with_end(candle, self.timeframe) for _, candle in rows)
        while page := list(islice(candles, PAGE)):
            yield page
            await asyncio.sleep(0)


async def kline_file(path: Path, instrument: Instrument) -> KlineFile:
    """Look through a file of candles of an instrument: csv, or such a file in gz or zip.

    How long they are is told by their open and close times, or by what lies between two open times.

    Raises:
        HistoryRejected: The file is damaged, is no table of candles, or is not in order. It names the line.
    """
    return await asyncio.to_thread(_look_through, path, instrument)


def _look_through(path: Path, instrument: Instrument) -> KlineFile:
    with lines_of(path) as lines:
        first = next(csv.reader(_texts(lines, path)), [])
    has_header = bool(first) and not re.fullmatch(r"\d+", first[0].strip()) and _is_name(first[0])
    columns = _columns(path, first, has_header=has_header)
    length = before = None
    number = 1
    for number, candle in _rows(path, instrument, columns, has_header=has_header):
        if before is not None:
            if candle.start <= before.start:
                raise HistoryRejected(f"{path.name} line {number}: it does not begin behind the one before")
            if "end" not in columns:
                step = candle.start - before.start
                length = step if length is None else min(length, step)
        if "end" in columns:
            length = max(length or 0, candle.end - candle.start)
        before = candle
    if before is None:
        raise HistoryRejected(f"there is no candle in {path.name}")
    if length is None:
        raise HistoryRejected(
            f"{path.name} holds one candle and no close time, so nothing says how long it is"
        )
    timeframe = _timeframe(path, length)
    for number, candle in _rows(path, instrument, columns, has_header=has_header):
        if timeframe.period(candle.start)[0] != candle.start:
            raise HistoryRejected(f"{path.name} line {number}: no {timeframe} candle begins there")
    return KlineFile(path, instrument, columns, has_header, timeframe)


def _columns(path: Path, first: Sequence[str], *, has_header: bool) -> dict[str, int]:
    """Return where each value stands."""
    if has_header:
        names = [name.strip().lower().replace(" ", "_") for name in first]
        found = {
            value: names.index(name)
            for value, known in NAMES.items()
            if (name := next((one for one in known if one in names), None)) is not None
        }
    else:
        found = {value: at for at, value in enumerate(UNNAMED[: len(first)])}
        if len(first) < len(UNNAMED):
            found = {value: at for value, at in found.items() if value in NEEDED}
    lacking = [value for value in NEEDED if value not in found]
    if lacking:
        wanted = ", ".join(NAMES[value][0] for value in lacking)
        raise HistoryRejected(f"{path.name} is no table of candles: it has no column {wanted}")
    return found


def _rows(
    path: Path, instrument: Instrument, columns: dict[str, int], *, has_header: bool
) -> Iterator[tuple[int, TheirCandle]]:
    """Yield line numbers and candles; where the file has no close time, ``end`` is ``start``."""
    with lines_of(path) as lines:
        reader = csv.reader(_texts(lines, path), strict=True)
        try:
            for number, cells in enumerate(reader, 1):
                if cells and not (number == 1 and has_header):
                    yield number, _candle(path, number, cells, instrument, columns)
        except csv.Error as error:
            raise HistoryRejected(f"{path.name} line {reader.line_num}: {error}") from error


def _candle(
    path: Path, number: int, cells: Sequence[str], instrument: Instrument, columns: dict[str, int]
) -> TheirCandle:
    price, size = instrument.price_precision, instrument.size_precision
    if len(cells) <= max(columns.values()):
        raise HistoryRejected(f"{path.name} line {number}: it has only {len(cells)} columns")
    said = {value: cells[at].strip() for value, at in columns.items()}
    try:
        start, _ = _time(said["start"])
        end = start
        if "end" in said:
            last, unit = _time(said["end"])
            end = last if last % SECOND_NS == 0 else last + unit
        trades = int(said["trades"]) if "trades" in said else None
        quote_volume = _sum(said["quote_volume"], price + size) if "quote_volume" in said else None
        return TheirCandle(
            start=start,
            end=end,
            open=to_units(said["open"], price),
            high=to_units(said["high"], price),
            low=to_units(said["low"], price),
            close=to_units(said["close"], price),
            volume=_sum(said["volume"], size),
            quote_volume=quote_volume,
            trades=trades,
        )
    except (ScaleError, ValueError, OverflowError) as error:
        raise HistoryRejected(f"{path.name} line {number}: {error}") from error


def _time(text: str) -> tuple[int, int]:
    """Return a time and its unit, in ns: whole seconds, ms or µs since the epoch, or an ISO date."""
    if re.fullmatch(r"\d{1,18}", text):
        printed = int(text)
        unit = SECOND_NS if printed < FIRST_MILLISECOND else printed_unit_ns(printed)
        ts = printed * unit
    else:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
        ts, unit = ((since.days * DAY_S + since.seconds) * 10**6 + since.microseconds) * 1_000, 1_000
    if not 0 <= ts <= INT64_MAX // 2:
        raise ValueError(f"the time {text} lies before or behind all trading")
    return ts, unit


def _sum(text: str, precision: int) -> int:
    """Read a sum, which may be larger than what 64 bits hold."""
    whole, _, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 30):
        raise ScaleError(f"{text!r:.40} is not a sum")
    unit: int = 10**precision
    return int(whole) * unit + to_units(f"0.{fraction}", precision)


def _timeframe(path: Path, length_ns: int) -> Timeframe:
    length_s, rest = divmod(length_ns, SECOND_NS)
    if not rest and length_s:
        if 28 * DAY_S < length_s <= 31 * DAY_S or length_s == 28 * DAY_S:
            return Timeframe("1mo")
        for unit, unit_s in UNITS_S.items():
            if length_s % unit_s == 0 and length_s // unit_s <= 9_999:
                return Timeframe(f"{length_s // unit_s}{unit}")
    raise HistoryRejected(f"{path.name}: {length_ns / SECOND_NS:g} s is no length of candles")


def _with_end(candle: TheirCandle, timeframe: Timeframe) -> TheirCandle:
    return replace(candle, end=timeframe.period(candle.start)[1])


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z_ ]+", text.strip()) is not None


def _texts(lines: Lines, path: Path) -> Iterator[str]:
    while line := lines.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise HistoryRejected(f"{path.name} is no table of candles: it has a line of over 1 KiB")
        yield line.decode("utf-8", "replace")
