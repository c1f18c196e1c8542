"""A running bridge answers requests, fetches what it does not have, and leaves nothing behind."""

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from subprocess import Popen

import aiohttp
import pytest
from aiohttp import web

from binance_proxy.client import Bridge as Client
from binance_proxy.client import BridgeAway, Trade
from bridge_process import PATIENCE_S, Bridge, eventually, free_port
from storm.family import alive, family, free_now
from storm.ordeal import Venue, _stop

ETH = "ETH/USDT"


class Answering(Bridge):
    """A bridge with a request side, in the shortest folder for temporary files."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.serve = f"tcp://127.0.0.1:{free_port()}"
        super().__init__(data_dir, f"serve.bind={self.serve}", *options)

    def client(self, **more: object) -> Client:
        given = {"publish": self.msgpack, "requests": self.serve, "control": self.control, "timeout_s": 60.0}
        return Client(**(given | more))

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.json, self.msgpack, self.serve, self.control


async def until(condition: object, what: str) -> None:
    await asyncio.to_thread(eventually, condition, what)


@asynccontextmanager
async def running(bridge: Bridge, log: Path) -> AsyncIterator[Popen[str]]:
    process = bridge.start("run", "--json", log=log)
    try:
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)


async def test_a_store_in_memory_is_asked_like_any_other(tmp_path: Path) -> None:
    bridge = Answering(tmp_path / "var", "store.use=memory", "feed.simulated.rate=200")
    async with running(bridge, tmp_path / "log"), bridge.client() as client:
        heard = []
        async with aclosing(client.trades(ETH)) as trades:
            async for one in trades:
                heard.append(one)
                if len(heard) == 50:
                    break
        assert all(isinstance(one, Trade) for one in heard)
        page = await client.trades_list(ETH, start=heard[0].ts_event, end=heard[-1].ts_event + 1)
        ids = range(heard[0].trade_id, heard[-1].trade_id + 1)  # others may be of the very same moment
        assert [(one.trade_id, one.price, one.size) for one in page.rows if one.trade_id in ids] == [
            (one.trade_id, one.price, one.size) for one in heard
        ]
        book = await client.book(ETH)
        answer = await client.orderbook_get(ETH)
        await until(lambda: book.last_update_id >= answer.last_update_id, "the book of then")
        if book.last_update_id == answer.last_update_id:
            assert (book.bids(), book.asks()) == (answer.bids, answer.asks)
        past = await client.orderbook_get(ETH, at=heard[-1].ts_event)
        assert past.ts_event <= heard[-1].ts_event
        candles = await client.candles_list(ETH, "1s", start=heard[0].ts_event - heard[0].ts_event % 10**9)
        assert sum(one.trades for one in candles.rows) >= 50
        assert (await client.stats_vwap(ETH, window_s=60)).trades >= 50
        async with asyncio.timeout(PATIENCE_S):
            while (status := await client.bridge_status()).serve.get("answered", 0) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # the front says it once a second
        assert status.serve["workers"] == 1


async def test_a_bridge_without_a_request_side_is_followed_all_the_same(tmp_path: Path) -> None:
    bridge = Bridge(tmp_path / "var", "store.use=memory", "feed.simulated.rate=200")
    async with (
        running(bridge, tmp_path / "log"),
        Client(publish=bridge.msgpack, requests="", control=bridge.control, timeout_s=60.0) as client,
    ):
        book = await client.book(ETH)
        async with aclosing(client.trades(ETH)) as trades:
            assert isinstance(await anext(trades), Trade)
        before = book.last_update_id
        async with aclosing(client.books(ETH)) as books:
            async for one in books:
                if one.last_update_id > before:
                    break
        assert (await client.bridge_status()).instruments
        with pytest.raises(BridgeAway, match="without its request side"):
            await client.trades_list(ETH)


class Counting:
    """Stands before the venue's REST side, and counts what is asked for."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.asked: Counter[str] = Counter()
        self.refused = 0

    async def _forward(self, request: web.Request) -> web.Response:
        async with self._http.get(f"{self.target}{request.path_qs}") as answer:
            self.asked[request.path.rpartition("/")[2]] += 1
            self.refused += answer.status in {418, 429}
            body = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.startswith(("X-", "Retry"))}
            return web.Response(
                body=body, status=answer.status, headers=kept, content_type="application/json"
            )

    @asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._forward)
        runner = web.AppRunner(application)
        async with aiohttp.ClientSession() as self._http:
            await runner.setup()
            port = free_port()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                await runner.cleanup()

    @property
    def trades_asked(self) -> int:
        return sum(self.asked[name] for name in ("historicalTrades", "aggTrades", "trades"))


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    folder = tmp_path / "venue"
    folder.mkdir()
    started = Venue(folder, rate=500, seed=1, faults={}, history=1_000_000)
    yield started
    _stop(started.process)


