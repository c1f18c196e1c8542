"""Small captures of made-up Binance frames, for tests that need files."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from binance_proxy.domain.instrument import Instrument, Market

START = 1_723_161_254_000_000_000
STEP_NS = 50_000_000


def instrument(symbol: str = "BTC/USDT", market: Market = Market.SPOT) -> Instrument:
    return Instrument(venue="binance", market=market, symbol=symbol)


def combined(symbol: str, stream: str, **data: object) -> str:
    data = {"e": stream, "E": (START + data.pop("at", 0)) // 1_000_000, "s": symbol} | data
    name = {"depthUpdate": "depth@100ms"}.get(stream, stream)
    return json.dumps({"stream": f"{symbol.lower()}@{name}", "data": data}, separators=(",", ":"))


def trade(number: int, symbol: str = "BTCUSDT", **changed: object) -> str:
    at = number * STEP_NS
    known = {"t": 100 + number, "p": f"{60_000 + number}.50", "q": "0.01000000", "m": number % 2 == 0}
    return combined(symbol, "trade", at=at, T=(START + at) // 1_000_000, **(known | changed))


def depth(number: int, symbol: str = "BTCUSDT", **changed: object) -> str:
    known = {
        "U": 1_000 + 2 * number, "u": 1_001 + 2 * number,
        "b": [[f"{59_000 - number}.00", "1.50000000"]], "a": [[f"{61_000 + number}.00", "2.00000000"]],
    }  # fmt: skip
    return combined(symbol, "depthUpdate", at=number * STEP_NS, **(known | changed))


def snapshot(number: int = 0) -> str:
    book = {"lastUpdateId": 1_001 + 2 * number, "bids": [["59000.00", "1.5"]], "asks": [["61000.00", "2"]]}
    return json.dumps(book, separators=(",", ":"))


def session(count: int, symbol: str = "BTCUSDT", *, first: int = 0) -> list[tuple[int, str]]:
    """Return receipt times and frames: trades and updates in turn, a snapshot behind the third frame."""
    frames = []
    for number in range(first, first + count):
        frame = trade(number // 2, symbol) if number % 2 else depth(number // 2, symbol)
        frames.append((START + number * STEP_NS, frame))
    frames.insert(3, (frames[2][0], snapshot(first // 2)))
    return frames


def write(path: Path, frames: Iterable[tuple[object, str]]) -> Path:
    """Write lines of receipt time and frame, packed if the name ends so."""
    content = "".join(f"{stamp} {frame}\n" for stamp, frame in frames).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
