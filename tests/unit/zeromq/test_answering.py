"""From the bytes of a request to the frames of its answer, in both encodings and as Arrow."""

import asyncio
import decimal
import json
from decimal import Decimal
from typing import Any

import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import Asking, asking
from binance_proxy.adapters.zeromq import answering
from binance_proxy.adapters.zeromq.answering import Answering, fault_of
from binance_proxy.adapters.zeromq.rpc import Encoding, Fault, Request, read
from binance_proxy.application.serve.methods import METHODS
from binance_proxy.application.serve.turns import TURN
from binance_proxy.domain.instrument import Instrument, Market
from ticks_made import ETH, MIDNIGHT, MS, snapshot, trade
from unit.serve.test_asked import NAMES, PLAIN, needed
from unit.serve.test_trades import gap

ENCODINGS = list(Encoding)


async def frames(asked: Asking, encoding: Encoding, body: object) -> list[bytes]:
    """Return the frames that a worker would send."""
    request = read(encoding.encode(body), 10_000, 60_000)
    if isinstance(request, bytes):
        return [request]
    assert isinstance(request, Request)
    try:
        answered = await Answering(asked.answers)(request, 5.0)
    except Exception as error:
        fault = error if isinstance(error, Fault) else fault_of(error)
        if fault is None:
            raise
        return [request.error(fault)]
    return [request.result(answered.result), *answered.frames]


async def call(asked: Asking, method: str, encoding: Encoding = Encoding.JSON, **params: Any) -> Any:
    """Return result or error of a call, and the frames behind it."""
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    head, *rest = await frames(asked, encoding, body)
    answer = encoding.decode(head, dict[str, Any])
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer.get("result", answer.get("error")), rest


async def made() -> Asking:
    """Return answers about trades with large and small numbers, and a gap."""
    fine = Instrument(
        venue="binance", market=Market.SPOT, symbol="FINE/USDT", price_precision=8, size_precision=12
    )
    events = [
        trade(number, number * 20, price=100_000 + number, size=7 * number + 1, off_book=number == 9)
        for number in range(1, 500)
    ]
    events += [trade(600, 90_000, first_match_id=600, last_match_id=602), gap(500, 599, 9_980, 90_000)]
    events += [
        trade(1, 1, instrument=fine, price=123_456_789_012_345_678, size=1),
        trade(2, 2, instrument=fine, price=1, size=999_999_999_999_999_999),
    ]
    asked = await asking(events)
    asked.live.books[ETH.name] = snapshot(3)
    return asked


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("method", METHODS)
async def test_both_encodings_say_the_same(method, encoding):
    result, rest = await call(await made(), method, encoding, **needed(method))
    asked = await made()
    plain = msgspec.json.decode(msgspec.json.encode(await asked.ask(method, **needed(method))))
    assert (result, rest) == (plain, [])


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_errors_have_code_kind_and_whether_to_retry(encoding):
    asked = await made()
    for method, params, code, kind, retry in [
        ("trades.list", {"symbol": "NOPE/USDT"}, -32004, "NothingStored", False),
        ("trades.list", {"symbol": "ETH/USDT", "limit": 0}, -32602, "WrongParams", False),
        ("orderbook.get", {"symbol": "ETH/USDT"}, -32003, "LiveUnavailable", True),
        ("orderbook.get", {"symbol": "ETH/USDT", "at": MIDNIGHT}, -32006, "BookUnknown", False),
        ("nothing", {}, -32601, "NoSuchMethod", False),
    ]:
        asked.live.is_away = "at" not in params  # a book that is not stored yet may still come, while it is
        error, _ = await call(asked, method, encoding, **params)
        assert (error["code"], error["data"]) == (code, {"kind": kind, "retry": retry})
    asked.live.is_away, asked.live.books = False, {}
    error, _ = await call(asked, "stats.spread", encoding, symbol="ETH/USDT")
    assert (error["code"], error["data"]["retry"]) == (-32005, True)


