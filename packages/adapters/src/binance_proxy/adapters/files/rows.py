"""The rows of a bulk file: split, counted, and turned into ticks; a fault says in which line it is."""

from collections.abc import Iterator
from typing import NamedTuple

from binance_proxy.adapters.files.names import BulkFile, Kind
from binance_proxy.adapters.files.soundness import Lines, lines_of
from binance_proxy.application.ports import HistoryRejected
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import ScaleError, TickRejected
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.printed import printed_candle, printed_trade
from binance_proxy.domain.scale import INT64_MAX
from binance_proxy.domain.tick import TradeTick

LONGEST_LINE = 1_024
"""Bytes; Binance's lines have about 100."""
_BOOLEANS = {"true": True, "false": False}


class Row(NamedTuple):
    """One line, and where it stands."""

    cells: list[str]
    number: int
    """Of its line, from 1."""
    at: int
    """Bytes in front of it."""


def rows_of(file: BulkFile, number: int = 1, at: int = 0) -> Iterator[Row]:
    """Yield the rows of a file in order, from a line on, of which is known how many bytes stand in front.

    A header is passed over; Binance's spot files have none.

    Raises:
        HistoryRejected: The file is damaged, or a line has not the columns that such files have on spot.
    """
    with lines_of(file.path) as lines:
        lines.seek(at)
        for line_number, line in enumerate(_lines(lines), number):
            at, begin = at + len(line), at
            cells = line.decode("ascii", "replace").rstrip("\r\n").split(",")
            if line_number == 1 and not cells[0].isdigit():
                if not cells[0].replace("_", "").replace(" ", "").isalpha():
                    raise fault(file, line_number, f"it does not begin with a number: {line[:60]!r}")
                continue
            if len(cells) != file.kind.value:
                raise fault(
                    file,
                    line_number,
                    f"such a row of spot has {file.kind.value} columns, this one has {len(cells)}",
                )
            yield Row(cells, line_number, begin)


def matches_in(file: BulkFile, row: Row) -> tuple[int, int]:
    """Return the first and last single trade of a row of trades, or of aggregated ones."""
    first, last = (0, 0) if file.kind is Kind.TRADES else (3, 4)
    return _whole(file, row, first), _whole(file, row, last)


def printed_time_in(file: BulkFile, row: Row) -> int:
    """Return the time of a row as it is printed, in ms or µs; of a candle when it opens."""
    return _whole(file, row, {Kind.TRADES: 4, Kind.AGGREGATED: 5, Kind.CANDLES: 0}[file.kind])


def trade_in(file: BulkFile, row: Row, instrument: Instrument, ts_recv: int) -> TradeTick:
    """Return the trade that a row is, or the aggregated one that stands in for its matches.

    Raises:
        HistoryRejected: It says something that cannot be true.
    """
    first_id, last_id = matches_in(file, row)
    single = file.kind is Kind.TRADES
    sold = _BOOLEANS.get(row.cells[5 if single else 6].lower())
    if sold is None:
        raise fault(file, row.number, f"{row.cells[5 if single else 6]!r} is neither True nor False")
    try:
        return printed_trade(
            instrument,
            (first_id, None if single else last_id),
            row.cells[1],
            row.cells[2],
            printed_time_in(file, row),
            buyer_is_maker=sold,
            ts_recv=ts_recv,
        )
    except (ScaleError, TickRejected) as error:
        raise fault(file, row.number, str(error)) from error


def candle_in(file: BulkFile, row: Row, instrument: Instrument, ts_recv: int) -> Candle:
    """Return the candle that a row is. Raises `HistoryRejected` if it cannot be true."""
    cells = row.cells
    try:
        return printed_candle(
            instrument,
            Timeframe(file.timeframe),
            printed_time_in(file, row),
            (cells[1], cells[2], cells[3], cells[4]),
            (cells[5], cells[7]),
            _whole(file, row, 8),
            ts_recv=ts_recv,
        )
    except (ScaleError, TickRejected) as error:
        raise fault(file, row.number, str(error)) from error


def fault(file: BulkFile, number: int, what: str) -> HistoryRejected:
    """Return the error of a line that cannot be used."""
    return HistoryRejected(f"{file.path.name} line {number}: {what}")


def _lines(lines: Lines) -> Iterator[bytes]:
    while line := lines.readline(LONGEST_LINE):
        yield line


def _whole(file: BulkFile, row: Row, column: int) -> int:
    text = row.cells[column]
    if text.isascii() and text.isdigit() and len(text) <= 19 and (number := int(text)) <= INT64_MAX:
        return number
    raise fault(file, row.number, f"column {column + 1} should be a whole number, and is {text!r:.40}")
