"""Questions to a bridge, and whether an answer is right: it is held against what the bridge has stored."""

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import Any

from binance_proxy.domain.execution import sweep
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text, to_units
from binance_proxy.domain.tick import Side, TradeTick
from storm.truth import Truth, checksum, levels_of

SECOND_NS = 1_000_000_000
SETTLED_NS = 2 * SECOND_NS
"""What happened so long before a question was on its way then: nothing new comes into such a range."""
SYMBOLS = ("ETH/USDT", "SOL/USDT")
STORED = ("trades.list", "candles.list", "stats.vwap", "past book")
"""Questions that need the store."""


@dataclass(frozen=True)
class Question:
    """What is asked."""

    method: str
    params: dict[str, Any]
    is_wrong: bool = False
    """It has to be refused as a mistake of whoever asks."""

    @property
    def kind(self) -> str:
        return "past book" if "at" in self.params else self.method


@dataclass(frozen=True)
class Asked:
    """A question, and what became of it."""

    question: Question
    began_ns: int
    took_s: float
    """Without the time in which whoever asked was stopped by a busy machine."""
    stalled_s: float
    """That time."""
    timeout_s: float
    seen: dict[str, int]
    """The newest trade id of each pair that was heard before it was asked."""
    result: Any = None
    error: dict[str, Any] | None = None
    """As the protocol has it; code 0 if nothing came, 1 if the connection broke."""


