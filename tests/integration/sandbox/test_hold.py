"""A capture waits for its first client, who misses nothing."""

import asyncio
import csv
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

import captured
import recorded
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.capture.feed import CaptureFeed
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.domain.instrument import Market
from binance_proxy.sandbox.hold import HeldClock
from binance_proxy.sandbox.serve import serve
from binance_proxy.sandbox.settings import SandboxSettings
from sandboxed import PATIENCE_S, opened, quote, snapshot, trade

BOTH = "btcusdt@trade/btcusdt@depth@100ms"


def capture(*paths: Path, clock=None, speed: float | None = None) -> CaptureFeed:
    return CaptureFeed(paths, BinanceFrames(Market.SPOT), clock or SystemClock(), speed=speed)


async def test_nothing_is_played_before_somebody_subscribes(tmp_path):
    feed = capture(captured.write(tmp_path / "a.gz", captured.session(100)))
    async with opened(feed=feed, hold=True, hold_s=60) as client:
        status = await client.get("/sandbox/status")
        assert status["held"]
        assert status["symbols"]["BTCUSDT"]["events"] == 0


async def test_the_book_of_the_beginning_is_there_while_the_feed_is_held(tmp_path):
    feed = capture(captured.write(tmp_path / "a.gz", captured.session(100)))
    async with opened(feed=feed, hold=True, hold_s=60) as client:
        book = await client.get("depth", symbol="BTCUSDT")
        assert book == {
            "lastUpdateId": 1_001,
            "bids": [["59000.00000000", "1.50000000"]],
            "asks": [["61000.00000000", "2.00000000"]],
        }


async def test_a_client_that_asks_for_the_book_has_exactly_the_events_of_the_capture(tmp_path):
    feed = capture(captured.write(tmp_path / "a.gz", captured.session(1_000)))
    async with opened(feed=feed, hold=True, hold_s=600) as client:
        socket = await client.connect(f"/stream?streams={BOTH}")
        held = await client.get("/sandbox/status")
        assert held["held"]  # until the book was asked for
        book = await client.get("depth", symbol="BTCUSDT", limit=5_000)
        events = [message["data"] for message in await socket.jsons(1_000)]
        assert [event["t"] for event in events if event["e"] == "trade"] == list(range(100, 600))
        depth = [event for event in events if event["e"] == "depthUpdate"]
        assert [event["U"] for event in depth] == list(range(1_000, 2_000, 2))
        assert depth[0]["u"] == book["lastUpdateId"]  # older than the book, and printed all the same
        await client.sandbox.playing
        assert (await client.get("/sandbox/status"))["symbols"]["BTCUSDT"]["book_update_id"] == 1_999


async def test_a_client_that_never_asks_for_the_book_is_not_waited_for_for_ever(tmp_path):
    feed = capture(captured.write(tmp_path / "a.gz", captured.session(100)))
    async with opened(feed=feed, hold=True, hold_s=0.1) as client:
        socket = await client.connect(f"/stream?streams={BOTH}")
        assert len(await socket.jsons(100)) == 100


async def test_a_client_of_trades_alone_needs_no_book(tmp_path):
    feed = capture(captured.write(tmp_path / "a.gz", captured.session(100)))
    async with opened(feed=feed, hold=True, hold_s=600) as client:
        socket = await client.connect("/ws/btcusdt@trade")
        assert len(await socket.jsons(50)) == 50


async def test_a_capture_without_a_snapshot_is_played_too(tmp_path):
    frames = [frame for frame in captured.session(100) if '"stream"' in frame[1]]
    feed = capture(captured.write(tmp_path / "a.gz", frames))
    async with opened(feed=feed, hold=True, hold_s=0.1) as client:
        assert await client.refusal("depth", symbol="BTCUSDT") == (503, -1001)
        socket = await client.connect(f"/stream?streams={BOTH}")
        assert len(await socket.jsons(100)) == 100


async def test_a_feed_that_is_not_held_waits_for_nobody():
    async with opened(snapshot(7), quote(8), trade(1)) as client:
        status = await client.get("/sandbox/status")
        assert not status["held"]
        assert status["symbols"]["BTCUSDT"]["events"] == 2


