"""Candles by pages are those of the whole range, the open one too, whatever stretches have no trade."""

import random

import pytest

from asking import Asking, asking, told
from binance_proxy.adapters.memory.archive import MemoryArchive
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.long_term import LongTermStore
from binance_proxy.application.serve.candles import candles_from, newest_candles
from binance_proxy.application.serve.failures import NothingStored, WrongParams
from binance_proxy.application.serve.vwap import Sums, summed
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick
from ticks_made import DAY_NS, ETH, MIDNIGHT, MS, trade
from unit.serve.test_trades import gap

MINUTE = 60_000


def scattered(seed: int, count: int = 60) -> list[TradeTick]:
    """Return trades with stretches of seconds, hours and days between them."""
    rng = random.Random(seed)
    at, trades = 0, []
    for number in range(1, count + 1):
        at += rng.choice((1, 700, MINUTE, 90 * MINUTE, 3 * 86_400_000))
        trades.append(
            trade(
                number,
                at,
                price=rng.randint(1, 10**6),
                size=rng.randint(1, 10**6),
                off_book=rng.random() < 0.1,
            )
        )
    return trades


async def spread(trades: list[TradeTick], seed: int) -> Asking:
    """Return answers about trades of which some are in the database, some in the archive, some in both."""
    rng, registry = random.Random(seed), MemoryRegistry()
    recent, archive = MemoryStore(registry), MemoryArchive()
    days = {one.ts_event // DAY_NS: rng.choice(((recent,), (archive,), (recent, archive))) for one in trades}
    for store in (recent, archive):
        await store.append([one for one in trades if store in days[one.ts_event // DAY_NS]])
    return Asking(LongTermStore(recent, archive, archive), registry, archive=archive)


async def test_a_candle_has_the_fields_of_the_wire():
    asked = await asking([trade(1, 5), trade(2, 10, price=305_112), trade(3, MINUTE)])
    page = await asked.ask("candles.list", symbol="ETH/USDT", timeframe="1m", start=MIDNIGHT)
    assert page["rows"][0] == {
        "venue": "binance", "market": "spot", "symbol": "ETH/USDT", "timeframe": "1m", "start": MIDNIGHT,
        "end": MIDNIGHT + MINUTE * MS, "open": "3050.12", "high": "3051.12", "low": "3050.12",
        "close": "3051.12", "volume": "3", "quote_volume": "9151.86", "vwap": "3050.62", "trades": 2,
        "closed": True, "complete": False,
    }  # fmt: skip
    assert [row["closed"] for row in page["rows"]] == [True, False]


@pytest.mark.parametrize("timeframe", ["1s", "90s", "1m", "7m", "1h", "1d", "1w", "1mo"])
@pytest.mark.parametrize("limit", [1, 2, 5, 1_000])
async def test_pages_are_the_whole_range(timeframe, limit):
    asked = await spread(scattered(limit), limit)
    whole = await asked.store.candles(ETH, Timeframe(timeframe), 0, 2**62)
    params = {"symbol": "ETH/USDT", "timeframe": timeframe, "start": 0}
    pages = await asked.pages("candles.list", **params, limit=limit)
    starts = [row["start"] for page in pages for row in page["rows"]]
    assert starts == [one.start for one in whole]
    assert all(len(page["rows"]) == limit for page in pages[:-1])
    newest = await asked.ask("candles.list", symbol="ETH/USDT", timeframe=timeframe, limit=limit)
    assert [row["start"] for row in newest["rows"]] == starts[-limit:]
    assert newest["next"] is None


class Dropped(MemoryStore):
    """Has the candles of days whose trades it has dropped, down to a minute."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.before = before

    async def scan(self, kind, instrument, start, end, *, newest_first=False):
        async for one in super().scan(
            kind, instrument, max(start, self.before), end, newest_first=newest_first
        ):
            yield one


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_candles_of_dropped_days_are_answered_too(limit):
    store = Dropped(MIDNIGHT + 20 * DAY_NS)
    await store.append(scattered(3))
    every = await store.candles(ETH, Timeframe("1m"), 0, 2**62)
    assert sum(one.start < store.before for one in every) > 5
    found: list[Candle] = []
    place, is_first = None, True
    while is_first or place is not None:
        part, place = await candles_from(store, ETH, Timeframe("1m"), MIDNIGHT, 2**62, limit, place)
        found += part
        is_first = False
    assert [one.start for one in found] == [one.start for one in every]
    newest = await newest_candles(store, ETH, Timeframe("1m"), 2**62, len(every))
    assert list(newest) == list(every)


async def test_memory_grows_with_the_limit_and_not_with_the_range():
    asked_for = []

    class Counting(MemoryStore):
        async def candles(self, instrument: Instrument, timeframe, start, end):
            found = await super().candles(instrument, timeframe, start, end)
            asked_for.append(len(found))
            return found

    registry = MemoryRegistry()
    store = Counting(registry)
    await store.append([trade(number, number * MINUTE) for number in range(1, 3_000)])
    asked = Asking(store, registry)
    await asked.ask("candles.list", symbol="ETH/USDT", timeframe="1m", start=MIDNIGHT, limit=10)
    assert max(asked_for) <= 200


@pytest.mark.parametrize("limit", [1, 2, 9])
async def test_a_known_gap_is_told_once(limit):
    asked = await asking(
        [*(trade(number, number * MINUTE) for number in (1, 2, 5, 6)), gap(3, 4, 2 * MINUTE, 5 * MINUTE)]
    )
    pages = await asked.pages("candles.list", symbol="ETH/USDT", timeframe="1m", start=MIDNIGHT, limit=limit)
    assert told(pages) == [(3, 4)]


@pytest.mark.parametrize("timeframe", ["", "1", "m", "0m", "1y", "99999m", "1M", "1m ", "2000mo", "\u0661m"])
async def test_a_timeframe_that_nobody_could_read_is_refused(timeframe):
    asked = await asking([trade(1)])
    with pytest.raises(WrongParams, match=r"^timeframe: "):
        await asked.ask("candles.list", symbol="ETH/USDT", timeframe=timeframe)


@pytest.mark.parametrize("seed", range(8))
async def test_sums_by_candles_are_those_of_the_trades(seed):
    trades = scattered(seed)
    asked, rng = await spread(trades, seed), random.Random(seed)
    edges = [MIDNIGHT, *(one.ts_event + rng.choice((-1, 0, 1)) for one in rng.sample(trades, 10)), 2**61]
    for _ in range(12):
        start, end = sorted(rng.sample(edges, 2))
        meant = [one for one in trades if start <= one.ts_event < end and not one.off_book]
        found = await summed(asked.store, ETH, start, end)
        volume, quote = sum(one.size for one in meant), sum(one.size * one.price for one in meant)
        assert found == Sums(len(meant), volume, quote)


async def test_vwap_of_a_range_and_of_a_window():
    asked = await asking([trade(1, 0, price=100), trade(2, 90_000, price=200, size=450_000)])
    whole = await asked.ask("stats.vwap", symbol="ETH/USDT", start=MIDNIGHT, end=MIDNIGHT + DAY_NS)
    assert (whole["vwap"], whole["volume"], whole["quote_volume"], whole["trades"]) == (
        "1.75",
        "6",
        "10.5",
        2,
    )
    window = await asked.ask("stats.vwap", symbol="ETH/USDT", window_s=3_600 - 60)
    assert (window["trades"], window["end"] - window["start"]) == (1, 3_540 * 10**9)
    nothing = await asked.ask("stats.vwap", symbol="ETH/USDT", window_s=1)
    assert (nothing["vwap"], nothing["volume"], nothing["trades"]) == (None, "0", 0)


async def test_vwap_names_the_holes():
    asked = await asking([trade(1, 1), trade(4, 9), gap(2, 3, 1, 9)])
    found = await asked.ask("stats.vwap", symbol="ETH/USDT", start=MIDNIGHT, end=MIDNIGHT + DAY_NS)
    assert told([found]) == [(2, 3)]


async def test_vwap_that_needs_trades_that_were_dropped_is_refused_and_whole_minutes_are_not():
    store = Dropped(MIDNIGHT + DAY_NS)
    await store.append([trade(1, 10), trade(2, MINUTE), trade(3, 86_400_000)])
    assert (await summed(store, ETH, MIDNIGHT, MIDNIGHT + DAY_NS + MINUTE * MS)).trades == 3
    with pytest.raises(NothingStored, match="ask for whole minutes"):
        await summed(store, ETH, MIDNIGHT + MS, MIDNIGHT + DAY_NS)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "start: is missing; or say `window_s`"),
        ({"window_s": 1, "start": 5}, "window_s: goes without"),
        ({"window_s": 0}, "window_s: expected `float` > 0"),
        ({"window_s": True}, "window_s: expected `float"),
        ({"window_s": float("nan")}, "window_s: expected"),
        ({"window_s": float("inf")}, "window_s: expected"),
        ({"start": 5, "end": 5}, "start: must lie before `end`"),
    ],
)
async def test_windows_that_make_no_sense_are_refused(params, said):
    asked = await asking([trade(1)])
    with pytest.raises(WrongParams, match=said):
        await asked.ask("stats.vwap", symbol="ETH/USDT", **params)
