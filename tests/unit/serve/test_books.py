"""Books now and then, and what is told by them."""

import pytest

from asking import Asking, asking
from binance_proxy.application.ports import StoreUnavailable
from binance_proxy.application.rebuild import BookUnknown
from binance_proxy.application.serve.failures import WrongParams
from binance_proxy.domain.errors import BookStale, NotEnoughLiquidity
from binance_proxy.domain.tick import BookSnapshot, QuoteTick
from ticks_made import ETH, MIDNIGHT, MS, quote, snapshot, trade

OF = {"venue": "binance", "market": "spot", "symbol": "ETH/USDT"}
BOOK = snapshot(
    100, 1,
    bids=((10_000, 200_000), (9_990, 300_000), (9_000, 500_000)),
    asks=((10_010, 100_000), (10_020, 100_000), (11_000, 400_000)),
)  # fmt: skip


async def live(book: BookSnapshot = BOOK) -> Asking:
    asked = await asking([trade(1)])
    asked.live.books[ETH.name] = book
    return asked


async def stored() -> Asking:
    """Return answers about a book that was recorded from 1 ms on, with an update at 5 ms, and a hole at 8."""
    update = quote(101, 102, 5, bids=((10_000, 0),), asks=())
    later = quote(103, 103, 8, bids=((9_995, 700_000),), asks=())
    behind_hole = quote(110, 110, 12, bids=(), asks=())
    return await asking([BOOK, quote(99, 100, 0, bids=(), asks=()), update, later, behind_hole])


async def test_the_book_now_says_where_its_topic_is():
    found = await (await live()).ask("orderbook.get", symbol="ETH/USDT", levels=1)
    assert found == OF | {
        "ts_event": MIDNIGHT + MS, "ts_recv": MIDNIGHT + MS + 11, "last_update_id": 100,
        "bids": [["100", "2"]], "asks": [["100.1", "1"]], "epoch": "e1", "sequence": 7,
    }  # fmt: skip


async def test_a_past_book_is_as_every_update_up_to_then_left_it():
    asked = await stored()
    before, after = [
        await asked.ask("orderbook.get", symbol="ETH/USDT", at=MIDNIGHT + ms * MS) for ms in (4, 5)
    ]
    assert (before["last_update_id"], before["bids"][0]) == (100, ["100", "2"])
    assert (after["last_update_id"], after["bids"][0]) == (102, ["99.9", "3"])
    assert not {"epoch", "sequence"} & {*before, *after}


async def test_a_past_book_that_is_not_known_says_since_when_and_when_it_is_again():
    asked = await stored()
    await asked.store.append([snapshot(110, 20_000), quote(111, 112, 20_001, bids=(), asks=())])
    with pytest.raises(
        BookUnknown,
        match=r"^the book of 2024-08-09 00:00:00.010 UTC is not known: updates 104 to 109 .* are missing"
        r" since 2024-08-09 00:00:00.008; the book is known again from 2024-08-09 00:00:00.012 on",
    ):
        await asked.ask("orderbook.get", symbol="ETH/USDT", at=MIDNIGHT + 10 * MS)


async def test_a_past_book_that_is_not_stored_yet_may_be_asked_for_again():
    asked = await stored()
    asked.live.is_slow = True
    with pytest.raises(StoreUnavailable, match="as long as the newest that was recorded is not in the store"):
        await asked.ask("orderbook.get", symbol="ETH/USDT", at=MIDNIGHT + 10 * MS)
    with pytest.raises(BookUnknown, match=r"no snapshot of the book of .* reaches back so far"):
        await asked.ask("orderbook.get", symbol="ETH/USDT", at=MIDNIGHT - 10 * MS)
    asked.live.is_slow = False
    with pytest.raises(BookUnknown, match="no later snapshot is stored"):
        await asked.ask("orderbook.get", symbol="ETH/USDT", at=MIDNIGHT + 10 * MS)


async def test_depth_sums_up():
    found = await (await live()).ask("orderbook.depth", symbol="ETH/USDT", levels=2)
    assert found["bids"] == [["100", "2", "2"], ["99.9", "3", "5"]]
    assert found["asks"] == [["100.1", "1", "1"], ["100.2", "1", "2"]]


async def test_spread():
    found = await (await live()).ask("stats.spread", symbol="ETH/USDT")
    assert found == OF | {
        "ts_event": MIDNIGHT + MS, "last_update_id": 100, "bid": "100", "ask": "100.1", "bid_size": "2",
        "ask_size": "1", "mid": "100.05", "spread": "0.1", "spread_bps": pytest.approx(9.995, abs=1e-3),
    }  # fmt: skip


