"""The way through ccxt, over real sockets: every byte as it was sent, every end told once."""

import asyncio
import gc
import json
import logging
import socket
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from binance_proxy.adapters.binance.transport import Answer, Listing
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.ccxt.transport import CcxtTransport, open_ccxt
from binance_proxy.application.ports import FeedRejected, FeedUnavailable
from binance_proxy.domain.errors import ConfigError
from loopback_venue import Caller, Venue, frame, open_venue

PATIENCE_S = 60
"""No test waits that long unless it fails."""


class Ear:
    """Notes what a link hands over."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.ends: list[str] = []
        self._changed = asyncio.Event()

    def on_frame(self, raw: bytes) -> None:
        self.frames.append(raw)
        self._changed.set()

    def on_close(self, reason: str) -> None:
        self.ends.append(reason)
        self._changed.set()

    async def hears(self, frames: int = 0, ends: int = 0) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.frames) < frames or len(self.ends) < ends:
                self._changed.clear()
                await self._changed.wait()


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what changes is the other side's
            await asyncio.sleep(0.005)


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with open_venue() as opened:
        yield opened


@pytest.fixture
async def transport(venue: Venue) -> AsyncIterator[CcxtTransport[Answer, Listing]]:
    settings = Ccxt(rest_url=venue.rest_url, stream_url=venue.stream_url)
    async with open_ccxt(settings, Answer, Listing) as opened:
        yield opened


async def test_the_exact_text_of_every_frame_arrives_in_order(venue: Venue, transport: CcxtTransport) -> None:
    sent = [f'{{"stream":"x@trade", "data":{{"p":"0.{n:08d}","é":{n}}}}}' for n in range(5_000)]

    async def talk(caller: Caller) -> None:
        for text in sent:
            await caller.websocket.send_str(text)

    venue.talk = talk
    ear = Ear()
    await transport.connect("/stream?streams=x@trade", ear.on_frame, ear.on_close)
    await ear.hears(frames=5_000)
    assert ear.frames == [text.encode() for text in sent]
    assert venue.callers[0].path == "/stream?streams=x@trade"
    assert ear.ends == []


async def test_many_frames_in_one_packet_and_one_frame_in_many(
    venue: Venue, transport: CcxtTransport
) -> None:
    small, large = b'{"a":1}', b'{"b":"' + b"x" * 300_000 + b'"}'

    async def talk(caller: Caller) -> None:
        caller.write(frame(small) * 500 + frame(large) + frame(b"[]"))
        for byte in frame(b'{"byte":"by byte"}'):
            caller.write(bytes([byte]))
            await asyncio.sleep(0)

    venue.talk = talk
    ear = Ear()
    await transport.connect("/stream", ear.on_frame, ear.on_close)
    await ear.hears(frames=503)
    assert ear.frames == [small] * 500 + [large, b"[]", b'{"byte":"by byte"}']


async def test_fragmented_and_binary_messages_are_put_together(
    venue: Venue, transport: CcxtTransport
) -> None:
    async def talk(caller: Caller) -> None:
        caller.write(frame(b'{"a":', fin=False) + frame(b"1", 0, fin=False))
        caller.write(frame(b"in between", 9) + frame(b"}", 0))
        caller.write(frame(b"\x00\xff binary", 2))
        caller.write(frame(b"pie", 2, fin=False) + frame(b"ces", 0))

    venue.talk = talk
    ear = Ear()
    await transport.connect("/stream", ear.on_frame, ear.on_close)
    await ear.hears(frames=3)
    assert ear.frames == [b'{"a":1}', b"\x00\xff binary", b"pieces"]
    await until(lambda: (WSMsgType.PONG, b"in between") in venue.callers[0].heard)


async def test_server_pings_are_answered_with_what_was_in_them(
    venue: Venue, transport: CcxtTransport
) -> None:
    async def talk(caller: Caller) -> None:
        for payload in (b"1760000000000", b""):
            await caller.websocket.ping(payload)

    venue.talk = talk
    ear = Ear()
    await transport.connect("/stream", ear.on_frame, ear.on_close)
    await until(lambda: len(venue.callers[0].heard) == 2)
    assert venue.callers[0].heard == [(WSMsgType.PONG, b"1760000000000"), (WSMsgType.PONG, b"")]
    assert ear.frames == ear.ends == []


async def test_what_is_sent_arrives_in_order(venue: Venue, transport: CcxtTransport) -> None:
    ear = Ear()
    link = await transport.connect("/stream", ear.on_frame, ear.on_close)
    texts = [json.dumps({"id": n, "params": ["x" * (n % 3) * 2_000]}) for n in range(200)]
    for text in texts:
        link.send(text)
    await until(lambda: len(venue.callers[0].heard) == 200)
    assert [data for _, data in venue.callers[0].heard] == texts


async def test_a_close_by_the_venue_is_told_once_with_its_code_and_reason(
    venue: Venue, transport: CcxtTransport
) -> None:
    async def talk(caller: Caller) -> None:
        caller.write(frame(b"last") + frame(b"\x03\xf0" + b"24 hours are over", 8) + frame(b"too late"))

    venue.talk = talk
    ear = Ear()
    link = await transport.connect("/stream", ear.on_frame, ear.on_close)
    await ear.hears(ends=1)
    link.send("into the void")
    link.pause()
    link.resume()
    link.close()
    await until(lambda: link.is_over)
    assert ear.frames == [b"last"]
    assert len(ear.ends) == 1
    assert "1008" in ear.ends[0]
    assert "24 hours are over" in ear.ends[0]


@pytest.mark.parametrize("how", ["reset", "broken frame", "wrong text", "too large", "no goodbye"])
async def test_a_broken_connection_is_told_once(venue: Venue, transport: CcxtTransport, how: str) -> None:
    async def talk(caller: Caller) -> None:
        await caller.websocket.send_str("last")
        await until(lambda: ear.frames)
        if how == "reset":
            caller.reset()
        elif how == "broken frame":
            caller.write(b"\xff" * 50)
        elif how == "wrong text":
            caller.write(frame(b"\xff\xfe"))
        elif how == "too large":
            caller.write(b"\x81" + bytes([127]) + (2**40).to_bytes(8, "big"))
        else:
            caller._request.transport.close()

    venue.talk = talk
    ear = Ear()
    link = await transport.connect("/stream", ear.on_frame, ear.on_close)
    await ear.hears(ends=1)
    await until(lambda: link.is_over)
    assert ear.frames == [b"last"]
    assert len(ear.ends) == 1
    assert len(ear.ends[0].split()) > 2


async def test_a_closed_link_ends_at_once_and_says_nothing_more(
    venue: Venue, transport: CcxtTransport
) -> None:
    async def talk(caller: Caller) -> None:
        while True:
            await caller.websocket.send_str("again")
            await asyncio.sleep(0)

    venue.talk = talk
    ear = Ear()
    link = await transport.connect("/stream", ear.on_frame, ear.on_close)
    await ear.hears(frames=10)
    link.close()
    link.close()
    heard = len(ear.frames)
    async with asyncio.timeout(PATIENCE_S):
        await venue.callers[0].gone.wait()
        await link.ended()
    link.send("into the void")
    assert link.is_over
    assert len(ear.frames) == heard
    assert ear.ends == []


async def test_a_link_can_be_closed_before_it_has_read_and_while_it_hands_over(
    venue: Venue, transport: CcxtTransport
) -> None:
    async def talk(caller: Caller) -> None:
        caller.write(frame(b"one") + frame(b"two") + frame(b"three"))

    venue.talk = talk
    ear = Ear()
    (await transport.connect("/stream", ear.on_frame, ear.on_close)).close()
    assert ear.frames == ear.ends == []

    frames: list[bytes] = []
    links = []

    def on_frame(raw: bytes) -> None:
        frames.append(raw)
        links[0].close()

    links.append(await transport.connect("/stream", on_frame, ear.on_close))
    async with asyncio.timeout(PATIENCE_S):
        await venue.callers[0].gone.wait()
        await venue.callers[1].gone.wait()
        await links[0].ended()
    assert frames == [b"one"]
    assert ear.frames == ear.ends == []


async def test_a_paused_link_makes_the_venue_wait_and_loses_nothing(
    venue: Venue, transport: CcxtTransport
) -> None:
    text = "x" * 10_000
    count = 5_000  # 50 MB, far more than sockets buffer
    written = 0

    async def talk(caller: Caller) -> None:
        nonlocal written
        for number in range(count):
            await caller.websocket.send_str(f"{number:08d}{text}")
            written += 1

    venue.talk = talk
    ear = Ear()
    link = await transport.connect("/stream", ear.on_frame, ear.on_close)
    await ear.hears(frames=1)
    link.pause()
    before = -1
    while before != written:  # until the venue writes no more
        before = written
        await asyncio.sleep(0.3)
    assert len(ear.frames) <= written < count  # it waits
    held = link._websocket._reader._size
    assert held < 1_000_000  # bytes in aiohttp's queue; the rest waits in the two sockets
    link.pause()
    link.resume()
    await ear.hears(frames=count)
    assert [int(raw[:8]) for raw in ear.frames] == list(range(count))
    assert ear.ends == []


async def test_a_paused_link_can_be_closed(venue: Venue, transport: CcxtTransport) -> None:
    async def talk(caller: Caller) -> None:
        while True:
            await caller.websocket.send_str("x" * 10_000)

    venue.talk = talk
    ear = Ear()
    link = await transport.connect("/stream", ear.on_frame, ear.on_close)
    await ear.hears(frames=1)
    link.pause()
    await asyncio.sleep(0.1)
    heard = len(ear.frames)
    link.close()
    async with asyncio.timeout(PATIENCE_S):
        await link.ended()
        await venue.callers[0].gone.wait()
    assert len(ear.frames) == heard
    assert ear.ends == []


async def test_two_links_of_one_address_are_two_sockets(venue: Venue, transport: CcxtTransport) -> None:
    async def talk(caller: Caller) -> None:
        await caller.websocket.send_str(f"caller {venue.callers.index(caller)}")

    venue.talk = talk
    old, new = Ear(), Ear()
    first = await transport.connect("/stream", old.on_frame, old.on_close)
    second = await transport.connect("/stream", new.on_frame, new.on_close)
    await old.hears(frames=1)
    await new.hears(frames=1)
    assert (old.frames, new.frames) == ([b"caller 0"], [b"caller 1"])
    first.close()
    async with asyncio.timeout(PATIENCE_S):
        await venue.callers[0].gone.wait()
    second.send("still there")
    await until(lambda: venue.callers[1].heard)
    assert old.ends == new.ends == []


async def test_links_that_are_over_are_forgotten(venue: Venue, transport: CcxtTransport) -> None:
    ear = Ear()
    for _ in range(20):
        link = await transport.connect("/stream", ear.on_frame, ear.on_close)
        link.close()
        await link.ended()
    await transport.connect("/stream", ear.on_frame, ear.on_close)
    assert len(transport._links) == 1
    assert transport._exchange.clients == {}


@pytest.mark.parametrize("status", [200, 403, 404, 418, 429, 500, 503])
async def test_no_websocket_is_unavailable(venue: Venue, transport: CcxtTransport, status: int) -> None:
    venue.refuse = status
    ear = Ear()
    with pytest.raises(FeedUnavailable, match=f"answered {status}"):
        await transport.connect("/stream", ear.on_frame, ear.on_close)
    assert ear.ends == []


async def test_a_place_that_is_not_served_is_rejected_and_says_what_to_change(
    venue: Venue, transport: CcxtTransport
) -> None:
    venue.refuse = 451

    async def reply(_request: web.Request) -> web.Response:
        return web.json_response(
            {"code": 0, "msg": "Service unavailable from a restricted location"}, status=451
        )

    venue.reply = reply
    ear = Ear()
    with pytest.raises(FeedRejected, match=r"451.*data-stream\.binance\.vision"):
        await transport.connect("/stream", ear.on_frame, ear.on_close)
    with pytest.raises(FeedRejected, match=r"451.*data-api\.binance\.vision"):
        await transport.listings(WeightLimiter())
    assert (await transport.get("/api/v3/depth", {})).status == 451


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "x" * 64], ids=["nobody listens", "no host name"])
async def test_nobody_there_is_unavailable(host: str) -> None:
    at = f"{host}:{closed_port()}"
    async with open_ccxt(
        Ccxt(rest_url=f"http://{at}", stream_url=f"ws://{at}"), Answer, Listing
    ) as transport:
        ear = Ear()
        with pytest.raises(FeedUnavailable, match=r"\w+ \w+"):
            await transport.connect("/stream", ear.on_frame, ear.on_close)
        with pytest.raises(FeedUnavailable, match=r"\w+ \w+"):
            await transport.get("/api/v3/depth", {"symbol": "BTCUSDT"})
        with pytest.raises(FeedUnavailable, match=r"\w+ \w+"):
            await transport.listings(WeightLimiter())


async def test_a_venue_that_never_answers_is_unavailable() -> None:
    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = Ccxt(rest_url=f"http://{at}", stream_url=f"ws://{at}", timeout_s=0.2)
    async with open_ccxt(settings, Answer, Listing) as transport:
        ear = Ear()
        with pytest.raises(FeedUnavailable, match=r"0\.2 s"):
            await transport.connect("/stream", ear.on_frame, ear.on_close)
        with pytest.raises(FeedUnavailable, match=r"0\.2 s"):
            await transport.get("/api/v3/depth", {})
        with pytest.raises(FeedUnavailable):
            await transport.listings(WeightLimiter())
    for writer in writers:
        writer.close()
    server.close()


@pytest.mark.parametrize("status", [200, 400, 403, 418, 429, 500])
async def test_any_status_is_an_answer_with_its_headers_and_bytes(
    venue: Venue, transport: CcxtTransport, status: int
) -> None:
    asked: list[web.Request] = []

    async def reply(request: web.Request) -> web.Response:
        asked.append(request)
        headers = {"X-MBX-USED-WEIGHT-1M": "250", "Retry-After": "7"}
        return web.Response(status=status, body=b'{"bids": [["1.10","2"]] }', headers=headers)

    venue.reply = reply
    answer = await transport.get("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "5000", "x": "a b&c"})
    assert isinstance(answer, Answer)
    assert answer.status == status
    assert answer.body == b'{"bids": [["1.10","2"]] }'
    assert (answer.headers["x-mbx-used-weight-1m"], answer.headers["retry-after"]) == ("250", "7")
    assert asked[0].path == "/api/v3/depth"
    assert dict(asked[0].query) == {"symbol": "BTCUSDT", "limit": "5000", "x": "a b&c"}
    assert "X-MBX-APIKEY" not in asked[0].headers


async def test_a_key_is_sent_along_if_there_is_one(venue: Venue) -> None:
    asked: list[web.Request] = []

    async def reply(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response([])

    venue.reply = reply
    settings = Ccxt(rest_url=venue.rest_url, stream_url=venue.stream_url, api_key="a-key", secret="a-secret")
    async with open_ccxt(settings, Answer, Listing) as transport:
        await transport.get("/api/v3/historicalTrades", {"symbol": "BTCUSDT"})
    assert asked[0].headers["X-MBX-APIKEY"] == "a-key"
    assert "secret" not in str(asked[0].url)


def symbol(base: str, quote: str, **changed: object) -> dict[str, object]:
    return {
        "symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote,
        "baseAssetPrecision": 8, "quotePrecision": 8, "quoteAssetPrecision": 8, "orderTypes": ["LIMIT"],
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "permissions": [],
        "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "10000", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001000"},
        ],
    } | changed  # fmt: skip


async def test_listings_say_how_each_spot_pair_trades(venue: Venue, transport: CcxtTransport) -> None:
    async def reply(request: web.Request) -> web.Response:
        assert request.path == "/api/v3/exchangeInfo"
        halted = symbol("ETH", "BTC", status="BREAK", venue="simulated")
        return web.json_response({"symbols": [symbol("BTC", "USDT"), halted, symbol("币安", "USDT")]})

    venue.reply = reply
    assert await transport.listings(WeightLimiter()) == [
        Listing(
            symbol="BTC/USDT", code="BTCUSDT", trading=True, tick_size="0.01000000", step_size="0.00001000"
        ),
        Listing(
            symbol="ETH/BTC", code="ETHBTC", trading=False, tick_size="0.01000000", step_size="0.00001000",
            venue="simulated",
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, "{}"), (200, "<html>"), (200, '{"symbols": 5}'), (200, "[]"), (200, ""), (500, "x"), (429, "{}"),
     (200, '{"symbols": [{}]}'), (418, '{"code":-1003,"msg":"banned"}')],
)  # fmt: skip
async def test_a_list_that_cannot_be_read_is_unavailable(
    venue: Venue, transport: CcxtTransport, status: int, body: str
) -> None:
    async def reply(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/json")

    venue.reply = reply
    with pytest.raises(FeedUnavailable, match=r"\w+ \w+"):
        await transport.listings(WeightLimiter())


@pytest.mark.parametrize(
    "wrong",
    [
        {"rest_url": "127.0.0.1:9080"}, {"rest_url": "ws://127.0.0.1"}, {"rest_url": "http://"},
        {"stream_url": "http://127.0.0.1"}, {"stream_url": "ws://127.0.0.1:99999"}, {"stream_url": "ws://[::1"},
        {"stream_url": "ws://a b"}, {"timeout_s": 0.0}, {"timeout_s": float("nan")},
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))} = "):
        Ccxt(**wrong)


async def test_a_wrong_exchange_names_the_key_and_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match=r"feed\.ccxt\.exchange.*binance"):
        async with open_ccxt(Ccxt(exchange="Binanse"), Answer, Listing):
            pass
    with pytest.raises(ConfigError, match=r"feed\.ccxt\.exchange"):
        async with open_ccxt(Ccxt(exchange=""), Answer, Listing):
            pass
    with pytest.raises(ConfigError, match=r"feed\.ccxt\.exchange.*kraken"):
        async with open_ccxt(Ccxt(exchange="kraken"), Answer, Listing):
            pass
    with pytest.raises(ConfigError, match=r"feed\.ccxt\.rest_url"):
        async with open_ccxt(Ccxt(exchange="kraken", rest_url="http://127.0.0.1:1"), Answer, Listing):
            pass


async def test_nothing_is_printed_logged_or_left_open(
    venue: Venue, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(caller: Caller) -> None:
        await caller.websocket.send_str("{not json")

    venue.talk = talk
    ear = Ear()
    caplog.set_level(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings = Ccxt(rest_url=venue.rest_url, stream_url=venue.stream_url)
        async with open_ccxt(settings, Answer, Listing) as transport:
            await transport.connect("/stream", ear.on_frame, ear.on_close)
            await transport.get("/api/v3/time", {})
            await ear.hears(frames=1)
        del transport
        gc.collect()
    async with asyncio.timeout(PATIENCE_S):
        await venue.callers[0].gone.wait()
    assert ear.ends == []
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name != "aiohttp.access"] == []
