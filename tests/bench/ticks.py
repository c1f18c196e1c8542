"""Ticks for the benches of the store, and the same as rows for the driver's own encoder."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from bench.path import captured_frames
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.domain.instrument import MILLISECOND_NS, Instrument, Market
from binance_proxy.domain.tick import QuoteTick, Side, TradeTick

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_NS = 86_400 * 10**9

COLUMNS = {
    TradeTick: ["instrument_id", "ts_event", "ts_recv", "trade_id", "price", "size", "aggressor", "off_book"],
    QuoteTick: [
        "instrument_id",
        "ts_event",
        "ts_recv",
        "first_update_id",
        "last_update_id",
        "bid_prices",
        "bid_sizes",
        "ask_prices",
        "ask_sizes",
    ],
}


def captured() -> tuple[Instrument, list[TradeTick], list[QuoteTick]]:
    """Return what was traded and quoted in the captures, one after another without the time between them."""
    frames = captured_frames()
    decoder = BinanceFrames(Market.SPOT)
    instrument = decoder.describe(frames[0][1])
    assert instrument
    decode = decoder.with_instruments([instrument]).decode
    ticks = [decode(raw, ts_recv, instrument) for ts_recv, raw in frames]
    trades = [one for one in ticks if isinstance(one, TradeTick)]
    quotes = [one for one in ticks if isinstance(one, QuoteTick)]
    return instrument, _closed_up(trades), _closed_up(quotes)


def _closed_up(ticks: Sequence) -> list:
    shift, before, closed_up = 0, ticks[0].ts_event, []
    for tick in ticks:
        if tick.ts_event - before > DAY_NS // 4:  # the next capture
            shift += tick.ts_event - before
        before = tick.ts_event
        closed_up.append(replace(tick, ts_event=tick.ts_event - shift, ts_recv=tick.ts_recv - shift))
    return closed_up


def repeated(ticks: Sequence, copies: int, end: int) -> list:
    """Return ticks so many times over, one copy behind the other, the last one ending at a time in ns."""
    length = ticks[-1].ts_event - ticks[0].ts_event + MILLISECOND_NS
    id_field = "trade_id" if isinstance(ticks[0], TradeTick) else "last_update_id"
    ids = max(getattr(one, id_field) for one in ticks) + 1
    made = []
    for copy in range(copies):
        shift = end - ticks[-1].ts_event - (copies - 1 - copy) * length
        shift -= shift % MILLISECOND_NS
        for one in ticks:
            times = {"ts_event": one.ts_event + shift, "ts_recv": one.ts_recv + shift}
            made.append(replace(one, **times, **{id_field: getattr(one, id_field) + copy * ids}))
    return made


def just_now() -> int:
    """Return the time in ns, as live ticks have it."""
    return time.time_ns()


def row(tick: TradeTick | QuoteTick, number: int) -> tuple[object, ...]:
    """Turn a tick into what asyncpg wants for the columns of its table."""
    ts_event = EPOCH + timedelta(microseconds=tick.ts_event // 1000)
    if isinstance(tick, TradeTick):
        aggressor = 1 if tick.aggressor is Side.BUY else -1
        return number, ts_event, tick.ts_recv, tick.trade_id, tick.price, tick.size, aggressor, tick.off_book
    bids, asks = (
        list(zip(*tick.bids, strict=True)) or [(), ()],
        list(zip(*tick.asks, strict=True)) or [(), ()],
    )
    ids = tick.first_update_id, tick.last_update_id
    return number, ts_event, tick.ts_recv, *ids, *bids, *asks