async def test_a_mid_between_two_units_is_exact():
    book = snapshot(1, bids=((10_000, 1),), asks=((10_001, 1),))
    assert (await (await live(book)).ask("stats.spread", symbol="ETH/USDT"))["mid"] == "100.005"


@pytest.mark.parametrize("at", [None, MIDNIGHT + 4 * MS])
async def test_slippage_of_an_order(at):
    asked = await live() if at is None else await stored()
    found = await asked.ask("stats.slippage", symbol="ETH/USDT", side="buy", size="1.5", at=at)
    assert found["fills"] == [["100.1", "1"], ["100.2", "0.5"]]
    assert (found["filled"], found["unfilled"], found["vwap"]) == ("1.5", "0", "100.13")
    assert found["slippage_touch_bps"] == pytest.approx((100.13333 / 100.1 - 1) * 10_000, abs=1e-2)
    assert found["slippage_mid_bps"] == pytest.approx((100.13333 / 100.05 - 1) * 10_000, abs=1e-2)


async def test_slippage_says_what_the_book_could_not_fill():
    found = await (await live()).ask("stats.slippage", symbol="ETH/USDT", side="sell", size="100")
    assert (found["filled"], found["unfilled"], len(found["fills"])) == ("10", "90", 3)


@pytest.mark.parametrize(
    "size", ["0", "-1", "1e3", "", "nan", "inf", "1.000001", "1" * 60, "0.000009", "٣", " 1", "1_0"]
)
async def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(WrongParams, match=r"^size: "):
        await (await live()).ask("stats.slippage", symbol="ETH/USDT", side="buy", size=size)


@pytest.mark.parametrize("at", [None, MIDNIGHT + 4 * MS])
async def test_liquidity_within_a_distance(at):
    asked = await live() if at is None else await stored()
    found = await asked.ask("stats.liquidity", symbol="ETH/USDT", bps=15.0, at=at)
    assert (found["bid_size"], found["ask_size"]) == ("5", "2")
    assert (found["bid_value"], found["ask_value"]) == ("499.7", "200.3")


async def test_of_a_deep_live_book_as_much_is_asked_for_as_it_takes():
    deep = snapshot(
        1, bids=tuple((10_000 - n, 1) for n in range(400)), asks=tuple((10_001 + n, 1) for n in range(400))
    )
    asked = await live(deep)
    few = await asked.ask("stats.slippage", symbol="ETH/USDT", side="buy", size="0.0005")
    assert (few["unfilled"], [how for what, how in asked.live.asked if what == "book"]) == ("0", [50])
    much = await asked.ask("stats.slippage", symbol="ETH/USDT", side="buy", size="0.003")
    assert (much["unfilled"], len(much["fills"])) == ("0", 300)
    near = await asked.ask("stats.liquidity", symbol="ETH/USDT", bps=10)
    assert (near["bid_size"], near["ask_size"]) == ("0.0001", "0.0001")
    far = await asked.ask("stats.liquidity", symbol="ETH/USDT", bps=5_000)
    assert (far["bid_size"], far["ask_size"]) == ("0.004", "0.004")


async def test_a_book_out_of_step_is_an_error_and_so_is_an_empty_one():
    asked = await asking([trade(1)])
    for method, params in {"orderbook.get": {}, "stats.spread": {}, "stats.liquidity": {"bps": 1}}.items():
        with pytest.raises(BookStale):
            await asked.ask(method, symbol="ETH/USDT", **params)
    asked.live.books[ETH.name] = snapshot(1, bids=())
    for method, params in {"stats.spread": {}, "stats.slippage": {"side": "buy", "size": "1"}}.items():
        with pytest.raises(NotEnoughLiquidity):
            await asked.ask(method, symbol="ETH/USDT", **params)


async def test_a_past_book_is_worked_out_once_for_all_questions_about_it():
    asked = await stored()
    scans = []
    scan = asked.store.scan

    def counted(kind, *where, **how):
        scans.append(kind)
        return scan(kind, *where, **how)

    asked.store.scan = counted
    for method, params in {"orderbook.get": {}, "orderbook.depth": {}, "stats.liquidity": {"bps": 1}}.items():
        await asked.ask(method, symbol="ETH/USDT", at=MIDNIGHT + 4 * MS, **params)
        first = len(scans)
        assert QuoteTick in scans
    assert len(scans) == first
