"""Binance's JSON of everything, as text: prices and sizes with 8 decimals, times in ms or µs.

Source: Binance Spot, "WebSocket Streams" and "Market Data endpoints".
"""

from collections.abc import Sequence
from itertools import chain

import msgspec

from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS, Instrument
from binance_proxy.domain.scale import FLOAT_DIGITS, to_text
from binance_proxy.domain.tick import Levels, QuoteTick, Side, TradeTick
from binance_proxy.sandbox.klines import Kline
from binance_proxy.sandbox.prints import Print

DECIMALS = 8
ORDER_TYPES = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)
_LONGEST = 10**FLOAT_DIGITS
_UNIT = 10.0**DECIMALS

encode = msgspec.json.encode


def binance_symbol(instrument: Instrument) -> str:
    """Return ``BTCUSDT`` for ``BTC/USDT``."""
    return instrument.symbol.replace("/", "")


def decimals(units: int, precision: int) -> str:
    """Write units with 8 decimals, or with more if they are finer than that; never rounded."""
    if precision != DECIMALS:
        if precision < DECIMALS:
            units *= 10 ** (DECIMALS - precision)
        else:
            coarser, finer = divmod(units, 10 ** (precision - DECIMALS))
            if finer:
                return to_text(units, precision)
            units = coarser
    digits = f"{units:09d}"
    return f"{digits[:-DECIMALS]}.{digits[-DECIMALS:]}"


def levels_text(levels: Levels, instrument: Instrument) -> str:
    """Write ``[["61602.01000000","1.67177000"],...]``."""
    if not levels:
        return "[]"
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    if price_precision == size_precision == DECIMALS and max(map(max, levels)) < _LONGEST:
        # Numbers of up to 15 digits come through a float unharmed, and one format of all is fastest.
        floats = [number / _UNIT for number in chain.from_iterable(levels)]
        return ('[["%.8f","%.8f"]' + ',["%.8f","%.8f"]' * (len(levels) - 1) + "]") % tuple(floats)
    pairs = (
        f'["{decimals(price, price_precision)}","{decimals(size, size_precision)}"]' for price, size in levels
    )
    return f"[{','.join(pairs)}]"


# What streams print. Each function returns the raw event; the combined form is put around it.


def trade_event(trade: TradeTick, unit_ns: int) -> str:
    """Write a ``trade`` event. Its event time is the trade's own: the feed knows no other."""
    instrument, time = trade.instrument, trade.ts_event // unit_ns
    return (
        f'{{"e":"trade","E":{time},"s":"{binance_symbol(instrument)}","t":{trade.trade_id},'
        f'"p":"{decimals(trade.price, instrument.price_precision)}",'
        f'"q":"{decimals(trade.size, instrument.size_precision)}",'
        f'"T":{time},"m":{"true" if trade.aggressor is Side.SELL else "false"},"M":true}}'
    )


def aggregate_event(trade: TradeTick, unit_ns: int) -> str:
    """Write an ``aggTrade`` event."""
    instrument, time = trade.instrument, trade.ts_event // unit_ns
    return (
        f'{{"e":"aggTrade","E":{time},"s":"{binance_symbol(instrument)}","a":{trade.trade_id},'
        f'"p":"{decimals(trade.price, instrument.price_precision)}",'
        f'"q":"{decimals(trade.size, instrument.size_precision)}",'
        f'"f":{trade.first_match_id},"l":{trade.last_match_id},'
        f'"T":{time},"m":{"true" if trade.aggressor is Side.SELL else "false"},"M":true}}'
    )


def depth_event(quote: QuoteTick, unit_ns: int) -> str:
    """Write a ``depthUpdate`` event."""
    instrument = quote.instrument
    return (
        f'{{"e":"depthUpdate","E":{quote.ts_event // unit_ns},"s":"{binance_symbol(instrument)}",'
        f'"U":{quote.first_update_id},"u":{quote.last_update_id},'
        f'"b":{levels_text(quote.bids, instrument)},"a":{levels_text(quote.asks, instrument)}}}'
    )


def partial_depth(update_id: int, bids: Levels, asks: Levels, instrument: Instrument) -> str:
    """Write the best levels of a book: as REST does, and as the partial depth streams do."""
    return (
        f'{{"lastUpdateId":{update_id},"bids":{levels_text(bids, instrument)},'
        f'"asks":{levels_text(asks, instrument)}}}'
    )


def book_ticker_event(update_id: int, best: tuple[str, str, str, str], symbol: str) -> str:
    """Write a ``bookTicker`` event, which has no time."""
    bid, bid_size, ask, ask_size = best
    return f'{{"u":{update_id},"s":"{symbol}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}'


def best_texts(bids: Levels, asks: Levels, instrument: Instrument) -> tuple[str, str, str, str]:
    """Return price and size of the best bid, then of the best ask; zeros for a side that is empty."""
    (bid, bid_size), (ask, ask_size) = (levels[0] if levels else (0, 0) for levels in (bids, asks))
    return (
        decimals(bid, instrument.price_precision),
        decimals(bid_size, instrument.size_precision),
        decimals(ask, instrument.price_precision),
        decimals(ask_size, instrument.size_precision),
    )


