"""A sandbox in this process, fed by the test, and a client that talks to it over real sockets."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

import captured
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, MarketEvent, QuoteTick, Side, TradeTick
from binance_proxy.sandbox.serve import Sandbox, serve
from binance_proxy.sandbox.settings import SandboxSettings

MS = 1_000_000
START = captured.START
BTC = captured.instrument()
UNIT = 10**8
PATIENCE_S = 30


def at(ms: int) -> dict[str, int]:
    """Return both times of an event that happens so many ms after the start."""
    return {"ts_event": START + ms * MS, "ts_recv": START + ms * MS}


def trade(
    trade_id: int, ms: int = 0, price: float = 60_000, size: float = 0.5, **changed: object
) -> TradeTick:
    known = {
        "instrument": BTC, "trade_id": trade_id, "price": round(price * UNIT), "size": round(size * UNIT),
        "aggressor": Side.BUY, **at(ms),
    }  # fmt: skip
    return TradeTick(**(known | changed))


def quote(
    first: int, last: int | None = None, ms: int = 0, *, bids=(), asks=(), **changed: object
) -> QuoteTick:
    known = {
        "instrument": BTC, "first_update_id": first, "last_update_id": first if last is None else last,
        "bids": units(bids), "asks": units(asks), **at(ms),
    }  # fmt: skip
    return QuoteTick(**(known | changed))


def snapshot(update_id: int, bids=((59_000, 1.5),), asks=((61_000, 2),), **changed: object) -> BookSnapshot:
    known = {
        "instrument": BTC, "last_update_id": update_id, "bids": units(bids), "asks": units(asks), **at(0),
    }  # fmt: skip
    return BookSnapshot(**(known | changed))


def units(levels) -> tuple[tuple[int, int], ...]:
    return tuple((round(price * UNIT), round(size * UNIT)) for price, size in levels)


class Past:
    """A `MarketFeed` of trades that are over at once."""

    def __init__(self, trades: Sequence[TradeTick]) -> None:
        self._trades = trades

    async def instruments(self, _: object) -> Sequence[Instrument]:
        return list(dict.fromkeys(trade.instrument for trade in self._trades))

    async def stream(self, _: object) -> AsyncGenerator[MarketEvent]:
        for trade in self._trades:
            yield trade

    def resync(self, _: Instrument) -> None:
        pass


class Told:
    """A feed that yields what the test tells it, in each stream from the beginning on."""

    def __init__(self, *events: object) -> None:
        self._queue: asyncio.Queue[object] = asyncio.Queue()
        self.resyncs: list[Instrument] = []
        for event in events:
            self._queue.put_nowait(event)

    async def instruments(self, wanted: Sequence[object]) -> Sequence[Instrument]:
        return (BTC,)

    async def stream(self, instruments):
        while True:
            event = await self._queue.get()
            if event is None:
                return
            yield event
            self._queue.task_done()

    def resync(self, instrument: Instrument) -> None:
        self.resyncs.append(instrument)

    async def tell(self, *events: object) -> None:
        """Have events happen; return once the venue has taken them."""
        for event in events:
            self._queue.put_nowait(event)
        async with asyncio.timeout(PATIENCE_S):
            await self._queue.join()

    def end(self) -> None:
        self._queue.put_nowait(None)


class Socket:
    """A WebSocket client that shows everything: pings are answered only if the test does so."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = socket

    async def next(self) -> aiohttp.WSMessage:
        return await self.raw.receive(timeout=PATIENCE_S)

    async def json(self) -> object:
        """Return the next message, which has to be a text."""
        message = await self.next()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def jsons(self, count: int) -> list:
        return [await self.json() for _ in range(count)]

    async def ask(self, method: str, params: object = None, request_id: object = 1) -> object:
        """Send a request and return the next message."""
        request = {"method": method, "id": request_id} | ({} if params is None else {"params": params})
        await self.raw.send_json(request)
        return await self.json()

    async def until_closed(self) -> int | None:
        """Read on to the end; return the code of the close, `None` if there was none."""
        while True:
            message = await self.next()
            if message.type is aiohttp.WSMsgType.CLOSE:
                await self.raw.close()
                return message.data
            if message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}:
                return None


class Client:
    """Talks to one sandbox."""

    def __init__(self, sandbox: Sandbox, feed: Told, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.feed = feed
        self.http = http
        self._sockets: list[Socket] = []

    async def ask(self, path: str, *, headers: dict | None = None, **params: object):
        """Return status, headers and body of an answer."""
        given = {name: str(value) for name, value in params.items()}
        url = f"{self.sandbox.rest_url}{path if path.startswith('/') else f'/api/v3/{path}'}"
        async with self.http.get(url, params=given, headers=headers) as answer:
            text = await answer.text()
            return answer.status, answer.headers, json.loads(text) if text.startswith(("{", "[")) else text

    async def get(self, path: str, **params: object):
        """Return the body of an answer that has to be good."""
        status, _, body = await self.ask(path, **params)
        assert status == 200, body
        return body

    async def refusal(self, path: str, **params: object) -> tuple[int, int]:
        """Return status and Binance's code of an answer that has to be an error."""
        status, _, body = await self.ask(path, **params)
        assert body["msg"]
        return status, body["code"]

    async def fault(self, fault: str, **how: object) -> dict:
        url = f"{self.sandbox.rest_url}/sandbox/faults"
        async with self.http.post(url, json={"fault": fault, **how}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def no_more_faults(self) -> None:
        async with self.http.delete(f"{self.sandbox.rest_url}/sandbox/faults") as answer:
            assert answer.status == 200

    async def fired(self, fault: str) -> int:
        return (await self.get("/sandbox/faults"))[fault]

    async def nobody_is_connected(self) -> None:
        """Return once the sandbox has seen everybody leave."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.get("/sandbox/status"))["connections"]:  # noqa: ASYNC110  it is asked by HTTP
                await asyncio.sleep(0.01)

    async def connect(self, path: str) -> Socket:
        url = f"{self.sandbox.stream_url}{path}"
        socket = Socket(await self.http.ws_connect(url, autoping=False, autoclose=False, max_msg_size=2**24))
        self._sockets.append(socket)  # one that nobody knows any more would be closed
        return socket


@asynccontextmanager
async def opened(*events: object, feed: object = None, **settings: object) -> AsyncIterator[Client]:
    """Run a sandbox of BTC/USDT to which these events have happened."""
    known = Told(*events) if feed is None else feed
    changed = SandboxSettings(**({"port": 0, "shutdown_notice_s": 0.0} | settings))
    async with (
        serve(known, await known.instruments(()), changed) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        if feed is None and not changed.hold:
            await known.tell()
        yield Client(sandbox, known, http)
