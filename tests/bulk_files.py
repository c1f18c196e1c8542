"""Bulk files as Binance publishes them, made of trades."""

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from binance_proxy.domain.candle import CandleFold, Timeframe
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import Side, TradeTick
from rest_venue import aggregate

MS, US = 10**6, 10**3
DAY = "2024-08-08"


def write(path: Path, rows: Iterable[str], *, with_checksum: bool = True) -> Path:
    """Write a table, zipped if the name says so, with its checksum beside it."""
    text = "".join(f"{row}\n" for row in rows)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}.csv", text)
    else:
        path.write_text(text)
    return checksum(path) if with_checksum else path


def checksum(path: Path, sum_: str | None = None) -> Path:
    """Write the checksum of a file beside it, or another one."""
    sum_ = sum_ or hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{sum_}  {path.name}\n")
    return path


def trade_rows(trades: Sequence[TradeTick], unit_ns: int = MS) -> list[str]:
    return [
        f"{one.trade_id},{to_text(one.price, 8)},{to_text(one.size, 8)},0.00,{one.ts_event // unit_ns},"
        f"{one.aggressor is Side.SELL},True"
        for one in trades
    ]


def aggregate_rows(trades: Sequence[TradeTick], unit_ns: int = MS) -> list[str]:
    return [
        f"{7 + number},{to_text(group[0].price, 8)},{to_text(sum(one.size for one in group), 8)},"
        f"{group[0].trade_id},{group[-1].trade_id},{group[0].ts_event // unit_ns},"
        f"{group[0].aggressor is Side.SELL},True"
        for number, group in enumerate(aggregate(trades))
    ]


def candle_rows(trades: Sequence[TradeTick], name: str = "1m", unit_ns: int = MS) -> list[str]:
    """Print the candles that have closed, and one of nothing for each period between them."""
    fold = CandleFold(trades[0].instrument, Timeframe(name))
    rows, reached = [], None
    for candle in (candle for one in trades for candle in fold.feed(one)):
        while reached is not None and reached < candle.start:
            start, reached = Timeframe(name).period(reached)
            rows.append(f"{start // unit_ns},1,1,1,1,0,{reached // unit_ns - 1},0,0,0,0,0")
        reached = candle.end
        prices = ",".join(to_text(price, 8) for price in (candle.open, candle.high, candle.low, candle.close))
        rows.append(
            f"{candle.start // unit_ns},{prices},{to_text(candle.volume, 8)},{candle.end // unit_ns - 1},"
            f"{to_text(candle.quote_volume, 16)},{candle.trades},0,0,0"
        )
    return rows
