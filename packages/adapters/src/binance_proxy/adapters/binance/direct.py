"""The direct way to Binance: picows for WebSockets, aiohttp for REST."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import aiohttp
from picows import WSError, WSFrame, WSInvalidStatusError, WSListener, WSMsgType, WSTransport, ws_connect

from binance_proxy.adapters.binance.exchange_info import PATH, read_exchange_info
from binance_proxy.adapters.binance.refusals import not_served
from binance_proxy.adapters.binance.settings import Direct
from binance_proxy.adapters.binance.transport import Answer, Listing, OnClose, OnFrame, Weighed
from binance_proxy.application.ports import FeedUnavailable

_quiet = logging.getLogger(f"{__name__}.picows")
_quiet.setLevel(logging.WARNING)  # it would tell of every connection, as we do
GET_IN_MICROSECONDS = {"X-MBX-TIME-UNIT": "MICROSECOND"}


class DirectTransport:
    """The way to Binance, or to a venue that talks like it, without anything between."""

    def __init__(self, settings: Direct, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._in_us = settings.time_unit == "us"

    async def connect(self, path: str, on_frame: OnFrame, on_close: OnClose) -> "DirectLink":
        """Open a WebSocket, as `Transport.connect` says."""
        url = f"{self._settings.stream_url}{path}"
        if self._in_us:
            url += ("&" if "?" in path else "?") + "timeUnit=MICROSECOND"
        try:
            listener = _Listener(on_frame, on_close)
            async with asyncio.timeout(self._settings.timeout_s):
                transport, _ = await ws_connect(lambda: listener, url, logger_name=_quiet)
        except WSInvalidStatusError as error:
            status = error.response.status if error.response else 0
            if status == 451:
                raise not_served("feed.binance") from error
            raise FeedUnavailable(f"{url} answered {int(status)} instead of a WebSocket") from error
        except (OSError, WSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._settings.timeout_s:g} s"
            raise FeedUnavailable(f"cannot connect to {url}: {reason}") from error
        if not listener.has_begun:  # picows says nothing about a venue that hangs up during the handshake
            raise FeedUnavailable(f"{url} hung up instead of opening a WebSocket")
        return DirectLink(transport, listener)

    async def get(self, path: str, parameters: Mapping[str, str]) -> Answer:
        """Ask the REST host, as `Transport.get` says."""
        headers = dict(GET_IN_MICROSECONDS) if self._in_us else {}
        if self._settings.api_key:
            headers["X-MBX-APIKEY"] = self._settings.api_key
        url = f"{self._settings.rest_url}{path}"
        try:
            async with self._session.get(url, params=dict(parameters), headers=headers) as response:
                body = await response.read()
                heard = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, heard, body)
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._settings.timeout_s:g} s"
            raise FeedUnavailable(f"cannot ask {self._settings.rest_url}: {reason}") from error

    async def listings(self, weighed: Weighed) -> Sequence[Listing]:
        """Return every pair of the venue, as `Transport.listings` says."""
        answer = await self.get(PATH, {})
        weighed.answered(answer.status, answer.headers)
        listings, limit = read_exchange_info(answer)
        if limit is not None:
            weighed.limit_is(limit)
        return listings


@asynccontextmanager
async def open_direct(settings: Direct) -> AsyncIterator[DirectTransport]:
    """Open the way to Binance; nothing is asked before the first request."""
    timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield DirectTransport(settings, session)


class DirectLink:
    """One WebSocket of picows."""

    def __init__(self, transport: WSTransport, listener: "_Listener") -> None:
        self._transport = transport
        self._listener = listener

    def send(self, text: str) -> None:
        """Send a text message; does nothing once the link has ended."""
        if not self._transport.is_disconnected:
            self._transport.send(WSMsgType.TEXT, text.encode())

    def pause(self) -> None:
        """Stop reading."""
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    def close(self) -> None:
        """End the link at once and silently."""
        self._listener.be_silent()
        with suppress(OSError):
            self._transport.disconnect(graceful=False)


class _Listener(WSListener):
    """Puts the pieces of a message together, and says why the link ended."""

    def __init__(self, on_frame: OnFrame, on_close: OnClose) -> None:
        super().__init__()
        self._on_frame = on_frame
        self._on_close = on_close
        self._pieces: list[bytes] = []
        self._silent = False
        self.has_begun = False
        """True once the handshake is done."""

    def be_silent(self) -> None:
        """Call nobody any more."""
        self._silent = True

    def on_ws_connected(self, _transport: WSTransport) -> None:
        """Notice the beginning."""
        self.has_begun = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame."""
        if self._silent:
            return
        kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin:
            self._on_frame(frame.get_payload_as_bytes())
        elif kind in {WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION}:
            self._pieces.append(frame.get_payload_as_bytes())
            if frame.fin:
                whole = b"".join(self._pieces)
                self._pieces.clear()
                self._on_frame(whole)
        elif kind == WSMsgType.CLOSE:
            code, said = frame.get_close_code(), (frame.get_close_message() or b"").decode(errors="replace")
            self._end(f"the venue closed the connection ({code.value}{' ' + said if said else ''})")
            transport.send_close(code)
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """Notice the end."""
        self._end("the connection broke")

    def _end(self, reason: str) -> None:
        if not self._silent:
            self._silent = True
            self._on_close(reason)
