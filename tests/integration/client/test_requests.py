"""The client's requests over real sockets: errors, deadlines, broken links, pages and frames."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import zmq.asyncio

from binance_proxy.client import BridgeAway, RequestFailed, RequestTimedOut, Unavailable
from binance_proxy.client import frames as frames_module
from binance_proxy.client.methods import Methods
from binance_proxy.client.requests import Requests, open_requests
from served import Front, Refused, Wires, serving
from zeromq_wire import free_addresses

DEADLINE_S = 30.0
T0 = 1_723_161_240_000_000_000
MINUTE_NS = 60_000_000_000


class Asking(Methods):
    """The methods of a bridge over nothing but its request side."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.timeout_s = DEADLINE_S

    async def ask(self, method: str, params: Any, timeout_s: float | None = None) -> Any:
        given = {key: value for key, value in params.items() if value is not None}
        return await self.requests.call(method, given, timeout_s=timeout_s or self.timeout_s)


class Line:
    def __init__(self, front: Front, wires: Wires, asking: Asking) -> None:
        self.front, self.wires, self.asking = front, wires, asking


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    [address] = free_addresses(1)
    context = zmq.asyncio.Context()
    async with AsyncExitStack() as stack:
        stack.callback(context.destroy, linger=0)
        front = await stack.enter_async_context(serving(address))
        wires = await stack.enter_async_context(Wires(address).run())
        requests = await stack.enter_async_context(open_requests(context, wires.address))
        yield Line(front, wires, Asking(requests))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.01)


async def test_any_method_can_be_asked_by_its_name(line: Line) -> None:
    line.front.answers["stats.spread"] = lambda params: {"bid": "1", "of": params["symbol"]}
    assert await line.asking.request("stats.spread", symbol="ETH/USDT", at=None) == {
        "bid": "1",
        "of": "ETH/USDT",
    }
    [(method, params)] = line.front.asked
    assert method == "stats.spread"
    assert set(params) == {"symbol", "timeout_ms"}
    assert 1 <= params["timeout_ms"] <= DEADLINE_S * 1000


async def test_many_requests_are_under_way_at_once_and_each_gets_its_own_answer(line: Line) -> None:
    line.front.answers["rpc.discover"] = lambda params: params["number"]
    asked = [line.asking.request("rpc.discover", number=number) for number in range(500)]
    assert await asyncio.gather(*asked) == list(range(500))


async def test_a_refusal_says_what_and_whether_a_retry_may_help(line: Line) -> None:
    def refuse(_: object) -> object:
        raise Refused(-32602, "WrongParams", "symbol: is missing", retry=False)

    line.front.answers["trades.list"] = refuse
    with pytest.raises(RequestFailed, match=r"trades\.list: symbol: is missing") as caught:
        await line.asking.request("trades.list")
    assert (caught.value.code, caught.value.kind, caught.value.retry) == (-32602, "WrongParams", False)
    assert len(line.front.asked) == 1


async def test_what_may_help_is_asked_again_unless_it_would_do_something_twice(line: Line) -> None:
    turns: list[int] = []

    def refuse_twice(_: object) -> object:
        turns.append(1)
        if len(turns) <= 2:
            raise Refused(-32003, "StoreUnavailable", "the store is away", retry=True)
        return {"pairs": [], "removed": True}

    line.front.answers["pairs.list"] = line.front.answers["pairs.remove"] = refuse_twice
    assert await line.asking.pairs_list() == []
    assert len(turns) == 3
    turns.clear()
    with pytest.raises(RequestFailed, match="the store is away"):
        await line.asking.pairs_remove("ETH/USDT")
    assert len(turns) == 1


async def test_an_answer_that_does_not_come_is_an_error_in_time(line: Line) -> None:
    line.front.is_deaf = True
    began = asyncio.get_running_loop().time()
    with pytest.raises(RequestTimedOut, match=r"no answer within 0\.2 s"):
        await line.asking.request("pairs.list", timeout_s=0.2)
    assert asyncio.get_running_loop().time() - began < DEADLINE_S / 2
    assert line.asking.requests._calls.under_way == 0


async def test_where_nobody_is_it_says_so() -> None:
    [address] = free_addresses(1)
    context = zmq.asyncio.Context()
    async with open_requests(context, address) as requests:
        with pytest.raises(BridgeAway, match="no bridge answers requests on"):
            await requests.call("pairs.list", {}, timeout_s=0.2)
    context.destroy(linger=0)


async def test_what_was_under_way_when_the_link_broke_is_asked_again(line: Line) -> None:
    line.front.is_deaf = True
    asking = asyncio.create_task(line.asking.pairs_list())
    adding = asyncio.create_task(line.asking.pairs_add("BTC/USDT"))
    await until(lambda: len(line.front.asked) == 2)
    line.front.is_deaf = False
    line.front.answers["pairs.list"] = lambda _: {"pairs": [{"symbol": "ETH/USDT", "enabled": False}]}
    line.wires.cut()
    [pair] = await asking
    assert (pair.symbol, pair.enabled) == ("ETH/USDT", False)
    with pytest.raises(RequestFailed, match="the connection broke") as caught:
        await adding
    assert caught.value.retry