async def arrow(
    asked: Asking, method: str, encoding: Encoding = Encoding.JSON, **params: Any
) -> tuple[dict, bytes]:
    result, (frame,) = await call(asked, method, encoding, accept="arrow", **params)
    assert (result["rows"], result["arrow"]["frame"]) == (None, 1)
    return result, frame


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("method", "params"),
    [("trades.list", {}), ("candles.list", {"timeframe": "1s"}), ("gaps.list", {})],
)
async def test_arrow_has_every_row_and_value_of_the_text(method, params, encoding):
    asked = await made()
    plain, _ = await call(asked, method, encoding, symbol="ETH/USDT", **params)
    result, frame = await arrow(asked, method, encoding, symbol="ETH/USDT", **params)
    table = pa.ipc.open_stream(frame).read_all()
    assert result["arrow"]["rows"] == table.num_rows == len(plain["rows"]) > 0
    assert {key: result[key] for key in ("next", "holes", "stored")} == {
        key: plain[key] for key in ("next", "holes", "stored")
    }
    for field in table.schema:
        values = table.column(field.name)
        for value, row in zip(values, plain["rows"], strict=True):
            text = row.get(field.name, False if field.name == "off_book" else None)
            if pa.types.is_timestamp(field.type):
                assert value.value == text
            elif pa.types.is_decimal(field.type):
                assert value.as_py() == Decimal(text)
            else:
                assert value.as_py() == text
    assert set(table.schema.names) >= set(plain["rows"][0])


async def test_the_columns_are_those_of_the_protocol():
    _, frame = await arrow(await made(), "trades.list", symbol="ETH/USDT")
    assert {field.name: str(field.type) for field in pa.ipc.open_stream(frame).schema} == {
        "venue": "string", "market": "string", "symbol": "string", "ts_event": "timestamp[ns, tz=UTC]",
        "ts_recv": "timestamp[ns, tz=UTC]", "trade_id": "int64", "price": "decimal128(38, 12)",
        "size": "decimal128(38, 12)", "aggressor": "string", "first_match_id": "int64",
        "last_match_id": "int64", "off_book": "bool",
    }  # fmt: skip


async def test_pandas_and_polars_read_it_with_exact_sums():
    asked = await made()
    plain, _ = await call(asked, "trades.list", symbol="FINE/USDT")
    _, frame = await arrow(asked, "trades.list", symbol="FINE/USDT")
    exact = decimal.Context(prec=60)
    for name in ("price", "size"):
        total = Decimal(0)
        for row in plain["rows"]:
            total = exact.add(total, Decimal(row[name]))
        by_pandas = pa.ipc.open_stream(frame).read_pandas()
        assert by_pandas[name].sum() == total
        by_polars = pl.read_ipc_stream(frame)
        assert by_polars[name].sum() == total
    assert total == Decimal("999999.999999999999") + Decimal("0.000000000001")
    assert str(by_pandas["ts_event"].dtype) == "datetime64[ns, UTC]"
    assert by_pandas["ts_event"][0] == pd.Timestamp(MIDNIGHT + MS, tz="UTC")
    assert by_polars.schema["ts_event"] == pl.Datetime("ns", "UTC")


async def test_no_rows_are_an_empty_table_with_columns():
    result, frame = await arrow(await made(), "trades.list", symbol="ETH/USDT", start=0, end=1)
    table = pa.ipc.open_stream(frame).read_all()
    assert (result["arrow"]["rows"], table.num_rows, len(table.schema)) == (0, 0, 12)


async def test_what_has_more_decimals_than_arrow_is_refused():
    fine = Instrument(venue="x", market=Market.SPOT, symbol="TINY/USDT", price_precision=15, size_precision=0)
    asked = await asking([trade(1, instrument=fine, price=1, size=1)])
    error, _ = await call(asked, "trades.list", symbol="TINY/USDT", accept="arrow")
    assert (error["code"], error["data"]["kind"]) == (-32007, "TooLarge")


