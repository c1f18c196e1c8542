"""The client without ``async``: iterators, books, questions, threads and Ctrl-C."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from binance_proxy.client import BookStale, BridgeAway, RequestFailed, SyncBridge
from contract.publisher import ETH, quote, snapshot, trade
from served import Front, publishing, serving
from zeromq_wire import free_addresses

DEADLINE_S = 60.0
TESTS = Path(__file__).resolve().parents[2]


class Running:
    """A bridge in a thread of its own, that publishes a trade and an update every few milliseconds."""

    def __init__(self) -> None:
        self.json, self.msgpack, self.front_at, self.control_at = free_addresses(4)
        self.ready, self.stop = threading.Event(), threading.Event()
        self.front: Front
        self.control: Front
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        async with (
            serving(self.front_at) as self.front,
            serving(self.control_at) as self.control,
            publishing(self.json, self.msgpack, epoch="e1") as venue,
        ):
            self.front.venue = venue
            venue.publish(snapshot())
            number = 0
            self.ready.set()
            while not self.stop.is_set():
                number += 1
                venue.publish(trade(number, ts_event=number))
                venue.publish(quote(7 + number * 3, bids=((304_000_000_000 + number, 5),)))
                venue.publish_status({"instruments": {ETH.name: "in step"}})
                venue.newcomers()
                await asyncio.sleep(0.005)

    def bridge(self, **more: Any) -> SyncBridge:
        given = {"publish": self.msgpack, "requests": self.front_at, "control": "", "timeout_s": DEADLINE_S}
        return SyncBridge(**(given | more))


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    made.thread.start()
    assert made.ready.wait(DEADLINE_S)
    yield made
    made.stop.set()
    made.thread.join()


def test_streams_are_iterators(running: Running) -> None:
    with running.bridge() as bridge:
        ids = [one.trade_id for one in islice(bridge.trades("ETH/USDT"), 50)]
        assert ids == list(range(ids[0], ids[0] + 50))
        views = list(islice(bridge.books("ETH/USDT", levels=1), 5))
        assert [view.last_update_id for view in views] == sorted({view.last_update_id for view in views})
        assert {len(view.bids) for view in views} == {1}
        assert bridge.status.epoch == "e1"


def test_a_book_is_read_whole_from_another_thread(running: Running) -> None:
    with running.bridge() as bridge:
        book = bridge.book("ETH/USDT")
        assert book.in_step
        for _ in range(50):
            view = book.view()
            levels = (view.last_update_id - 9) // 3  # each update brings one level more
            assert len(view.bids) == 1 + max(levels, 0)
            assert view.best_ask == (Decimal("3050.13"), Decimal(10**9))
    assert not book.in_step
    with pytest.raises(RuntimeError, match="not open"):
        book.view()


def test_questions_are_answered_or_raise(running: Running) -> None:
    with running.bridge() as bridge:
        running.front.answers["pairs.list"] = lambda _: {"pairs": [{"symbol": "ETH/USDT"}]}
        assert [pair.symbol for pair in bridge.pairs_list()] == ["ETH/USDT"]
        assert bridge.request("pairs.list") == {"pairs": [{"symbol": "ETH/USDT"}]}
        first = next(iter([one.trade_id for one in islice(bridge.trades("ETH/USDT"), 10)]))
        history = bridge.trade_history("ETH/USDT", start=first, end=first + 3)
        assert [one.trade_id for one in history] == [first, first + 1, first + 2]
        with pytest.raises(RequestFailed, match="no such method"):
            bridge.request("nothing.here")
        frame = bridge.trades_frame("ETH/USDT", start=1, end=6)
        assert list(frame.trade_id) == [1, 2, 3, 4, 5]


def test_several_threads_may_ask_at_once(running: Running) -> None:
    running.front.answers["rpc.discover"] = lambda params: params["number"]
    found: list[int] = []
    with running.bridge() as bridge:

        def ask(number: int) -> None:
            found.append(bridge.request("rpc.discover", number=number))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == list(range(20))


def test_where_no_bridge_is_it_says_so_and_leaves_no_thread() -> None:
    [free] = free_addresses(1)
    before = threading.active_count()
    with pytest.raises(BridgeAway, match="no bridge is heard"):
        SyncBridge(publish=free, requests="", control="", timeout_s=0.2).__enter__()
    assert threading.active_count() == before


def test_a_book_that_does_not_come_says_why(running: Running) -> None:
    running.front.answers["orderbook.get"] = lambda _: "nonsense"
    with running.bridge(timeout_s=0.5) as bridge, pytest.raises(BookStale, match="ETH/USDT: "):
        bridge.book("ETH/USDT")


def test_the_bridge_is_told_how_far_we_are(running: Running) -> None:
    with running.bridge(control=running.control_at, report_s=0.05, name="a test") as bridge:
        topic = f"{ETH.name}.trades"
        for _ in bridge.trades("ETH/USDT"):
            reports = [params for method, params in running.control.asked if method == "subscribers.report"]
            if any(topic in report["topics"] for report in reports):
                break
    report = next(report for report in reports if topic in report["topics"])
    assert report["client"] == "a test"
    assert report["missed"] == 0
    assert report["topics"][topic]["epoch"] == "e1"
    assert report["topics"][topic]["sequence"] >= 1


PROGRAM = """
import sys
from binance_proxy.client import SyncBridge

with SyncBridge(publish=sys.argv[1], requests=sys.argv[2], control="") as bridge:
    print("open", flush=True)
    try:
        for candle in bridge.candles("ETH/USDT", "1m"):  # none ever comes
            print(candle)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("closed", flush=True)
"""


def test_ctrl_c_interrupts_what_waits(running: Running) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, running.msgpack, running.front_at], stdout=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        with suppress(subprocess.TimeoutExpired):
            program.wait(0.5)  # let it begin to wait
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=DEADLINE_S)
    finally:
        program.kill()
        program.wait()
    assert said == "interrupted\nclosed\n"
    assert program.returncode == 0
