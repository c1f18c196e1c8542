"""A bridge without a socket, slow and plain, that a client's followers are tested against."""

from collections import deque
from decimal import Decimal
from typing import Any

import msgspec

NAME = "binance.spot.ethusdt"
BOOK, TRADES = f"{NAME}.orderbook", f"{NAME}.trades"
RING = 6
"""Messages of a topic that it remembers."""
RECALLED = 3
"""Messages that it recalls at once."""
PAGE = 3
"""Trades that it lists at once."""

pack = msgspec.msgpack.encode


class Model:
    """Publishes, forgets, restarts, and answers. What it published is on its way until it is delivered."""

    def __init__(self) -> None:
        self.run = 0
        self.link_is_up = True
        self.on_its_way: deque[tuple[str, bytes]] = deque()
        self.bids: dict[int, int] = {40: 1}
        self.asks: dict[int, int] = {60: 1}
        self.has_book = True
        self.update_id = 100
        self.truth: dict[int, tuple[tuple, tuple]] = {}
        self.stored: dict[int, dict[str, Any]] = {}
        """Trades by id."""
        self.next_id = 1_000
        self.skipped: list[int] = []
        """Ids that have not come to the bridge yet."""
        self.now = 1_000_000
        self._begin_run()

    def _begin_run(self) -> None:
        self.run += 1
        self.epoch = f"run {self.run}"
        self.published: dict[str, list[dict[str, Any]]] = {BOOK: [], TRADES: []}

    def restart(self) -> None:
        self.cut()
        self._begin_run()

    def forgetful_restart(self) -> None:
        """Restart without the newest trade, which was published; it comes late, once more."""
        if self.stored:
            newest = max(self.stored)
            del self.stored[newest]
            self.skipped.append(newest)
        self.restart()

    def cut(self) -> None:
        self.link_is_up = False
        self.on_its_way.clear()

    def publish(self, topic: str, **fields: Any) -> None:
        self.now += 1
        body = {
            "venue": "binance", "market": "spot", "symbol": "ETH/USDT", "epoch": self.epoch,
            "sequence": len(self.published[topic]) + 1, "ts_event": self.now, "ts_recv": self.now, **fields,
        }  # fmt: skip
        self.published[topic].append(body)
        if self.link_is_up:
            self.on_its_way.append((topic, pack(body)))

    def trade(self) -> None:
        self._trade(self.next_id)
        self.next_id += 1

    def skip(self) -> None:
        """Miss a trade, which comes late."""
        self.skipped.append(self.next_id)
        self.next_id += 1

    def late_trade(self) -> None:
        if self.skipped:
            self._trade(self.skipped.pop())

    def _trade(self, trade_id: int) -> None:
        # Times rise with the ids, as those of a venue do, so a late trade has an old one.
        row = {"trade_id": trade_id, "price": "50", "size": "1.5", "aggressor": "buy"}
        ts = 1_000_000 + trade_id * 1_000
        self.stored[trade_id] = {
            "venue": "binance", "market": "spot", "symbol": "ETH/USDT", "ts_event": ts, "ts_recv": ts, **row,
        }  # fmt: skip
        self.publish(TRADES, type="trade", **(row | {"ts_event": ts}))

    def quote(self, bid: tuple[int, int], ask: tuple[int, int]) -> None:
        if not self.has_book:
            return
        for side, (price, size) in ((self.bids, bid), (self.asks, ask)):
            if size:
                side[price] = size
            else:
                side.pop(price, None)
        first, self.update_id = self.update_id + 1, self.update_id + 2
        self._remember()
        self.publish(
            BOOK, type="quote", first_update_id=first, last_update_id=self.update_id,
            bids=[[str(bid[0]), str(bid[1])]], asks=[[str(ask[0]), str(ask[1])]],
        )  # fmt: skip

    def stale(self) -> None:
        self.has_book = False
        self.publish(BOOK, type="stale", reason="a test")

    def snapshot(self) -> None:
        """Publish the whole book; a new one, further on, if there was none."""
        if not self.has_book:
            self.update_id += 50
            self.has_book = True
        self._remember()
        self.publish(BOOK, type="snapshot", last_update_id=self.update_id, **self._levels())

    def tell_newcomer(self) -> None:
        """Do what a bridge does for a new subscription to the book."""
        if self.has_book:
            self.snapshot()
        else:
            self.stale()

    def _levels(self) -> dict[str, list[list[str]]]:
        return {
            "bids": [[str(price), str(size)] for price, size in sorted(self.bids.items(), reverse=True)],
            "asks": [[str(price), str(size)] for price, size in sorted(self.asks.items())],
        }

    def _remember(self) -> None:
        self.truth[self.update_id] = self.sides()

    def sides(self) -> tuple[tuple, tuple]:
        return tuple(
            tuple(
                (Decimal(price), Decimal(size))
                for price, size in sorted(side.items(), reverse=side is self.bids)
            )
            for side in (self.bids, self.asks)
        )

    def answer(self, method: str, params: dict[str, Any]) -> bytes | None:
        """Return an answer, or `None` for a refusal that may be over soon."""
        if method == "orderbook.get":
            if not self.has_book:
                return None
            self._remember()
            sequence = len(self.published[BOOK])
            return pack(
                {"epoch": self.epoch, "sequence": sequence, "last_update_id": self.update_id, "ts_event": 1}
                | self._levels()
            )
        if method == "topics.since":
            published = self.published[params["topic"]]
            newest, sequence = len(published), params["sequence"]
            said = {"epoch": self.epoch, "sequence": newest, "messages": None, "more": False}
            if params["epoch"] == self.epoch and newest - RING <= sequence <= newest:
                said["messages"] = published[sequence : sequence + RECALLED]
                said["more"] = newest > sequence + RECALLED
            return pack(said)
        rows = [
            row
            for _, row in sorted(self.stored.items())
            if params["start"] <= row["ts_event"] < params.get("end", 2**62)
        ]
        first = int(params.get("cursor", 0))
        more = len(rows) > first + PAGE
        return pack({"rows": rows[first : first + PAGE], "next": str(first + PAGE) if more else None})