async def test_what_waits_for_a_connection_is_not_broken_by_the_end_of_another(line: Line) -> None:
    requests = line.asking.requests
    line.front.answers["pairs.add"] = lambda params: {"symbol": params["symbol"]}
    await line.asking.pairs_add("ETH/USDT")
    line.wires.refuses = True
    line.wires.cut()
    await until(lambda: line.wires.refused > 0)
    adding = asyncio.create_task(line.asking.pairs_add("BTC/USDT"))
    await until(lambda: requests._calls.under_way == 1)
    refused = line.wires.refused
    await until(lambda: line.wires.refused > refused)
    line.wires.refuses = False
    assert (await adding).symbol == "BTC/USDT"


async def test_an_answer_that_is_none_harms_nobody(line: Line) -> None:
    requests = line.asking.requests
    for frames in ([], [b""], [b"\xff"], [b"\x81\xa2id\x07"], [b"", b"{}"], [b"\x81\xa2id\xa1x"]):
        requests.take(frames)
    line.front.answers["pairs.list"] = lambda _: {"pairs": []}
    assert await line.asking.pairs_list() == []


def candle(minute: int) -> dict[str, Any]:
    start = T0 + minute * MINUTE_NS
    return {
        "venue": "binance", "market": "spot", "symbol": "ETH/USDT", "timeframe": "1m", "start": start,
        "end": start + MINUTE_NS, "open": "2999.7", "high": "3000.25", "low": "2999", "close": "3000",
        "volume": "1.5", "quote_volume": "4499.55", "vwap": "2999.7", "trades": 3, "closed": minute < 24,
        "complete": True,
    }  # fmt: skip


CANDLES = [candle(minute) for minute in range(25)]


def paged(params: dict[str, Any]) -> Any:
    """Answer with ten candles at most, as rows or as Arrow."""
    first = int(params.get("cursor", 0))
    rows = CANDLES[first : first + min(10, params["limit"])]
    behind = first + len(rows)
    page = {"rows": rows, "next": str(behind) if behind < len(CANDLES) else None, "holes": [], "as_of": 1}
    if params.get("accept") != "arrow":
        return page
    decimals = {"open", "high", "low", "close", "volume", "quote_volume", "vwap"}
    columns: dict[str, pa.Array] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in decimals:
            columns[name] = pa.array([Decimal(value) for value in values], pa.decimal128(38, 12))
        elif name in {"start", "end"}:
            columns[name] = pa.array(values, pa.timestamp("ns", tz="UTC"))
        else:
            columns[name] = pa.array(values)
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return page | {"rows": None, "arrow": {"frame": 1, "rows": len(rows)}}, sink.getvalue()


async def test_an_answer_of_another_shape_is_a_failure_of_the_request(line: Line) -> None:
    line.front.answers["pairs.list"] = lambda _: {"pairs": 7}
    with pytest.raises(RequestFailed, match=r"pairs\.list: the answer cannot be read"):
        await line.asking.pairs_list()


async def test_a_history_is_read_page_after_page(line: Line) -> None:
    line.front.answers["candles.list"] = paged
    found = [one async for one in line.asking.candle_history("ETH/USDT", "1m", T0)]
    assert [one.start for one in found] == [row["start"] for row in CANDLES]
    assert found[0].open == Decimal("2999.7")
    assert not found[-1].closed
    cursors = [params.get("cursor") for _, params in line.front.asked]
    assert cursors == [None, "10", "20"]
    pages = [one.read(dict[str, Any]) async for one in line.asking.pages("candles.list", limit=5)]
    assert [len(page["rows"]) for page in pages] == [5] * 5


@pytest.mark.parametrize("with_arrow", [True, False])
@pytest.mark.parametrize("to", ["pandas", "polars"])
async def test_frames_are_the_same_by_arrow_and_by_rows(
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    with_arrow: bool,
) -> None:
    line.front.answers["candles.list"] = paged
    monkeypatch.setattr(frames_module, "has_arrow", lambda: with_arrow)
    params = {"symbol": "ETH/USDT", "timeframe": "1m", "start": T0}
    made = await frames_module.candles_frame(line.asking, to, None, params)
    columns = [
        "open",
        "high",
        "low",
        "close",
        "volume",
        "quote_volume",
        "vwap",
        "trades",
        "closed",
        "complete",
    ]
    if to == "pandas":
        assert list(made.columns) == columns
        assert isinstance(made.index, pd.DatetimeIndex)
        assert (str(made.index.tz), made.index.name) == ("UTC", "start")
        assert made.index[0] == pd.Timestamp(T0, unit="ns", tz="UTC")
        assert {str(kind) for kind in made.dtypes[:7]} == {"float64"}
        assert (made.open.iloc[0], made.high.iloc[-1], made.closed.iloc[-1]) == (2999.7, 3000.25, False)
    else:
        assert made.columns == ["start", *columns]
        assert made.schema["start"] == pl.Datetime("ns", "UTC")
        assert made.schema["open"] == pl.Float64
        assert (made["low"][0], made["trades"].sum()) == (2999.0, 75)
    assert len(made) == 25
    assert {params.get("accept") for _, params in line.front.asked} == {"arrow" if with_arrow else None}