async def test_a_client_that_is_slower_than_a_held_feed_is_waited_for(tmp_path):
    feed = capture(captured.write(tmp_path / "a.gz", captured.session(40_000)))
    async with opened(feed=feed, hold=True, hold_s=0.1, outbox=2_000) as client:
        socket = await client.connect("/ws/btcusdt@trade")
        assert [event["t"] for event in await socket.jsons(20_000)] == list(range(100, 20_100))


class SetClock:
    """A clock that the test sets, and that shows who waits for what."""

    def __init__(self) -> None:
        self.ns = 1_000
        self.waited: list[int] = []

    def now(self) -> int:
        return self.ns

    async def sleep_until(self, ts: int) -> None:
        self.waited.append(ts)
        self.ns = max(self.ns, ts)
        await asyncio.sleep(0)


async def test_the_time_that_a_feed_is_held_is_not_its_own(tmp_path):
    real = SetClock()
    clock = HeldClock(real)
    feed = capture(captured.write(tmp_path / "a.gz", captured.session(20)), clock=clock, speed=1.0)
    settings = SandboxSettings(port=0, hold=True, hold_s=60)
    async with (
        serve(feed, await feed.instruments(()), settings, clock) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        assert not real.waited  # it was read ahead at once
        real.ns += 3_600_000_000_000  # an hour later the first client comes
        released = real.ns
        async with http.ws_connect(f"{sandbox.stream_url}/ws/btcusdt@trade") as socket:
            for _ in range(10):
                await socket.receive_json(timeout=PATIENCE_S)
            await sandbox.playing
        steps = [at - released for at in real.waited]
        assert steps[-1] == 19 * captured.STEP_NS  # it takes as long as it took
        assert steps == sorted(steps)


@pytest.mark.shared_data
async def test_a_recorded_session_comes_out_event_for_event():
    paths = recorded.captures("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")
    async with opened(feed=capture(*paths), hold=True, hold_s=60) as client:
        socket = await client.connect(f"/stream?streams={BOTH}")
        book = await client.get("depth", symbol="BTCUSDT", limit=5_000)
        assert book["lastUpdateId"] == 50_093_239_218
        came = await socket.jsons(19_904 + 6_495)
        expected = [
            message
            for _, message in recorded.frames(*paths)
            if message.get("stream") in {"btcusdt@trade", "btcusdt@depth@100ms"}
        ]
        for ours, theirs in zip(came, expected, strict=True):
            assert ours["stream"] == theirs["stream"]
            if ours["stream"] == "btcusdt@trade":  # the feed has no event time of trades
                theirs["data"] |= {"E": ours["data"]["E"]}
            assert ours["data"] == theirs["data"]
        trades = [message["data"]["t"] for message in came if message["data"]["e"] == "trade"]
        assert trades == list(range(3_735_683_259, 3_735_703_163))
        await client.sandbox.playing
        status = (await client.get("/sandbox/status"))["symbols"]["BTCUSDT"]
        assert status["book_update_id"] == 50_093_696_318
        best = await client.get("ticker/bookTicker", symbol="BTCUSDT")
        assert (best["bidPrice"], best["bidQty"]) == ("61602.01000000", "1.67177000")
        assert (best["askPrice"], best["askQty"]) == ("61602.02000000", "2.66795000")


@pytest.mark.shared_data
async def test_klines_of_a_recorded_session_are_those_of_the_exchange():
    paths = recorded.captures("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")
    (klines,) = recorded.recorded("klines/spot_btcusdt_5m_20240808.csv")
    whole = (1_723_161_300_000, 1_723_161_600_000)
    async with opened(feed=capture(*paths), hold=True, hold_s=0) as client:
        socket = await client.connect("/ws/btcusdt@kline_5m")
        await client.sandbox.playing
        rows = await client.get("klines", symbol="BTCUSDT", interval="5m", startTime=whole[0], limit=2)
        theirs = {int(row[0]): row for row in csv.reader(klines.read_text().splitlines()) if row[0].isdigit()}
        assert [row[0] for row in rows] == list(whole)
        for row in rows:
            assert [Decimal(cell) for cell in row[1:6]] == [Decimal(cell) for cell in theirs[row[0]][2:7]]
        closed = {}
        while not set(whole) <= set(closed):
            kline = (await socket.json())["k"]
            if kline["x"]:
                closed[kline["t"]] = kline
        for row in rows:
            kline = closed[row[0]]
            assert [kline[name] for name in "tohlcvTqnVQ"] == row[:11]
