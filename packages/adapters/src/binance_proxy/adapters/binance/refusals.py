"""What an answer of Binance's that is no answer means, as an error that says what to do.

Source: Binance Spot, "General API Information" (HTTP return codes) and "Error codes for Binance".
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from binance_proxy.adapters.binance.transport import Answer
from binance_proxy.application.ports import FeedError, FeedRejected, FeedUnavailable

HISTORICAL_TRADES = "/api/v3/historicalTrades"

WRONG_KEY = frozenset({-2014, -2015, -1022})
UNKNOWN_PAIR = -1121
PASSING = frozenset({-1000, -1001, -1003, -1006, -1007, -1008, -1016, -1034})
"""Codes of a venue that is overloaded, restarting, or does not know what happened."""


class SingleTradesRefused(FeedRejected):
    """The venue gives single trades of the past to nobody, or not to us. Aggregated ones may still be had."""


class _Error(Struct):
    code: int
    msg: str = ""


_decode_error = msgspec.json.Decoder(_Error).decode


def not_served(section: str) -> FeedRejected:
    """Return the error of a venue that does not serve this place."""
    return FeedRejected(
        f"Binance does not serve this place (451): set {section}.rest_url to https://data-api.binance.vision"
        f" and {section}.stream_url to wss://data-stream.binance.vision, or run the bridge elsewhere"
    )


def refusal(path: str, parameters: Mapping[str, str], answer: Answer, section: str) -> FeedError:
    """Return the error that an answer is whose status is not 200.

    ``section`` names the settings that a person would change, such as ``feed.binance``.
    """
    status, error = answer.status, _error(answer.body)
    code = None if error is None else error.code
    said = f"{status}" if error is None else f"{status}, {error.code}: {error.msg}"
    if status in {418, 429}:
        return FeedUnavailable(f"Binance asks to be left alone for a while ({status})")
    if status == 451:
        return not_served(section)
    if status >= 500 or code in PASSING:
        return FeedUnavailable(f"Binance is out of order ({said})")
    if path == HISTORICAL_TRADES and (
        status in {401, 404} or code in WRONG_KEY or (status == 403 and code is not None)
    ):
        return SingleTradesRefused(f"Binance does not give single trades of the past ({said})")
    if code == UNKNOWN_PAIR:
        return FeedRejected(f"there is no pair {parameters.get('symbol', '')} on Binance spot")
    return _refused(path, answer, said, code, section)


def _refused(path: str, answer: Answer, said: str, code: int | None, section: str) -> FeedError:
    if answer.status == 401 or code in WRONG_KEY:
        return FeedRejected(
            f"Binance does not accept the key ({said}): correct {section}.api_key, or leave it empty, for"
            " market data need none"
        )
    if answer.status == 404:
        return FeedRejected(
            f"there is no {path} where {section}.rest_url points to: it has to be a Binance spot REST host"
        )
    if code is None:  # a firewall in front of Binance (403), or something that is not Binance at all
        return FeedUnavailable(f"Binance did not answer {path} ({said}): {_begin(answer.body)}")
    return FeedRejected(f"Binance refuses {path} ({said})")


def unreadable(path: str, body: bytes, why: Exception) -> FeedUnavailable:
    """Return the error of a body that is not what was asked for, such as a captive portal's page."""
    return FeedUnavailable(f"what came for {path} is no answer of Binance ({why}): {_begin(body)}")


def _error(body: bytes) -> _Error | None:
    try:
        return _decode_error(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _begin(body: bytes) -> str:
    text = " ".join(body[:80].decode(errors="replace").split())
    return repr(text + ("..." if len(body) > 80 else ""))