def question(chance: random.Random, first_ns: int, now_ns: int) -> Question:
    """Make a question about what was recorded since a time."""
    symbol = chance.choice(SYMBOLS)
    about: dict[str, Any] = {"symbol": symbol}
    last = max(now_ns - SETTLED_NS, first_ns + SECOND_NS)
    start = chance.randrange(first_ns, last)
    end = min(start + chance.randrange(SECOND_NS // 10, 4 * SECOND_NS), last + 1)
    limit = chance.choice((1, 10, 100, 1_000))
    make: list[Callable[[], Question]] = [
        lambda: Question("trades.list", about | {"start": start, "end": end, "limit": limit}),
        lambda: Question("trades.list", about | {"start": start, "limit": limit, "fresh": True}),
        lambda: Question("trades.list", about | {"limit": limit, "fresh": chance.random() < 0.5}),
        lambda: Question(
            "candles.list", about | {"timeframe": "1s", "start": start, "end": end, "limit": limit}
        ),
        lambda: Question("candles.list", about | {"timeframe": "1s", "limit": limit}),
        lambda: Question("orderbook.get", about),
        lambda: Question("orderbook.get", about | {"at": start}),
        lambda: Question("orderbook.depth", about | {"levels": chance.randint(1, 30)}),
        lambda: Question("stats.spread", about),
        lambda: Question("stats.spread", about | {"at": start}),
        lambda: Question("stats.vwap", about | {"start": start, "end": end}),
        lambda: Question(
            "stats.slippage",
            about | {"side": chance.choice(("buy", "sell")), "size": str(chance.randint(1, 50))},
        ),
        lambda: Question("stats.liquidity", about | {"bps": chance.choice((1, 5, 50))}),
        lambda: Question("pairs.list", {}),
        lambda: Question("instruments.list", {}),
        lambda: Question("bridge.status", {}),
        lambda: Question("trades.list", about | {"limit": "many"}, is_wrong=True),
        lambda: Question("trades.lists", about, is_wrong=True),
    ]  # fmt: skip
    return chance.choice(make)()


@dataclass
class Judge:
    """Holds answers against what is stored."""

    truth: dict[str, Truth]
    checked: Counter[str] = field(default_factory=Counter)
    """Answers that were compared, by kind."""
    behind: int = 0
    """Answers that said themselves that the newest ticks may not be in them."""
    wrong: list[str] = field(default_factory=list)

    def judge(self, every: list[Asked]) -> None:
        """Compare all answers."""
        self._rows = {symbol: self._trade_rows(known) for symbol, known in self.truth.items()}
        self._times = {symbol: [one.ts_event for one in known.trades] for symbol, known in self.truth.items()}
        self._numbers = {
            symbol: {one.trade_id: place for place, one in enumerate(known.trades)}
            for symbol, known in self.truth.items()
        }
        for one in every:
            if one.result is not None:
                if one.question.is_wrong:
                    self._say(one, "was answered")
                self._look(one)
        for symbol, known in self.truth.items():
            ids, moments = known.walk()
            self.wrong += [f"{symbol}: no book of {what} in the store" for what in (*ids, *moments)]

    def _look(self, one: Asked) -> None:
        kind, params = one.question.kind, one.question.params
        self.checked[kind] += 1
        known = self.truth.get(params.get("symbol", ""))
        if known is None:
            return
        if one.result.get("stored") is False:
            self.behind += 1
        if kind == "trades.list":
            self._trades(one, known)
        elif kind == "candles.list":
            self._candles(one, known)
        elif kind == "stats.vwap":
            self._vwap(one, known)
        else:
            look = lambda book, total: self._book(one, book, total)  # noqa: E731
            (
                known.at_time[params["at"]] if "at" in params else known.at_id[one.result["last_update_id"]]
            ).append(look)

    def _say(self, one: Asked, what: str) -> None:
        self.wrong.append(f"{one.question.method} {one.question.params} at {one.began_ns}: {what}")

    @staticmethod
    def _trade_rows(known: Truth) -> list[tuple[Any, ...]]:
        rows = known.rows
        return [(one.trade_id, *rows[one.trade_id]) for one in known.trades]

    def _trades(self, one: Asked, known: Truth) -> None:
        params, symbol = one.question.params, known.instrument.symbol
        rows = [
            (row["trade_id"], row["ts_event"], row["price"], row["size"], row["aggressor"])
            for row in one.result["rows"]
        ]
        true, times = self._rows[symbol], self._times[symbol]
        if one.result["holes"]:
            self._say(one, f"holes {one.result['holes']}")
        if "start" not in params:
            if not rows or rows[-1][0] not in self._numbers[symbol]:
                self._say(one, f"{len(rows)} rows")
                return
            behind = self._numbers[symbol][rows[-1][0]] + 1
            if rows != true[max(behind - params["limit"], 0) : behind]:
                self._say(one, "other rows")
            self._reaches(one, symbol, rows[-1][0])
            return
        first = bisect_left(times, params["start"])
        behind = bisect_left(times, params["end"]) if "end" in params else len(times)
        due = true[first:behind][: params["limit"]]
        is_whole = "end" in params and one.result["stored"]
        if rows != (due if is_whole else due[: len(rows)]):
            self._say(one, f"other rows: {len(rows)}, not {len(due)}")
        if is_whole and (one.result["next"] is None) != (behind - first <= params["limit"]):
            self._say(one, f"next is {one.result['next']}")
        if not is_whole and len(rows) < params["limit"]:
            self._reaches(one, symbol, rows[-1][0] if rows else 0)

    def _reaches(self, one: Asked, symbol: str, last_id: int) -> None:
        """Check that everything is in an answer that was published before it was asked for."""
        if one.result["stored"] and one.question.params.get("fresh") and last_id < one.seen[symbol]:
            self._say(one, f"ends with {last_id}, though {one.seen[symbol]} was published before")

    def _candles(self, one: Asked, known: Truth) -> None:
        params = one.question.params
        # One that is not known to be complete may lack what is in no store yet, and the answer says so.
        is_due = one.result["stored"]
        rows = [row for row in one.result["rows"] if row["complete"] or (row["closed"] and is_due)]
        due = {row["start"]: row for row in self._folded(known)}
        fields = ("open", "high", "low", "close", "volume", "trades", "quote_volume", "vwap")
        for row in rows:
            true = due.get(row["start"])
            if true is None or any(row[name] != true[name] for name in fields):
                self._say(one, f"candle {row}, not {true}")
        if "end" in params and one.result["stored"]:
            there = [at for at in due if params["start"] <= at < params["end"]][: params["limit"]]
            if [row["start"] for row in one.result["rows"]] != there:
                self._say(one, f"candles of {[row['start'] for row in one.result['rows']]}, not {there}")

    def _folded(self, known: Truth) -> list[dict[str, Any]]:
        symbol = known.instrument.symbol
        if symbol not in self._candles_of:
            by_second = groupby(known.trades, lambda trade: trade.ts_event // SECOND_NS)
            self._candles_of[symbol] = [_candle(known, at * SECOND_NS, list(some)) for at, some in by_second]
        return self._candles_of[symbol]

    _candles_of: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def _vwap(self, one: Asked, known: Truth) -> None:
        times = self._times[known.instrument.symbol]
        first, behind = bisect_left(times, one.result["start"]), bisect_left(times, one.result["end"])
        some = known.trades[first:behind]
        if not one.result["stored"]:
            return
        true = (
            _candle(known, 0, some)
            if some
            else {"vwap": None, "volume": "0", "quote_volume": "0", "trades": 0}
        )
        for name in ("vwap", "volume", "quote_volume", "trades"):
            if one.result[name] != true[name] and Decimal(one.result[name] or 0) != Decimal(true[name] or 0):
                self._say(one, f"{name} {one.result[name]}, not {true[name]}")

    def _book(self, one: Asked, book: OrderBook, total: int) -> None:
        found, params, instrument = one.result, one.question.params, book.instrument
        price, size = instrument.price_precision, instrument.size_precision
        if found["last_update_id"] != book.last_update_id:
            self._say(one, f"the book of {found['last_update_id']}, not of {book.last_update_id}")
            return
        bids, asks = (
            [(Decimal(to_text(p, price)), Decimal(to_text(s, size))) for p, s in side]
            for side in book.depth(100)
        )
        method = one.question.method
        is_right = True
        if method == "orderbook.get":
            is_right = checksum(levels_of(found["bids"]), levels_of(found["asks"])) == total
        elif method == "orderbook.depth":
            for mine, theirs in ((bids, found["bids"]), (asks, found["asks"])):
                sizes = [size for _, size in mine]
                due = [(p, s, sum(sizes[: n + 1])) for n, (p, s) in enumerate(mine[: params["levels"]])]
                is_right &= [tuple(map(Decimal, level)) for level in theirs] == due
        elif method == "stats.spread":
            best = tuple(Decimal(found[name]) for name in ("bid", "bid_size", "ask", "ask_size"))
            is_right = best == (*bids[0], *asks[0])
        elif method == "stats.slippage":
            order = sweep(book, Side(params["side"]), to_units(params["size"], size))
            is_right = Decimal(found["filled"]) == Decimal(to_text(order.filled, size))
            is_right &= levels_of(found["fills"]) == levels_of(
                (to_text(fill.price, price), to_text(fill.size, size)) for fill in order.fills
            )
        elif method == "stats.liquidity":
            due = [Decimal(to_text(one, size)) for one in book.liquidity(params["bps"])]
            is_right = [Decimal(found["bid_size"]), Decimal(found["ask_size"])] == due
        if not is_right:
            self._say(one, f"another answer than the book of {book.last_update_id} gives: {str(found)[:300]}")


def _candle(known: Truth, start: int, trades: list[TradeTick]) -> dict[str, Any]:
    one, prices = known.instrument, [trade.price for trade in trades]
    volume = sum(trade.size for trade in trades)
    quote = sum(trade.price * trade.size for trade in trades)
    price, size = one.price_precision, one.size_precision
    return {
        "start": start,
        "open": to_text(prices[0], price), "high": to_text(max(prices), price),
        "low": to_text(min(prices), price), "close": to_text(prices[-1], price),
        "volume": to_text(volume, size), "quote_volume": to_text(quote, price + size),
        "vwap": to_text((2 * quote + volume) // (2 * volume), price), "trades": len(trades),
    }  # fmt: skip
