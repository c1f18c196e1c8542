"""Binance's REST answers about some trades, for a `ScriptedTransport`: a venue without a network."""

from collections.abc import Mapping, Sequence

from binance_proxy.adapters.binance.transport import Answer
from binance_proxy.application.missing import matches_of
from binance_proxy.domain.candle import CandleFold, Timeframe
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import Side, TradeTick
from scripted import answer, ok

FIRST_AGGREGATE = 37
"""Aggregated trades have ids of their own."""


def aggregate(trades: Sequence[TradeTick]) -> list[list[TradeTick]]:
    """Group consecutive trades of one moment, price and aggressor, as Binance does."""
    groups: list[list[TradeTick]] = []
    for one in trades:
        last = groups[-1][-1] if groups else None
        if last and last.trade_id == one.trade_id - 1 and _alike(last, one):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _alike(one: TradeTick, other: TradeTick) -> bool:
    return (one.price, one.aggressor, one.ts_event) == (other.price, other.aggressor, other.ts_event)


class RestVenue:
    """Knows some single trades, all of one instrument, and answers what Binance would."""

    def __init__(
        self, trades: Sequence[TradeTick], *, gives_single_trades: bool = True, unit_ns: int = 10**6
    ) -> None:
        self.trades = sorted(trades, key=matches_of)
        self.gives_single_trades = gives_single_trades
        self.unit_ns = unit_ns

    def __call__(self, path: str, parameters: Mapping[str, str]) -> Answer:
        limit = int(parameters.get("limit", 500))
        if path == "/api/v3/trades":
            return ok([self._trade(one) for one in self.trades[-limit:]])
        if path == "/api/v3/historicalTrades":
            if not self.gives_single_trades:
                return answer(401, {"code": -2014, "msg": "API-key format invalid."})
            first = int(parameters["fromId"])
            return ok([self._trade(one) for one in self.trades if one.trade_id >= first][:limit])
        if path == "/api/v3/aggTrades":
            return ok(self._aggregates(parameters, limit))
        assert path == "/api/v3/klines"
        return ok(self._klines(parameters)[:limit])

    def _trade(self, one: TradeTick) -> dict[str, object]:
        return {
            "id": one.trade_id,
            "price": to_text(one.price, 8),
            "qty": to_text(one.size, 8),
            "quoteQty": "0",
            "time": one.ts_event // self.unit_ns,
            "isBuyerMaker": one.aggressor is Side.SELL,
            "isBestMatch": True,
        }

    def _aggregates(self, parameters: Mapping[str, str], limit: int) -> list[dict[str, object]]:
        rows = [
            {
                "a": FIRST_AGGREGATE + number,
                "p": to_text(group[0].price, 8),
                "q": to_text(sum(one.size for one in group), 8),
                "f": group[0].trade_id,
                "l": group[-1].trade_id,
                "T": group[0].ts_event // self.unit_ns,
                "m": group[0].aggressor is Side.SELL,
                "M": True,
            }
            for number, group in enumerate(aggregate(self.trades))
        ]
        if "fromId" in parameters:
            return [row for row in rows if row["a"] >= int(parameters["fromId"])][:limit]
        start, end = (
            int(parameters[name]) * 10**6 // self.unit_ns if name in parameters else None
            for name in ("startTime", "endTime")
        )
        found = [
            row for row in rows if (start is None or row["T"] >= start) and (end is None or row["T"] <= end)
        ]
        return found[-limit:] if start is None else found[:limit]

    def _klines(self, parameters: Mapping[str, str]) -> list[list[object]]:
        if not self.trades:
            return []
        name = parameters["interval"]
        timeframe = Timeframe("1mo" if name == "1M" else name)
        fold = CandleFold(self.trades[0].instrument, timeframe)
        candles = [candle for one in self.trades for candle in fold.feed(one)]
        candles += [newest] if (newest := fold.current()) else []
        rows: list[list[object]] = []
        for candle in candles:
            while rows and (behind := (rows[-1][6] + 1) * self.unit_ns) < candle.start:  # nothing was traded
                begin, end = timeframe.period(behind)
                rows.append(self._kline(begin, end, *[to_text(candle.open, 8)] * 4, "0", "0", 0))
            prices = [to_text(price, 8) for price in (candle.open, candle.high, candle.low, candle.close)]
            rows.append(
                self._kline(
                    candle.start, candle.end, *prices, to_text(candle.volume, 8),
                    to_text(candle.quote_volume, 16), candle.trades,
                )
            )  # fmt: skip
        return [row for row in rows if row[0] * self.unit_ns >= int(parameters["startTime"]) * 10**6]

    def _kline(
        self, start: int, end: int, first: str, high: str, low: str, last: str, volume: str, quote: str,
        trades: int,
    ) -> list[object]:  # fmt: skip
        opens, closes = start // self.unit_ns, end // self.unit_ns - 1
        return [opens, first, high, low, last, volume, closes, quote, trades, "0", "0", "0"]
