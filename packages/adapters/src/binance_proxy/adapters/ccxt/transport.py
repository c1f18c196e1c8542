"""The way to Binance through ccxt's connections: its session, proxies, headers and addresses.

ccxt itself reads neither frames nor answers: its own reading takes twenty times as long, and loses digits.
What is made of them is the same as without ccxt; see `binance_proxy.adapters.binance.transport`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from binance_proxy.adapters.ccxt.exchange import (
    NOT_SERVED,
    REST_ROOT,
    not_served,
    open_exchange,
    status_in,
    translated,
)
from binance_proxy.adapters.ccxt.link import CcxtLink, OnClose, OnFrame
from binance_proxy.adapters.ccxt.listing import listing_fields, stated_limit
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.application.ports import FeedUnavailable
from binance_proxy.domain.errors import ConfigError

UNREACHABLE = OSError, aiohttp.ClientError, ValueError
"""Errors of the way; a `ValueError` is a host name that cannot be one."""

Answer = TypeVar("Answer")
Listing = TypeVar("Listing")
MakeAnswer: TypeAlias = Callable[[int, Mapping[str, str], bytes], Answer]
"""Makes an answer of its status, its headers (names in lower case) and its body."""
MakeListing: TypeAlias = Callable[..., Listing]
"""Makes a listing of what `listing_fields` returns."""


class Weighed(Protocol):
    """Whoever keeps count of what may be asked; see `binance_proxy.adapters.binance.transport`."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer."""
        ...

    def limit_is(self, limit: int) -> None:
        """Learn how much request weight a minute has."""
        ...


