"""Candles and trades as frames of pandas or Polars, where those are installed."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, TypeAlias

from binance_proxy.client.answers import Page
from binance_proxy.client.calls import Answer
from binance_proxy.client.errors import Unavailable
from binance_proxy.client.messages import Candle, Trade
from binance_proxy.client.methods import Methods

Library = Literal["pandas", "polars"]

Frame: TypeAlias = Any
"""A frame of pandas, of Polars, or of Arrow: none of them has to be installed."""
Package: TypeAlias = Any

ARROW_ROWS = 100_000
ROWS = 10_000

CANDLES = {
    "start": "time", "open": "float", "high": "float", "low": "float", "close": "float", "volume": "float",
    "quote_volume": "float", "vwap": "float", "trades": "int", "closed": "bool", "complete": "bool",
}  # fmt: skip
"""Columns of a frame of candles, and what they hold."""
TRADES = {"ts_event": "time", "trade_id": "int", "price": "float", "size": "float", "aggressor": "text"}
"""Columns of a frame of trades, likewise."""


def wanted(name: str) -> Package:
    """Import a package that frames need. Raises `Unavailable` if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise Unavailable(f"{name} is not installed: `pip install {name}`") from error


def has_arrow() -> bool:
    """Say whether answers can be read as Arrow."""
    try:
        import_module("pyarrow.ipc")
    except ImportError:
        return False
    return True


async def frame(
    bridge: Methods,
    method: str,
    kind: type[Candle] | type[Trade],
    columns: dict[str, str],
    to: Library,
    *,
    params: Mapping[str, object],
    limit: int | None,
) -> Frame:
    """Ask for rows, all pages of a range or the newest ``limit``, and make a frame of them.

    Raises:
        Unavailable: The library is not installed.
        RequestFailed: The bridge refuses. Likewise `RequestTimedOut` and `BridgeAway`.
    """
    if to not in {"pandas", "polars"}:
        raise Unavailable(f"there are frames of pandas and of polars, and none of {to!r}")
    wanted(to)
    as_arrow = has_arrow()
    most = ARROW_ROWS if as_arrow else ROWS
    answers: list[Answer] = []
    rows, cursor = 0, None
    while True:
        left = most if limit is None else min(most, limit - rows)
        accept = "arrow" if as_arrow else None
        answer = await bridge.ask(method, {**params, "limit": left, "cursor": cursor, "accept": accept})
        answers.append(answer)
        said = answer.read(dict[str, Any])
        arrow = said.get("arrow")
        rows += arrow["rows"] if arrow else len(said.get("rows") or ())
        cursor = said.get("next")
        if cursor is None or (limit is not None and rows >= limit):
            break
    if as_arrow and all(one.arrow is not None for one in answers):
        return _of_arrow([one.arrow for one in answers if one.arrow is not None], columns, to)
    found: list[Candle | Trade] = []
    for one in answers:
        page: Page[Any] = one.read(Page[kind])  # type: ignore[valid-type]
        found += page.rows or ()
    return _of_rows(found, columns, to)


def _of_arrow(streams: Sequence[bytes], columns: dict[str, str], to: Library) -> Frame:
    pa, ipc = wanted("pyarrow"), wanted("pyarrow.ipc")
    tables = [ipc.open_stream(stream).read_all() for stream in streams]
    table = pa.concat_tables([_cast(pa, one, columns) for one in tables])
    if to == "polars":
        return wanted("polars").from_arrow(table)
    made = table.to_pandas()
    return _indexed(made, columns)


def _cast(pa: Package, table: Frame, columns: dict[str, str]) -> Frame:
    kinds = {
        "time": pa.timestamp("ns", tz="UTC"), "float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(),
        "text": pa.string(),
    }  # fmt: skip
    return pa.table({name: table.column(name).cast(kinds[kind]) for name, kind in columns.items()})


def _of_rows(rows: Sequence[Candle | Trade], columns: dict[str, str], to: Library) -> Frame:
    convert = {"float": float, "time": int, "int": int, "bool": bool, "text": str}
    found = {name: [convert[kind](getattr(row, name)) for row in rows] for name, kind in columns.items()}
    if to == "polars":
        pl = wanted("polars")
        kinds = {
            "time": pl.Int64,
            "float": pl.Float64,
            "int": pl.Int64,
            "bool": pl.Boolean,
            "text": pl.String,
        }
        made = pl.DataFrame(found, schema={name: kinds[kind] for name, kind in columns.items()})
        times = [name for name, kind in columns.items() if kind == "time"]
        return made.with_columns(
            [pl.col(name).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC") for name in times]
        )
    pd = wanted("pandas")
    kinds = {"time": "int64", "float": "float64", "int": "int64", "bool": "bool", "text": "object"}
    made = pd.DataFrame({name: pd.Series(found[name], dtype=kinds[kind]) for name, kind in columns.items()})
    for name, kind in columns.items():
        if kind == "time":
            made[name] = pd.to_datetime(made[name], unit="ns", utc=True)
    return _indexed(made, columns)


def _indexed(made: Frame, columns: dict[str, str]) -> Frame:
    """Make the time the index of a pandas frame."""
    time = next(name for name, kind in columns.items() if kind == "time")
    return made.set_index(time)


async def candles_frame(
    bridge: Methods, to: Library, limit: int | None, params: Mapping[str, object]
) -> Frame:
    """Return candles as a frame: see `Bridge.candles_frame`."""
    return await frame(bridge, "candles.list", Candle, CANDLES, to, params=params, limit=limit)


async def trades_frame(
    bridge: Methods, to: Library, limit: int | None, params: Mapping[str, object]
) -> Frame:
    """Return trades as a frame: see `Bridge.trades_frame`."""
    return await frame(bridge, "trades.list", Trade, TRADES, to, params=params, limit=limit)