async def test_numbers_in_json_are_exact():
    asked = await made()
    (head,) = await frames(
        asked,
        Encoding.JSON,
        {"jsonrpc": "2.0", "id": 1, "method": "trades.list", "params": {"symbol": "FINE/USDT"}},
    )
    assert [row["price"] for row in json.loads(head)["result"]["rows"]] == [
        "1234567890.12345678",
        "0.00000001",
    ]


@given(
    st.sampled_from(sorted(METHODS)), st.dictionaries(NAMES, PLAIN, max_size=5), st.sampled_from(ENCODINGS)
)
async def test_no_params_are_a_fault_of_ours(method, params, encoding):
    asked = await asking([trade(1)])
    asked.live.books[ETH.name] = snapshot(3)
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": needed(method) | params}
    try:
        encoding.encode(body)
    except (OverflowError, UnicodeError, TypeError):
        return  # nobody could send it
    head, *_ = await frames(asked, encoding, body)
    answer = encoding.decode(head, dict[str, Any])
    assert answer.get("error", {}).get("code") != -32603
    assert ("result" in answer) != ("error" in answer)


async def raw(remembering: Answering, encoding: Encoding, **params: Any) -> bytes:
    """Return a page of trades of the past as it is written down."""
    params = {"symbol": "ETH/USDT", "end": MIDNIGHT + 5_000 * MS, **params}
    request = read(
        encoding.encode({"jsonrpc": "2.0", "id": 7, "method": "trades.list", "params": params}), 1_000, 60_000
    )
    assert isinstance(request, Request)
    return (await remembering(request, 5.0)).result


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_page_out_of_the_cache_is_written_down_once_and_one_made_anew_again(encoding):
    asked = await made()
    remembering = Answering(asked.answers)
    made_first = await raw(remembering, encoding, limit=10)
    kept = await raw(remembering, encoding, limit=10)
    assert await raw(remembering, encoding, limit=10) is kept
    others = next(one for one in ENCODINGS if one is not encoding)
    assert others.decode(await raw(remembering, others, limit=10), dict) == encoding.decode(kept, dict)
    assert bytes(kept) == bytes(made_first)
    await asked.store.append([trade(700, 4_990)])
    fresh = encoding.decode(await raw(remembering, encoding, limit=10, fresh=True), dict)
    assert fresh["rows"] != encoding.decode(kept, dict)["rows"]


async def test_only_few_pages_are_remembered_and_none_that_is_long(monkeypatch):
    remembering = Answering((await made()).answers)
    for limit in range(1, 2 * answering.REMEMBERED):
        await raw(remembering, Encoding.JSON, limit=limit)
    assert len(remembering._written) == answering.REMEMBERED
    monkeypatch.setattr(answering, "REMEMBERED_BYTES", 100)
    remembering = Answering((await made()).answers)
    await raw(remembering, Encoding.JSON, limit=10)
    assert not remembering._written


@pytest.mark.parametrize("symbol", ["ETH/USDT", "FINE/USDT"])
async def test_a_long_page_has_the_same_rows_as_a_short_one(symbol):
    asked = await made()
    params = {"symbol": symbol, "start": MIDNIGHT, "accept": "arrow"}
    short, [rows] = await call(asked, "trades.list", limit=10_000, **params)
    long, [columns] = await call(asked, "trades.list", limit=10_001, **params)
    assert (short, rows) == (long, columns)


async def test_a_long_page_lets_others_have_their_turn():
    asked = await asking([trade(number, number) for number in range(20_000)])
    turns, done = 0, False

    async def count() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for limit, accept in ((10_000, {}), (20_000, {"accept": "arrow"})):
        turns = 0
        await asked.answers.ask("trades.list", {"symbol": "ETH/USDT", "limit": limit, **accept}, 60.0)
        assert turns > limit / TURN
    done = True
    await counting
