"""Pairs, instruments and gaps."""

import pytest
from msgspec.structs import replace

from asking import Asking, asking
from binance_proxy.adapters.memory.archive import MemoryArchive
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.long_term import LongTermStore
from binance_proxy.application.serve.failures import NothingStored, WrongParams
from binance_proxy.domain.gap import GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from ticks_made import MIDNIGHT, MS, trade
from unit.serve.test_trades import gap, ids

BTC = {"symbol": "BTC/USDT", "market": "usdm"}


async def test_pairs_are_added_changed_and_removed():
    asked = await asking([])
    assert [one["symbol"] for one in (await asked.ask("pairs.list"))["pairs"]] == ["ETH/USDT", "SOL/USDT"]
    added = await asked.ask("pairs.add", **BTC)
    assert added == BTC | {"enabled": True, "streams": ["trades", "orderbook"]}
    changed = await asked.ask("pairs.add", **BTC, streams=["trades"], enabled=False)
    assert changed == BTC | {"enabled": False, "streams": ["trades"]}
    assert changed in (await asked.ask("pairs.list"))["pairs"]
    assert await asked.ask("pairs.remove", **BTC) == {"removed": True}
    assert await asked.ask("pairs.remove", **BTC) == {"removed": False}


async def test_streams_come_in_their_order_and_once():
    added = await (await asking([])).ask("pairs.add", **BTC, streams=["orderbook", "trades", "trades"])
    assert added["streams"] == ["trades", "orderbook"]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC/", "/", "B TC/USDT", "BTC/USDT/X", "ß/USDT", "", "Ä/B"])
async def test_a_symbol_that_is_none_is_refused(symbol):
    for method in ("pairs.add", "pairs.remove"):
        with pytest.raises(WrongParams, match=r"^symbol: "):
            await (await asking([])).ask(method, symbol=symbol, market="spot")


async def test_instruments_tell_their_units_and_steps():
    sol = Instrument(
        venue="binance", market=Market.USDM, symbol="SOL/USDT", price_precision=2, size_precision=0,
        tick_size=5, step_size=1,
    )  # fmt: skip
    asked = await asking([trade(1), trade(1, instrument=sol)])
    found = (await asked.ask("instruments.list"))["instruments"]
    assert [one["name"] for one in found] == ["binance.spot.ethusdt", "binance.usdm.solusdt"]
    assert (found[0]["tick_size"], found[1]["tick_size"], found[1]["step_size"]) == (None, "0.05", "1")
    assert await asked.ask("instruments.get", symbol="solusdt") == found[1]
    assert await asked.ask("instruments.get", symbol="SOL/USDT", market="usdm", venue="binance") == found[1]


async def test_what_only_the_archive_knows_is_answered_too():
    archive, registry = MemoryArchive(), MemoryRegistry()
    await archive.append([trade(1)])
    asked = Asking(LongTermStore(MemoryStore(registry), archive, archive), registry, archive=archive)
    assert [one["symbol"] for one in (await asked.ask("instruments.list"))["instruments"]] == ["ETH/USDT"]
    assert ids(await asked.ask("trades.list", symbol="ETH/USDT")) == [1]
    with pytest.raises(NothingStored):
        await asked.ask("instruments.get", symbol="ETH/USDT", venue="simulated")


GAPS = [
    gap(1, 2, 0, 10), gap(5, 6, 20, 30, GapState.REPAIRED), gap(9, 9, 30, 40, GapState.OPEN),
    replace(gap(5, 8, 20, 30), stream=Stream.ORDERBOOK), gap(20, 30, 900, 950),
]  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
async def test_gaps_that_touch_a_range_come_once(limit):
    asked = await asking([trade(1), *GAPS])
    params = {"symbol": "ETH/USDT", "start": MIDNIGHT + 10 * MS, "end": MIDNIGHT + 900 * MS}
    pages = await asked.pages("gaps.list", **params, limit=limit)
    found = [(row["stream"], row["first_id"], row["state"]) for page in pages for row in page["rows"]]
    assert found == [
        ("trades", 1, "lost"), ("orderbook", 5, "lost"), ("trades", 5, "repaired"), ("trades", 9, "open"),
    ]  # fmt: skip
    only = await asked.pages("gaps.list", **params, limit=limit, stream="orderbook")
    assert [row["first_id"] for page in only for row in page["rows"]] == [5]


async def test_without_a_start_the_newest_gaps_come():
    asked = await asking([trade(1), *GAPS])
    page = await asked.ask("gaps.list", symbol="ETH/USDT", limit=2)
    assert ([row["first_id"] for row in page["rows"]], page["next"]) == ([9, 20], None)
