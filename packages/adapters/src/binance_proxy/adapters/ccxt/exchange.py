"""An exchange object of ccxt: opened, pointed at its hosts, closed without a sound; and what its errors mean.

Nothing here imports ccxt before an exchange is opened: that costs a second and 100 MiB.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from difflib import get_close_matches
from typing import Any

from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.application.ports import FeedRejected, FeedUnavailable
from binance_proxy.domain.errors import ConfigError

NOT_SERVED = 451
CLOSE_TIMEOUT_S = 1.0
"""How long a venue may take to agree to a close."""
REST_ROOT = "/api/v3"
"""What Binance's REST paths begin with, and ccxt's REST URL ends with."""
STREAM_ROOT = "/stream"
"""ccxt tells spot from futures by it."""
KEEP_ALIVE_MS = 15_000
"""Time between two pings to a venue like Binance; ccxt gives a connection up that left two unanswered.

ccxt's own three minutes leave a connection that died unnoticed for six and more.
"""
_REST_URLS = "public", "private", "v3"

_STATUS = re.compile(r"(?:^| )(\d{3})(?: |, message=)")
"""Where ccxt writes the status of an answer, and aiohttp that of a handshake."""


@asynccontextmanager
async def open_exchange(settings: Ccxt) -> AsyncIterator[Any]:
    """Yield an exchange object of ``ccxt.pro``, for spot market data only; nothing is asked yet.

    Raises:
        ConfigError: ccxt has no streams of such an exchange, or its address cannot be set.
    """
    pro = await asyncio.to_thread(_import_ccxt)
    if settings.exchange not in pro.exchanges:
        near = get_close_matches(settings.exchange.lower(), pro.exchanges, 3, 0.5)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"feed.ccxt.exchange = {settings.exchange!r} is none that ccxt streams{hint}")
    exchange = getattr(pro, settings.exchange)(
        {
            "apiKey": settings.api_key,
            "secret": settings.secret,
            "timeout": round(settings.timeout_s * 1_000),
            "enableRateLimit": False,  # it counts less than Binance does; whoever asks keeps a limit
            "timeout_on_exit": 0,
            "enableLastJsonResponse": True,  # the weight limit is stated only there
        }
    )
    try:
        _only_spot(exchange)
        _point(exchange, settings)
        exchange.open()
        yield exchange
    finally:
        # A venue that is gone would not agree to the close of its sockets for 10 s.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await exchange.close_ws_clients()
        exchange.clients = {}
        await exchange.close()


def translated(error: Exception, settings: Ccxt) -> FeedUnavailable | FeedRejected:
    """Return what an error of ccxt or of its HTTP client means to a feed."""
    name = settings.exchange
    said = str(error) or f"no answer within {settings.timeout_s:g} s"
    if status_in(error) == NOT_SERVED:
        return not_served(settings)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"AuthenticationError", "PermissionDenied"}:
        return FeedRejected(f"{name} refuses feed.ccxt.api_key, which market data do not need: {said:.200}")
    if kinds & {"NotSupported", "BadSymbol", "InvalidProxySettings"}:
        return FeedRejected(f"ccxt cannot do this with {name}: {said:.200}")
    why = f" ({error.__cause__})" if error.__cause__ and str(error.__cause__) not in said else ""
    return FeedUnavailable(f"{name} does not answer ccxt: {said:.200}{why:.200}")


def status_in(error: Exception) -> int:
    """Return the HTTP status that an error of ccxt speaks of; 0 if it speaks of none."""
    status = _STATUS.search(str(error))
    return int(status[1]) if status else 0


def not_served(settings: Ccxt) -> FeedRejected:
    """Return the error of a venue that does not serve this place."""
    return FeedRejected(
        f"{settings.exchange} does not serve this place (451): set feed.ccxt.rest_url to"
        " https://data-api.binance.vision and feed.ccxt.stream_url to wss://data-stream.binance.vision,"
        " or run the bridge elsewhere"
    )


def _import_ccxt() -> Any:  # noqa: ANN401  ccxt has no types
    import ccxt.pro  # noqa: PLC0415  only whoever uses it pays for it

    return ccxt.pro


def _only_spot(exchange: Any) -> None:  # noqa: ANN401  ccxt has no types
    """Keep ccxt from asking for futures, currencies and margins, some of which want a key."""
    exchange.options["defaultType"] = "spot"
    exchange.options["fetchCurrencies"] = exchange.options["fetchMargins"] = False
    exchange.has["fetchCurrencies"] = False
    listed = exchange.options.get("fetchMarkets")
    if isinstance(listed, dict) and "types" in listed:
        exchange.options["fetchMarkets"] = listed | {"types": ["spot"]}


def _point(exchange: Any, settings: Ccxt) -> None:  # noqa: ANN401  ccxt has no types
    """Send requests and streams where the settings say, and look after a connection to a known venue."""
    api = exchange.urls["api"]
    like_binance = isinstance(api, dict) and str(api.get("public", "")).endswith(REST_ROOT)
    if (settings.rest_url or settings.stream_url) and not like_binance:
        raise ConfigError(
            f"feed.ccxt.rest_url and feed.ccxt.stream_url cannot be set for {settings.exchange}:"
            " leave them empty"
        )
    if like_binance:
        exchange.streaming = exchange.streaming | {"keepAlive": KEEP_ALIVE_MS}
    if settings.rest_url:
        for kind in _REST_URLS:
            api[kind] = settings.rest_url.rstrip("/") + REST_ROOT
    if settings.stream_url:
        api["ws"]["spot"] = settings.stream_url.rstrip("/") + STREAM_ROOT
