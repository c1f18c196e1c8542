"""What a bulk file holds, by its name: ``ETHUSDT-trades-2024-08-08.zip``, ``ETHUSDT-1m-2024-08.zip``.

Source: Binance, "binance-public-data" (README).
"""

import re
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from binance_proxy.application.ports import HistoryRejected

_NAME = re.compile(r"([A-Z0-9]+)-([A-Za-z0-9]+)-\d{4}-\d{2}(?:-\d{2})?\.(?:zip|csv|csv\.gz)")
_TIMEFRAME = re.compile(r"\d+(?:s|m|h|d|w|mo)")


class Kind(Enum):
    """Which rows a file has, and how many columns each has on spot."""

    TRADES = 7
    AGGREGATED = 8
    CANDLES = 12


class BulkFile(NamedTuple):
    """One file, by its name."""

    path: Path
    code: str
    """As Binance writes the pair: ``ETHUSDT``."""
    kind: Kind
    timeframe: str
    """Of candles, as people write it: ``1m``, ``1mo``; empty for trades."""


def bulk_file(path: Path) -> BulkFile:
    """Return what a file says it holds.

    Raises:
        HistoryRejected: It is not named as Binance names its files.
    """
    match = _NAME.fullmatch(path.name)
    if match is not None:
        code, holds = match[1], match[2]
        if holds == "trades":
            return BulkFile(path, code, Kind.TRADES, "")
        if holds == "aggTrades":
            return BulkFile(path, code, Kind.AGGREGATED, "")
        if _TIMEFRAME.fullmatch(holds):
            return BulkFile(path, code, Kind.CANDLES, holds)
    raise HistoryRejected(
        f"{path.name} is not named as Binance names its files, such as ETHUSDT-trades-2024-08-08.zip,"
        " ETHUSDT-aggTrades-2024-08.zip or ETHUSDT-1m-2024-08-08.zip: the name says what is in it"
    )
