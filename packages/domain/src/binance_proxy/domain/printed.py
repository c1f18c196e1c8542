"""Trades and candles of the past as Binance prints them, over REST and in files: decimal text, ms or µs.

They have to come out exactly as the live streams say the same trade, or it would be stored twice.
"""

from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import ScaleError, TickRejected, TimeTooCoarse
from binance_proxy.domain.instrument import MICROSECOND_NS, MILLISECOND_NS, Instrument
from binance_proxy.domain.scale import INT64_MAX, to_units
from binance_proxy.domain.tick import Side, TradeTick, check_trade

FIRST_MICROSECOND = 10**14
"""Times below this are ms (until the year 5138), times from it on are µs (since 1973)."""

_LONGEST_SUM = 30
"""Digits in front of the point."""


def printed_unit_ns(printed: int) -> int:
    """Return the unit of a time, in ns: told by its magnitude it is in ms or in µs."""
    return MILLISECOND_NS if printed < FIRST_MICROSECOND else MICROSECOND_NS


def printed_time(instrument: Instrument, printed: int) -> int:
    """Return a time in ms or µs, told by its magnitude, as ns at the resolution of the instrument.

    Raises:
        TimeTooCoarse: The same trade could be stored twice.
        TickRejected: It lies before or behind all trading.
    """
    unit = printed_unit_ns(printed)
    if unit > instrument.time_resolution_ns:
        raise TimeTooCoarse(
            f"{instrument.name} is recorded in µs, and a trade with a time in ms could be stored twice"
        )
    ts_event = printed * unit
    if not 0 < ts_event <= INT64_MAX:
        raise TickRejected(f"time {printed} lies before or behind all trading")
    return ts_event - ts_event % instrument.time_resolution_ns


def printed_trade(
    instrument: Instrument,
    ids: tuple[int, int | None],
    price: str,
    size: str,
    time: int,
    *,
    buyer_is_maker: bool,
    ts_recv: int,
) -> TradeTick:
    """Return a trade of the past, or an aggregated one that stands in for its matches.

    Args:
        instrument: Whose trade it is; gives the units.
        ids: The trade's id and `None`, or the first and last match that an aggregated one stands for.
        price: Decimal text.
        size: Decimal text.
        time: In ms or µs.
        buyer_is_maker: True if the aggressor sold.
        ts_recv: When it was read, in ns.

    Raises:
        ScaleError: A number does not fit the units of the instrument.
        TickRejected: It says something that cannot be true.
    """
    first_id, last_id = ids
    return check_trade(
        TradeTick(
            instrument=instrument,
            ts_event=printed_time(instrument, time),
            ts_recv=ts_recv,
            trade_id=first_id,
            price=to_units(price, instrument.price_precision),
            size=to_units(size, instrument.size_precision),
            aggressor=Side.SELL if buyer_is_maker else Side.BUY,
            first_match_id=None if last_id is None else first_id,
            last_match_id=last_id,
        )
    )


def printed_candle(
    instrument: Instrument,
    timeframe: Timeframe,
    open_time: int,
    prices: tuple[str, str, str, str],
    volumes: tuple[str, str],
    trades: int,
    *,
    ts_recv: int,
) -> Candle:
    """Return a closed candle. Its ``ts_event`` is the last moment of its period: no venue says a better one.

    Args:
        instrument: Whose candle it is; gives the units.
        timeframe: How long it is.
        open_time: Its first ms or µs.
        prices: Open, high, low and close, as decimal text.
        volumes: In the base and in the quote asset, as decimal text.
        trades: Number of matches.
        ts_recv: When it was read, in ns.

    Raises:
        ScaleError: A number does not fit the units of the instrument.
        TickRejected: It does not begin where a period of the timeframe does.
    """
    unit = printed_unit_ns(open_time)
    start, end = timeframe.period(open_time * unit)
    if start != open_time * unit:
        raise TickRejected(f"no {timeframe} candle begins at {open_time}")
    first, high, low, last = (to_units(price, instrument.price_precision) for price in prices)
    return Candle(
        instrument=instrument,
        ts_event=end - instrument.time_resolution_ns,
        ts_recv=ts_recv,
        timeframe=timeframe,
        start=start,
        end=end,
        open=first,
        high=high,
        low=low,
        close=last,
        volume=_sum(volumes[0], instrument.size_precision),
        quote_volume=_sum(volumes[1], instrument.price_precision + instrument.size_precision),
        trades=trades,
        closed=True,
    )


def _sum(text: str, precision: int) -> int:
    """Read a sum, which may be larger than what 64 bits hold, as units of ``10**-precision``."""
    whole, _, fraction = text.partition(".")
    unit: int = 10**precision
    if not (whole.isascii() and whole.isdigit() and len(whole) <= _LONGEST_SUM):
        raise ScaleError(f"{text!r:.40} is not a sum")
    return int(whole) * unit + to_units(f"0.{fraction}", precision)
