"""The sandbox tells tests everything that it knows, at no cost and whatever is broken."""

import random
from zlib import crc32

from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import Side
from sandboxed import MS, START, opened, quote, snapshot, trade


async def test_status():
    async with opened(snapshot(7), quote(8, 9), trade(1), quote(11), trade(2)) as client:
        await client.connect("/ws/btcusdt@trade/btcusdt@depth")
        assert await client.get("/sandbox/status") == {
            "held": False,
            "ended": False,
            "connections": 1,
            "symbols": {
                "BTCUSDT": {
                    "events": 4, "trades": 2, "last_trade_id": 2, "aggregates": 0, "last_aggregate_id": None,
                    "last_update_id": 11, "book_update_id": None, "subscribers": 2,
                }
            },
        }  # fmt: skip


async def test_trades_are_those_of_the_feed_in_pages():
    async with opened(trade(1, 5), trade(3, 6, aggressor=Side.SELL), trade(2, 6)) as client:
        assert await client.get("/sandbox/trades", symbol="BTCUSDT", limit=2) == [
            [1, START + 5 * MS, "60000", "0.5", "buy"], [2, START + 6 * MS, "60000", "0.5", "buy"],
        ]  # fmt: skip
        assert await client.get("/sandbox/trades", symbol="BTCUSDT", fromId=3) == [
            [3, START + 6 * MS, "60000", "0.5", "sell"]
        ]


async def test_checksums_are_those_of_the_whole_book_at_each_update():
    chance = random.Random(1)
    updates = [
        quote(
            number,
            bids=[(chance.randrange(58_900, 59_900) / 10, chance.choice([0, 0.25, 1.5]))],
            asks=[(chance.randrange(60_000, 61_000) / 10, chance.choice([0, 0.25, 1.5]))],
        )
        for number in range(8, 208)
    ]
    async with opened(snapshot(7, [(5_000.5, 1)], [(6_500, 2)]), *updates, checksums=True) as client:
        kept = await client.get("/sandbox/checksums", symbol="BTCUSDT")
        assert list(kept) == [str(number) for number in range(7, 208)]
        book = {("b", 500_050_000_000): 100_000_000, ("a", 650_000_000_000): 200_000_000}
        for update in updates:
            book |= {("b", price): size for price, size in update.bids}
            book |= {("a", price): size for price, size in update.asks}
            total = sum(
                crc32(f"{side}{to_text(price, 8)}:{to_text(size, 8)}".encode())
                for (side, price), size in book.items()
                if size
            )
            assert kept[str(update.last_update_id)] == total % 2**64
        page = await client.get("/sandbox/checksums", symbol="BTCUSDT", from_update_id=206)
        assert list(page) == ["206", "207"]


async def test_checksums_are_kept_only_if_wanted():
    async with opened(snapshot(7)) as client:
        assert (await client.ask("/sandbox/checksums", symbol="BTCUSDT"))[0] == 404


async def test_an_unknown_symbol_is_refused():
    async with opened() as client:
        for path in ("/sandbox/trades", "/sandbox/checksums"):
            assert await client.refusal(path, symbol="XXXUSDT") == (400, -1121)


async def test_control_has_no_weight_and_obeys_no_fault():
    async with opened(weight_limit=1) as client:
        for fault in ("ban", "offline", "place"):
            await client.fault(fault, seconds=600)
        for _ in range(10):
            status, headers, _ = await client.ask("/sandbox/status")
            assert status == 200
            assert "X-MBX-USED-WEIGHT" not in headers