async def test_a_frame_has_no_more_rows_than_are_wanted(line: Line) -> None:
    line.front.answers["candles.list"] = paged
    assert len(await frames_module.candles_frame(line.asking, "pandas", 13, {"symbol": "ETH/USDT"})) == 13


@pytest.mark.parametrize("with_arrow", [True, False])
async def test_a_frame_without_rows_has_its_columns(
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    with_arrow: bool,
) -> None:
    monkeypatch.setattr(frames_module, "has_arrow", lambda: with_arrow)
    line.front.answers["trades.list"] = lambda _: {"rows": [], "next": None}
    for to in ("pandas", "polars"):
        made = await frames_module.trades_frame(line.asking, to, 5, {"symbol": "ETH/USDT"})
        assert len(made) == 0
        assert list(made.columns)[-4:] == ["trade_id", "price", "size", "aggressor"]


async def test_a_package_that_is_not_there_is_named(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(Unavailable, match="polars is not installed: `pip install polars`"):
        await frames_module.candles_frame(line.asking, "polars", 5, {"symbol": "ETH/USDT"})
    with pytest.raises(Unavailable, match="'excel'"):
        await frames_module.candles_frame(line.asking, "excel", 5, {"symbol": "ETH/USDT"})
    assert not line.front.asked


async def test_each_question_of_the_protocol_has_a_method_of_its_own(line: Line) -> None:
    place = {"venue": "binance", "market": "spot", "symbol": "ETH/USDT"}
    level = [["3000", "1"]]
    line.front.answers |= {
        "pairs.add": lambda params: {"symbol": params["symbol"], "streams": params["streams"]},
        "pairs.remove": lambda _: {"removed": True},
        "instruments.list": lambda _: {
            "instruments": [place | {"name": "x", "price_precision": 2, "size_precision": 4}]
        },
        "instruments.get": lambda _: place | {"name": "x", "price_precision": 2, "size_precision": 4},
        "trades.list": lambda _: {"rows": [], "next": None, "holes": [{"first_id": 1, "last_id": 2}]},
        "gaps.list": lambda _: {"rows": [], "next": None},
        "orderbook.get": lambda _: place | {"last_update_id": 9, "ts_event": 1, "bids": level, "asks": []},
        "orderbook.depth": lambda _: place | {"bids": [["3000", "1", "1"]], "asks": []},
        "stats.spread": lambda _: {
            "bid": "1", "ask": "2", "bid_size": "1", "ask_size": "1", "mid": "1.5", "spread": "1",
            "spread_bps": 6_666.7,
        },
        "stats.vwap": lambda _: {"vwap": None, "volume": "0", "quote_volume": "0", "trades": 0, "holes": []},
        "stats.slippage": lambda params: {
            "filled": params["size"], "unfilled": "0", "vwap": "3000", "slippage_mid_bps": 1.0,
            "slippage_touch_bps": 0.0, "fills": level,
        },
        "stats.liquidity": lambda _: {"bid_size": "1", "ask_size": "2", "bid_value": "3", "ask_value": "4"},
        "bridge.status": lambda _: {"epoch": "e", "instruments": {}, "serve": {"workers": 2}},
        "topics.since": lambda _: {"epoch": "e", "sequence": 3, "messages": None, "more": False},
        "rpc.discover": lambda _: {"openrpc": "1.3.2"},
    }  # fmt: skip
    asking = line.asking
    assert (await asking.pairs_add("ETH/USDT", streams=("trades",))).streams == ("trades",)
    assert await asking.pairs_remove("ETH/USDT")
    assert [one.price_precision for one in await asking.instruments_list()] == [2]
    assert (await asking.instruments_get("ETH/USDT", venue="binance")).name == "x"
    assert (await asking.trades_list("ETH/USDT", market="spot")).holes[0].last_id == 2
    assert (await asking.gaps_list("ETH/USDT", stream="trades")).rows == ()
    assert (await asking.orderbook_get("ETH/USDT", at="2024-08-09T00:00:00Z")).bids == ((3000, 1),)
    assert (await asking.orderbook_depth("ETH/USDT", levels=3)).bids[0][2] == 1
    assert (await asking.stats_spread("ETH/USDT")).mid == Decimal("1.5")
    assert (await asking.stats_vwap("ETH/USDT", window_s=60)).vwap is None
    assert (await asking.stats_slippage("ETH/USDT", "buy", Decimal("1E+2"))).filled == 100
    assert (await asking.stats_liquidity("ETH/USDT", 5)).ask_value == 4
    assert (await asking.bridge_status()).serve == {"workers": 2}
    assert (await asking.topics_since("t", "e", 1)).messages is None
    assert await asking.rpc_discover() == {"openrpc": "1.3.2"}
    assert {method for method, _ in line.front.asked} == set(line.front.answers)