class CcxtTransport(Generic[Answer, Listing]):
    """The way to one venue that talks like Binance. Open it with `open_ccxt`."""

    def __init__(
        self,
        exchange: Any,  # noqa: ANN401  ccxt has no types
        settings: Ccxt,
        answer: MakeAnswer[Answer],
        listing: MakeListing[Listing],
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._answer = answer
        self._listing = listing
        self._links: set[CcxtLink] = set()
        api = exchange.urls["api"]
        self._rest_url = str(api["public"]).removesuffix(REST_ROOT)
        streams = urlsplit(str(api["ws"]["spot"]))
        self._stream_url = f"{streams.scheme}://{streams.netloc}"

    async def connect(self, path: str, on_frame: OnFrame, on_close: OnClose) -> CcxtLink:
        """Open a WebSocket at a path of the venue's stream host, such as ``/stream``.

        Raises:
            FeedUnavailable: Nobody answers, or not as a WebSocket. Try again later.
            FeedRejected: The venue does not serve this place (451).
        """
        url = f"{self._stream_url}{path}"
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                websocket = await self._dial(url)
        except aiohttp.WSServerHandshakeError as error:
            if error.status == NOT_SERVED:
                raise not_served(self._settings) from error
            raise FeedUnavailable(f"{url} answered {error.status} instead of a WebSocket") from error
        except UNREACHABLE as error:
            reason = str(error) or f"no answer within {self._settings.timeout_s:g} s"
            raise FeedUnavailable(f"cannot connect to {url}: {reason}") from error
        self._links = {link for link in self._links if not link.is_over}
        link = CcxtLink(websocket, on_frame, on_close)
        self._links.add(link)
        return link

    async def get(self, path: str, parameters: Mapping[str, str]) -> Answer:
        """Ask the venue's REST host, such as ``/api/v3/depth``; any status is an answer.

        Raises:
            FeedUnavailable: There was no answer.
        """
        url = f"{self._rest_url}{path}"
        if parameters:
            url = f"{url}?{urlencode(parameters)}"
        try:
            session, options = self._route(url)
            async with session.get(**options) as response:
                body = await response.read()
                heard = {name.lower(): value for name, value in response.headers.items()}
                return self._answer(response.status, heard, body)
        except UNREACHABLE as error:
            reason = str(error) or f"no answer within {self._settings.timeout_s:g} s"
            raise FeedUnavailable(f"cannot ask {self._rest_url}: {reason}") from error

    async def listings(self, weighed: Weighed) -> Sequence[Listing]:
        """Return every spot pair of the venue whose assets are plain letters and digits.

        ``weighed`` is told of the answer, and of the weight limit that it states.

        Raises:
            FeedUnavailable: There was no usable answer.
            FeedRejected: The venue refuses for good. The message says what to change.
        """
        try:
            markets = await self._exchange.fetch_markets()
        except Exception as error:
            weighed.answered(status_in(error), self._last_headers())
            # Whatever it is: of a garbled answer ccxt makes errors of Python's own.
            raise translated(error, self._settings) from error
        weighed.answered(200, self._last_headers())
        limit = stated_limit(self._exchange.last_json_response)
        if limit is not None:
            weighed.limit_is(limit)
        described = [fields for market in markets if market and (fields := listing_fields(market))]
        if not described:
            raise FeedUnavailable(f"{self._settings.exchange} lists no spot pairs at the moment")
        return [self._listing(**fields) for fields in described]

    async def close(self) -> None:
        """End every link, and return once their sockets are closed."""
        for link in self._links:
            link.close()
        await asyncio.gather(*(link.ended() for link in self._links))

    def _last_headers(self) -> Mapping[str, str]:
        headers = self._exchange.last_response_headers or {}
        return {str(name).lower(): str(value) for name, value in headers.items()}

    async def _dial(self, url: str) -> aiohttp.ClientWebSocketResponse:
        """Let ccxt open a socket of its own for every link, though it would share one among equal URLs."""
        client = self._exchange.client(url)
        self._exchange.clients.pop(url, None)
        client.options = client.options | {"compress": 0}  # unpacking small frames costs more than it saves
        *_, socks_proxy = self._exchange.check_ws_proxy_settings()
        websocket: aiohttp.ClientWebSocketResponse = await client.create_connection(
            self._session(socks_proxy)
        )
        return websocket

    def _route(self, url: str) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
        """Return the session and options of a request, as ccxt's own ``fetch`` chooses them."""
        exchange = self._exchange
        headers = exchange.prepare_request_headers()
        if self._settings.api_key:
            headers["X-MBX-APIKEY"] = self._settings.api_key
        relay = exchange.check_proxy_url_settings(url, "GET")
        if relay is not None:
            headers["Origin"] = exchange.origin
            url = relay + exchange.url_encoder_for_proxy_url(url)
        http_proxy, https_proxy, socks_proxy = exchange.check_proxy_settings(url, "GET")
        proxy = http_proxy or https_proxy or (None if socks_proxy else exchange.aiohttp_proxy) or None
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        options = {"url": URL(url, encoded=True), "headers": headers, "proxy": proxy, "timeout": timeout}
        return self._session(socks_proxy), options

    def _session(self, socks_proxy: str | None) -> aiohttp.ClientSession:
        exchange = self._exchange
        session: aiohttp.ClientSession = (
            exchange.get_socks_proxy_session(socks_proxy) if socks_proxy else exchange.session
        )
        return session


@asynccontextmanager
async def open_ccxt(
    settings: Ccxt, answer: MakeAnswer[Answer], listing: MakeListing[Listing]
) -> AsyncIterator[CcxtTransport[Answer, Listing]]:
    """Open the way through ccxt; nothing is asked before the first request.

    Raises:
        ConfigError: ccxt does not know the exchange, or it does not talk like Binance.
    """
    async with open_exchange(settings) as exchange:
        api = exchange.urls["api"]
        if not (isinstance(api, dict) and str(api.get("public", "")).endswith(REST_ROOT)):
            raise ConfigError(f"feed.ccxt.exchange = {settings.exchange!r} does not talk like Binance")
        transport = CcxtTransport(exchange, settings, answer, listing)
        try:
            yield transport
        finally:
            await transport.close()