def kline_event(
    kline: Kline, interval: str, instrument: Instrument, at: tuple[int, bool], unit_ns: int
) -> str:
    """Write a ``kline`` event that comes ``at`` a time in ns, and say whether the kline is closed."""
    now, closed = at
    price, size, quote = _precisions(instrument)
    return (
        f'{{"e":"kline","E":{now // unit_ns},"s":"{binance_symbol(instrument)}","k":{{'
        f'"t":{kline.start // unit_ns},"T":{kline.end // unit_ns - 1},'
        f'"s":"{binance_symbol(instrument)}","i":"{interval}","f":{kline.first_id},"L":{kline.last_id},'
        f'"o":"{decimals(kline.open, price)}","c":"{decimals(kline.close, price)}",'
        f'"h":"{decimals(kline.high, price)}","l":"{decimals(kline.low, price)}",'
        f'"v":"{decimals(kline.volume, size)}","n":{kline.trades},"x":{"true" if closed else "false"},'
        f'"q":"{decimals(kline.quote_volume, quote)}","V":"{decimals(kline.bought, size)}",'
        f'"Q":"{decimals(kline.bought_quote, quote)}","B":"0"}}}}'
    )


def shutdown_event(ts: int, unit_ns: int) -> str:
    """Write the event that announces the end of a connection."""
    return f'{{"e":"serverShutdown","E":{ts // unit_ns}}}'


# What REST answers.


def trade_row(trade: Print, instrument: Instrument, unit_ns: int) -> dict[str, object]:
    """Return an item of ``trades`` and ``historicalTrades``."""
    price, size, quote = _precisions(instrument)
    return {
        "id": trade.id,
        "price": decimals(trade.price, price),
        "qty": decimals(trade.size, size),
        "quoteQty": decimals(trade.price * trade.size, quote),
        "time": trade.ts_event // unit_ns,
        "isBuyerMaker": trade.sold,
        "isBestMatch": True,
    }


def aggregate_row(trade: Print, instrument: Instrument, unit_ns: int) -> dict[str, object]:
    """Return an item of ``aggTrades``."""
    return {
        "a": trade.id,
        "p": decimals(trade.price, instrument.price_precision),
        "q": decimals(trade.size, instrument.size_precision),
        "f": trade.first_id,
        "l": trade.last_id,
        "T": trade.ts_event // unit_ns,
        "m": trade.sold,
        "M": True,
    }


def kline_row(kline: Kline, instrument: Instrument, unit_ns: int) -> list[object]:
    """Return the 12 columns of a kline."""
    price, size, quote = _precisions(instrument)
    return [
        kline.start // unit_ns,
        decimals(kline.open, price),
        decimals(kline.high, price),
        decimals(kline.low, price),
        decimals(kline.close, price),
        decimals(kline.volume, size),
        kline.end // unit_ns - 1,
        decimals(kline.quote_volume, quote),
        kline.trades,
        decimals(kline.bought, size),
        decimals(kline.bought_quote, quote),
        "0",
    ]


def symbol_row(instrument: Instrument) -> dict[str, object]:
    """Return an item of ``symbols`` in exchangeInfo.

    An instrument of another venue than Binance says so under ``venue``, which Binance does not have: what is
    made up must not be taken for the real thing.
    """
    price, size = instrument.price_precision, instrument.size_precision
    tick, step = decimals(instrument.tick_size or 1, price), decimals(instrument.step_size or 1, size)
    row: dict[str, object] = {
        "symbol": binance_symbol(instrument),
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": DECIMALS,
        "quoteAsset": instrument.quote,
        "quotePrecision": DECIMALS,
        "quoteAssetPrecision": DECIMALS,
        "baseCommissionPrecision": DECIMALS,
        "quoteCommissionPrecision": DECIMALS,
        "orderTypes": ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "1000000.00000000",
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
            {
                "filterType": "MIN_NOTIONAL",
                "minNotional": "5.00000000",
                "applyToMarket": True,
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }
    return row if instrument.venue == "binance" else row | {"venue": instrument.venue}


def exchange_info(
    instruments: Sequence[Instrument], now: int, limit: tuple[int, float], unit_ns: int
) -> dict[str, object]:
    """Return exchangeInfo; ``limit`` is what requests may weigh in so many seconds."""
    weight, window_s = limit
    count, interval = window(window_s)
    return {
        "timezone": "UTC",
        "serverTime": now // unit_ns,
        "rateLimits": [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": interval,
                "intervalNum": count,
                "limit": weight,
            }
        ],
        "exchangeFilters": [],
        "symbols": [symbol_row(instrument) for instrument in instruments],
    }


def window(window_s: float) -> tuple[int, str]:
    """Return how many of which unit a window is: ``1, "MINUTE"``."""
    minutes, seconds = divmod(window_s, 60)
    return (max(1, round(window_s)), "SECOND") if seconds else (int(minutes), "MINUTE")


def unit_of(text: str | None) -> int:
    """Return the ns of the unit that times are asked in: ms unless the text says microseconds."""
    return MICROSECOND_NS if text is not None and text.upper() == "MICROSECOND" else MILLISECOND_NS


def _precisions(instrument: Instrument) -> tuple[int, int, int]:
    price, size = instrument.price_precision, instrument.size_precision
    return price, size, price + size
