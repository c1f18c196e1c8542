"""Whole books are fetched once their updates come, and less often the more often they are needed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

import pytest

from binance_proxy.adapters.binance import snapshots as module
from binance_proxy.adapters.binance.rest import BinanceRest
from binance_proxy.adapters.binance.snapshots import AT_A_TIME, FIRST_UPDATE_S, Snapshots, levels_for
from binance_proxy.adapters.binance.transport import Answer, Listing
from binance_proxy.adapters.binance.weight import WeightLimiter
from binance_proxy.domain.instrument import Instrument, Market
from scripted import ScriptedTransport, answer, ok
from warp import warp

BOOK = {"lastUpdateId": 7, "bids": [], "asks": []}
BASES = [f"C{number}" for number in range(12)]
LISTINGS = [
    Listing(symbol=f"{base}/USDT", code=f"{base}USDT", trading=True, tick_size=None, step_size=None)
    for base in BASES
]
ETH, *OTHERS = (Instrument(venue="binance", market=Market.SPOT, symbol=one.symbol) for one in LISTINGS)


class Reader:
    """Fetches by a script, and notes what is delivered and when."""

    def __init__(self, *script: Answer | Exception) -> None:
        said = list(script)
        self.transport = ScriptedTransport(lambda *_: said.pop(0) if said else ok(BOOK), [LISTINGS])
        self.delivered: list[tuple[float, Instrument]] = []
        self.ready = asyncio.Event()
        self.ready.set()
        self.on_delivery: Callable[[Instrument], None] = lambda _: None
        rest = BinanceRest(self.transport, WeightLimiter(share=1.0))
        self.snapshots = Snapshots(rest, 100, 8.0, self)
        self.updates_come = True
        self.muted: list[Instrument] = []
        self.errors: list[BaseException] = []

    async def until_ready(self, instrument: Instrument) -> None:
        await self.ready.wait()

    def deliver(self, instrument: Instrument, body: bytes) -> None:
        assert b"lastUpdateId" in body
        self.delivered.append((asyncio.get_running_loop().time(), instrument))
        self.on_delivery(instrument)

    def mute(self, instrument: Instrument) -> None:
        self.muted.append(instrument)

    def broken(self, error: BaseException) -> None:
        self.errors.append(error)

    async def update(self) -> None:
        """Be the stream that brings updates."""
        while True:
            await asyncio.sleep(0.01)
            for event in self.snapshots.awaited.values() if self.updates_come else ():
                event.set()


def run(work: Callable[[Reader], Coroutine[object, object, None]], *script: Answer | Exception) -> None:
    async def inside() -> None:
        reader = Reader(*script)
        updating = asyncio.create_task(reader.update())
        await work(reader)
        updating.cancel()
        assert reader.errors == []
        await reader.snapshots.close()

    warp(inside())


def test_a_book_is_asked_for_behind_the_first_update_only() -> None:
    async def work(reader: Reader) -> None:
        reader.ready.clear()
        reader.snapshots.want(ETH)
        await asyncio.sleep(100)
        assert reader.transport.asked == []
        reader.ready.set()
        reader.updates_come = False
        await asyncio.sleep(FIRST_UPDATE_S / 2)
        assert reader.transport.asked == []
        reader.updates_come = True
        await asyncio.sleep(0.1)
        assert reader.transport.asked == [("/api/v3/depth", {"symbol": "C0USDT", "limit": "100"})]
        assert [instrument for _, instrument in reader.delivered] == [ETH]
        assert reader.snapshots.awaited == {}

    run(work)


def test_a_stream_without_updates_gets_its_book_too() -> None:
    async def work(reader: Reader) -> None:
        reader.updates_come = False
        reader.snapshots.want(ETH)
        await asyncio.sleep(FIRST_UPDATE_S + 0.1)
        assert len(reader.delivered) == 1

    run(work)


def test_one_request_at_a_time_for_each_instrument() -> None:
    async def work(reader: Reader) -> None:
        for _ in range(5):
            reader.snapshots.want(ETH)
            await asyncio.sleep(0)
        await asyncio.sleep(10)
        assert len(reader.transport.asked) == len(reader.delivered) == 1

    run(work)


def test_few_requests_at_a_time_for_all() -> None:
    async def work(reader: Reader) -> None:
        reader.transport.hold.clear()
        for instrument in (ETH, *OTHERS):
            reader.snapshots.want(instrument)
        await asyncio.sleep(10)
        assert len(reader.transport.asked) == AT_A_TIME
        reader.transport.hold.set()
        await asyncio.sleep(10)
        assert {instrument for _, instrument in reader.delivered} == {ETH, *OTHERS}

    run(work)


def test_a_book_that_is_of_no_use_can_be_wanted_again_in_the_moment_it_comes() -> None:
    """The reader may find at once that it is stale; if it could not say so, it would wait for ever."""

    async def work(reader: Reader) -> None:
        def want_again(instrument: Instrument) -> None:
            if len(reader.delivered) < 4:
                reader.snapshots.want(instrument)

        reader.on_delivery = want_again
        reader.snapshots.want(ETH)
        await asyncio.sleep(60)
        assert len(reader.delivered) == 4

    run(work)


def test_pauses_grow_where_books_are_wanted_often_and_are_short_again_after_peace() -> None:
    async def work(reader: Reader) -> None:
        loop = asyncio.get_running_loop()
        reader.on_delivery = reader.snapshots.want
        reader.snapshots.want(ETH)
        await asyncio.sleep(300)
        assert 300 / 8 < len(reader.delivered) < 150
        reader.on_delivery = lambda _: None
        await asyncio.sleep(100)
        wanted_at = loop.time()
        reader.snapshots.want(ETH)
        await asyncio.sleep(30)
        assert reader.delivered[-1][0] - wanted_at < 0.1

    run(work)


def test_what_is_out_of_order_is_asked_again() -> None:
    async def work(reader: Reader) -> None:
        reader.snapshots.want(ETH)
        await asyncio.sleep(60)
        assert len(reader.transport.asked) == 4
        assert len(reader.delivered) == 1

    run(work, answer(503, b"down"), answer(200, b"<html>"), answer(500, {"code": -1000, "msg": "no"}))


def test_a_refusal_is_said_once_and_asked_again_much_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REJECTED_PAUSE_S", 100.0)

    async def work(reader: Reader) -> None:
        reader.snapshots.want(ETH)
        reader.snapshots.want(OTHERS[0])
        await asyncio.sleep(90)
        assert [instrument for _, instrument in reader.delivered] == [OTHERS[0]]
        assert len(reader.transport.asked) == 2
        await asyncio.sleep(150)
        assert [instrument for _, instrument in reader.delivered] == [OTHERS[0], ETH]

    refused = answer(400, {"code": -1121, "msg": "Invalid symbol."})
    run(work, refused, ok(BOOK), refused)
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert "there is no pair C0USDT" in said[0].getMessage()


def test_a_forgotten_book_does_not_come_unless_it_is_wanted_again() -> None:
    async def work(reader: Reader) -> None:
        reader.ready.clear()
        for instrument in (ETH, *OTHERS):
            reader.snapshots.want(instrument)
        await asyncio.sleep(1)
        reader.snapshots.forget([ETH, OTHERS[0]])
        reader.snapshots.want(ETH)
        reader.snapshots.forget([ETH])
        reader.snapshots.want(ETH)
        await asyncio.sleep(1)
        reader.ready.set()
        await asyncio.sleep(20)
        assert {instrument for _, instrument in reader.delivered} == {ETH, *OTHERS[1:]}
        assert len(reader.delivered) == len(OTHERS)

    run(work)


def test_a_stream_that_stays_without_updates_while_books_are_wanted_is_mute() -> None:
    """The trades show that there are updates; of the line nothing else would ever be noticed."""

    async def work(reader: Reader) -> None:
        reader.updates_come = False
        for times, told in ((1, 0), (1, 0), (1, 1), (2, 1), (1, 2), (5, 2), (1, 3), (11, 3), (1, 4)):
            for _ in range(times):
                reader.snapshots.want(ETH)
                await asyncio.sleep(20)
            assert len(reader.muted) == told
        reader.updates_come = True
        reader.snapshots.want(ETH)
        await asyncio.sleep(20)
        reader.updates_come = False
        for told in (4, 4, 5):
            reader.snapshots.want(ETH)
            await asyncio.sleep(20)
            assert len(reader.muted) == told
        assert set(reader.muted) == {ETH}

    run(work)


def test_a_quiet_market_is_not_mute() -> None:
    async def work(reader: Reader) -> None:
        reader.updates_come = False
        for _ in range(2):
            reader.snapshots.want(ETH)
            await asyncio.sleep(100)
        reader.snapshots.forget([ETH])  # a new line, of which nothing is known
        reader.snapshots.want(ETH)
        await asyncio.sleep(100)
        assert len(reader.delivered) == 3
        assert reader.muted == []

    run(work, *[answer(503, b"down")] * 5)


def test_our_own_mistake_is_told_and_the_book_can_be_wanted_again() -> None:
    async def work(reader: Reader) -> None:
        reader.snapshots.want(ETH)
        await asyncio.sleep(10)
        assert reader.delivered == []
        assert [str(error) for error in reader.errors] == ["a mistake"]
        reader.errors.clear()
        reader.snapshots.want(ETH)
        await asyncio.sleep(10)
        assert len(reader.delivered) == 1

    run(work, RuntimeError("a mistake"))


@pytest.mark.parametrize(
    ("most", "instruments", "share", "levels"),
    [(5_000, 1, 0.5, 5_000), (5_000, 12, 0.5, 5_000), (5_000, 13, 0.5, 1_000), (5_000, 512, 0.5, 100),
     (20, 1, 1, 20), (5_000, 100_000, 0.5, 100), (5_000, 0, 0.5, 5_000)],
)  # fmt: skip
def test_all_books_together_cost_a_minute_of_weight(
    most: int, instruments: int, share: float, levels: int
) -> None:
    assert levels_for(most, instruments, share) == levels
