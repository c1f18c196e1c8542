"""A trade out of ccxt's dictionary, exactly.

Source: ccxt manual, "Trade structure".
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from binance_proxy.application.ports import FrameRejected
from binance_proxy.domain.errors import ScaleError, TickRejected
from binance_proxy.domain.instrument import MILLISECOND_NS, Instrument
from binance_proxy.domain.scale import INT64_MAX, from_float, to_units
from binance_proxy.domain.tick import Side, TradeTick, check_trade


def trade_of(raw: Mapping[str, Any], instrument: Instrument, ts_recv: int) -> TradeTick:
    """Return the trade.

    Raises:
        FrameRejected: The venue left out what a trade must have, or a number cannot be told exactly.
    """
    try:
        ts_event = int(raw["timestamp"]) * MILLISECOND_NS
        info = raw.get("info")
        return check_trade(
            TradeTick(
                instrument=instrument,
                ts_event=ts_event - ts_event % instrument.time_resolution_ns,
                ts_recv=ts_recv,
                trade_id=trade_id(raw["id"]),
                price=exact(raw["price"], info, instrument.price_precision),
                size=exact(raw["amount"], info, instrument.size_precision),
                aggressor=Side(raw["side"]),
            )
        )
    except (ScaleError, TickRejected) as error:
        raise FrameRejected("impossible number", str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise FrameRejected(
            "missing or wrong field", f"{error!r} in a trade of {instrument.symbol}"
        ) from error


def trade_id(text: str) -> int:
    """Return a venue's trade id as a number: its own if it is one, else a hash of 63 bits.

    A hash says nothing about order or completeness; it is the same each time, so a trade is stored once.

    Raises:
        TypeError: There is no id. Two equal trades could not be told from one that came twice.
    """
    if not isinstance(text, str) or not text:
        raise TypeError("a trade without an id")
    if text.isascii() and text.isdigit() and int(text[:20]) <= INT64_MAX and len(text) < 20:
        return int(text)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def exact(value: float, info: object, precision: int) -> int:
    """Return a number in units: by the venue's own text if there is one that says it, else by the float.

    Raises:
        ScaleError: It is too fine or too large, or a float of more digits than a float can tell.
    """
    units = {to_units(text, precision) for text in _texts(info) if _is(text, value)}
    return units.pop() if len(units) == 1 else from_float(value, precision)


def _texts(info: object) -> Iterable[str]:
    """Return the texts in a raw message: those of a dictionary or a list, one level deep."""
    values: Iterable[object] = ()
    if isinstance(info, Mapping):
        values = info.values()
    elif isinstance(info, list | tuple):
        values = info
    return [text for text in values if isinstance(text, str)]


def _is(text: str, value: float) -> bool:
    """Return whether a text is a plain decimal that reads as this float."""
    if not (text[:1].isdigit() and text.isascii() and text.replace(".", "", 1).isdigit()):
        return False
    return float(text) == value