async def test_what_was_never_recorded_is_fetched_once_for_all_who_ask(tmp_path: Path, venue: Venue) -> None:
    began = time.time_ns()
    await until(lambda: venue.ask("/sandbox/status")["symbols"]["ETHUSDT"]["trades"] > 800, "a past")
    behind = (time.time_ns() // 10**9 - 1) * 10**9
    counting = Counting(venue.url)
    async with counting.run() as rest_url:
        stream_url = venue.url.replace("http", "ws")
        bridge = Answering.ready(
            tmp_path / "var", "feed.use=ccxt", f"feed.ccxt.rest_url={rest_url}",
            f"feed.ccxt.stream_url={stream_url}", "feed.care.snapshot_levels=100",
        )  # fmt: skip
        async with running(bridge, tmp_path / "log") as process, bridge.client() as client:
            await client.book(ETH)
            question = {"symbol": ETH, "start": began, "end": behind, "limit": 10_000, "timeout_s": 60.0}
            assert (await client.request("trades.list", **question))["rows"] == []
            asked = counting.trades_asked
            found = await asyncio.gather(
                *(client.request("trades.list", fetch=True, **question) for _ in range(50))
            )
            await until(lambda: venue.learn_trades() or True, "the venue's own list")
            true = [(number, *row) for number, row in venue.trades[ETH].items() if began <= row[0] < behind]
            for page in found:
                assert "not_fetched" not in page, page["not_fetched"]
                rows = [
                    (row["trade_id"], row["ts_event"], row["price"], row["size"], row["aggressor"])
                    for row in page["rows"]
                ]
                told = {name: value for name, value in page.items() if name != "rows"}
                assert (len(rows), told["stored"]) == (len(true), True), told
                assert rows == true
            assert len(true) > 100
            pages = -(-len(true) // 1_000)
            assert (
                pages <= counting.trades_asked - asked <= 2 * pages + 6
            )  # and it looks where the range begins
            asked = counting.trades_asked
            again = await client.request("trades.list", fresh=True, **question)  # past what was kept before
            assert len(again["rows"]) == len(true)
            assert counting.trades_asked == asked
            assert counting.refused == 0
            process.terminate()
            await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    count = "select count(*), count(distinct trade_id) from trades where ts_event < to_timestamp"
    assert bridge.query(f"{count}({behind // 10**9})") == [
        [str(len(true))] * 2
    ]  # of ETH/USDT alone: nothing of the others was asked for


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL], ids=str)
async def test_however_it_ends_no_process_no_socket_and_no_folder_is_left(
    sign: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as folder:
        place = Path(folder)
        os.chmod(folder, 0o755)  # noqa: PTH101
        os.mkdir(place / "tmp")  # noqa: PTH102
        os.chmod(place / "tmp", 0o1777)  # noqa: PTH101
        bridge = Answering.ready(place / "var", "feed.simulated.rate=100")
        monkeypatch.setenv("TMPDIR", str(place / "tmp"))
        process = bridge.start("run", log=place / "log")
        async with bridge.client() as client:
            assert await client.trades_list(ETH)
        everybody = family(process.pid)
        assert len(everybody) >= 6  # the bridge, PostgreSQL, Valkey, the crew: a front and two workers
        assert list((place / "tmp").iterdir())
        began = time.monotonic()
        process.send_signal(sign)
        process.wait(PATIENCE_S)
        if sign is signal.SIGINT:
            assert [pid for pid in everybody if alive(pid)] == []
            assert list((place / "tmp").iterdir()) == []
        await until(lambda: not any(map(alive, everybody)), "all processes gone")
        assert all(map(free_now, bridge.addresses)), time.monotonic() - began
        again = bridge.start("run", log=place / "log")
        try:
            async with bridge.client() as client:
                assert (await client.trades_list(ETH)).rows
        finally:
            again.terminate()
            await asyncio.to_thread(again.communicate, timeout=PATIENCE_S)
        assert again.returncode == 0
        assert [one.name for one in (place / "tmp").iterdir()] == []
        assert not [pid for pid in family(os.getpid()) if str(place) in _line(pid)]


def _line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
