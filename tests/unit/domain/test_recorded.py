"""The domain, with no adapter around it, on what Binance really sent: the known figures of the captures.

The few lines that read frames here are plain on purpose; the feeds have readers of their own.
"""

import csv
import gzip
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import groupby, pairwise

import pytest

from binance_proxy.domain.candle import CandleFold, Timeframe
from binance_proxy.domain.errors import BookStale, TickRejected
from binance_proxy.domain.execution import sweep, vwap
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_decimal, to_text, to_units
from binance_proxy.domain.sequence import Arrival, IdSequence, covered_ids
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick, check_quote, check_trade
from recorded import captures, frames, recorded

pytestmark = pytest.mark.shared_data

MS = 1_000_000
SPOT_2024 = ("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")
USDM_2024 = ("usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz")


@dataclass
class Session:
    """What one capture holds, in the order of arrival."""

    instrument: Instrument
    book_events: list[QuoteTick | BookSnapshot] = field(default_factory=list)
    trades: list[TradeTick] = field(default_factory=list)
    tickers: list[dict] = field(default_factory=list)
    klines: list[dict] = field(default_factory=list)

    @property
    def quotes(self) -> list[QuoteTick]:
        return [event for event in self.book_events if isinstance(event, QuoteTick)]


def units(text: str) -> int:
    return to_units(text, 8)


def levels(rows):
    return tuple((units(price), units(size)) for price, size in rows)


def side(buyer_was_maker: bool) -> Side:
    return Side.SELL if buyer_was_maker else Side.BUY


@cache
def session(*names: str) -> Session:
    market, symbol = names[0].split("_")[:2]
    quote = next(asset for asset in ("USDT", "BTC", "ETH", "EUR") if symbol.endswith(asset.lower()))
    instrument = Instrument(
        venue="binance", market=Market(market), symbol=f"{symbol.upper().removesuffix(quote)}/{quote}"
    )
    read = Session(instrument)
    for ts_recv, frame in frames(*captures(*names)):
        data = frame.get("data", frame)
        when = {"instrument": instrument, "ts_recv": ts_recv, "ts_event": data.get("E", ts_recv // MS) * MS}
        stream = frame.get("stream", "")
        if "bids" in data:
            read.book_events.append(
                BookSnapshot(
                    **when,
                    last_update_id=data["lastUpdateId"],
                    bids=levels(data["bids"]),
                    asks=levels(data["asks"]),
                )
            )
        elif "@depth" in stream:
            update = QuoteTick(
                **when,
                first_update_id=data["U"],
                last_update_id=data["u"],
                previous_update_id=data.get("pu"),
                bids=levels(data["b"]),
                asks=levels(data["a"]),
            )
            read.book_events.append(check_quote(update))
        elif stream.endswith(("@trade", "@aggTrade")):
            trade = TradeTick(
                instrument=instrument,
                ts_event=data["T"] * MS,
                ts_recv=ts_recv,
                trade_id=data["t"] if "t" in data else data["a"],
                price=units(data["p"]),
                size=units(data["q"]),
                aggressor=side(data["m"]),
                first_match_id=data.get("f"),
                last_match_id=data.get("l"),
                off_book=data.get("X", "MARKET") != "MARKET",
            )
            read.trades.append(check_trade(trade))
        elif stream.endswith("@bookTicker"):
            read.tickers.append(data)
        elif "@kline" in stream:
            read.klines.append(data["k"])
    return read


def replayed(book_events):
    """Follow the documented procedure; yield the book after every update that it took."""
    book, waiting = None, []
    for event in book_events:
        if isinstance(event, BookSnapshot):
            book = OrderBook(event)
            todo, waiting = waiting, []
        else:
            todo = [event]
        for update in todo:
            if book is None:
                waiting.append(update)
            elif book.apply(update):
                yield book


def followed(book_events):
    """How many updates the book took, and the book behind the last one."""
    count = 0
    for count, book in enumerate(replayed(book_events), start=1):  # noqa: B007
        pass
    return count, book


def candles(instrument, trades, timeframe):
    """The last word on each candle, by start in ms."""
    fold = CandleFold(instrument, Timeframe(timeframe))
    told = [candle for trade in trades for candle in fold.feed(trade)]
    told += fold.advance(10**19)
    assert fold.too_late == 0
    return {candle.start // MS: candle for candle in told}


def text(value: int) -> str:
    return to_text(value, 8)


class TestManifest:
    """The figures of the manifest beside the data."""

    @pytest.mark.parametrize(
        ("names", "events", "applied", "last_update_id", "bid", "ask"),
        [
            (SPOT_2024, 6495, 6493, 50093696318, ("61602.01", "1.67177"), ("61602.02", "2.66795")),
            (USDM_2024, 9022, 9017, 4984057064916, ("63867.4", "0.002"), ("63867.5", "5.045")),
            (
                ("spot_btcusdt_20210404.gz",),
                899,
                889,
                9893046554,
                ("58005.11", "1.486376"),
                ("58005.12", "0.110252"),
            ),
            (
                ("spot_ethusdt_20210404.gz",),
                909,
                896,
                6591613076,
                ("2066.02", "13.35198"),
                ("2066.03", "0.00194"),
            ),
            (("spot_dotusdt_20210404.gz",), 880, 871, 1513946719, ("43.4951", "0.23"), ("43.4986", "0.04")),
        ],
    )
    def test_the_book_follows_without_one_break(self, names, events, applied, last_update_id, bid, ask):
        read = session(*names)
        assert len(read.quotes) == events
        count, book = followed(read.book_events)
        assert count == applied
        assert not book.is_stale
        assert book.last_update_id == last_update_id
        assert tuple(map(text, book.best_bid())) == bid
        assert tuple(map(text, book.best_ask())) == ask

    @pytest.mark.parametrize(
        ("names", "count", "first_id", "last_id", "volume", "quote_volume"),
        [
            (SPOT_2024, 19904, 3735683259, 3735703162, "437.91552", "27006929.5910348"),
            (USDM_2024, 10701, 5182005737, 5182016437, "1122.459", "71736926.2284"),
            (("spot_btcusdt_20210404.gz",), 1227, 665076760, 665077986, "26.388118", "1530495.10963384"),
            (("spot_ethusdt_20210404.gz",), 506, 291477091, 291477596, "307.8614", "635842.3982353"),
            (("spot_dotusdt_20210404.gz",), 177, 54605678, 54605854, "2168.8", "94373.214067"),
        ],
    )
    def test_trades_are_all_there_and_their_sums_are_exact(
        self, names, count, first_id, last_id, volume, quote_volume
    ):
        trades = session(*names).trades
        ids = IdSequence()
        assert {ids.feed(trade.trade_id, trade.trade_id) for trade in trades} == {Arrival.NEXT}
        assert len(trades) == count
        assert (trades[0].trade_id, ids.last_id, ids.missing) == (first_id, last_id, [])
        assert text(sum(trade.size for trade in trades)) == volume
        assert to_text(sum(trade.price * trade.size for trade in trades), 16) == quote_volume

    @pytest.mark.parametrize(
        ("name", "events"),
        [
            ("spot_nknusdt_20211012.gz", 150),
            ("spot_blzeth_20211012.gz", 10),
            ("spot_lrcbtc_20211012.gz", 15),
            ("spot_runeeur_20211012.gz", 2),
        ],
    )
    def test_thin_books_follow_too(self, name, events):
        read = session(name)
        assert len(read.quotes) == events
        snapshots = [event for event in read.book_events if isinstance(event, BookSnapshot)]
        assert len(snapshots) == 1
        behind = [update for update in read.quotes if update.last_update_id > snapshots[0].last_update_id]
        count, book = followed(read.book_events)
        assert count == len(behind) > 0
        assert book.last_update_id == read.quotes[-1].last_update_id
        ids = IdSequence()
        assert Arrival.SKIPPED not in {ids.feed(trade.trade_id, trade.trade_id) for trade in read.trades}

    @pytest.mark.parametrize("names", [SPOT_2024, USDM_2024, ("spot_btcusdt_20210404.gz",)])
    def test_update_ids_are_continuous_in_either_market(self, names):
        ids = IdSequence()
        assert {ids.feed(*covered_ids(update)) for update in session(*names).quotes} == {Arrival.NEXT}


class TestOneLostUpdateIsFound:
    @pytest.mark.parametrize("names", [SPOT_2024, USDM_2024, ("spot_nknusdt_20211012.gz",)])
    @pytest.mark.parametrize("back", [2, 50, 100])
    def test_by_the_book_and_by_the_ids(self, names, back):
        events = session(*names).book_events
        lost = events[-back]
        less = events[:-back] + events[-back + 1 :]
        with pytest.raises(BookStale, match=f"update {events[-back + 1].first_update_id} does not follow"):
            followed(less)
        ids = IdSequence()
        for event in less:
            if isinstance(event, QuoteTick):
                ids.feed(*covered_ids(event))
        assert ids.missing == [covered_ids(lost)]
        assert ids.feed(*covered_ids(lost)) is Arrival.LATE
        assert ids.missing == []


class TestTheBookEqualsTheBookTicker:
    """A second stream of the venue's own: best bid and ask at each update id."""

    @staticmethod
    def compared(read):
        """For each update taken: does the book agree with the last ticker up to the same id?"""
        tickers = sorted(read.tickers, key=lambda ticker: ticker["u"])
        known = [ticker["u"] for ticker in tickers]
        agreed = []
        for book in replayed(read.book_events):
            place = bisect_right(known, book.last_update_id)
            if place == 0:
                continue
            ticker = tickers[place - 1]
            agreed.append(
                book.best_bid() == (units(ticker["b"]), units(ticker["B"]))
                and book.best_ask() == (units(ticker["a"]), units(ticker["A"]))
            )
        return agreed

    def test_at_6491_of_6493_points_in_the_spot_capture(self):
        read = session(*SPOT_2024)
        assert len(read.tickers) == 73174
        agreed = self.compared(read)
        assert (sum(agreed), len(agreed)) == (6491, 6493)  # the venue conflated the other two

    def test_whenever_the_two_streams_stop_at_the_same_id_in_the_usdm_capture(self):
        read = session(*USDM_2024)
        assert len(read.tickers) == 52260
        tickers = {ticker["u"]: ticker for ticker in read.tickers}
        met = 0
        for book in replayed(read.book_events):
            if ticker := tickers.get(book.last_update_id):
                met += 1
                assert book.best_bid() == (units(ticker["b"]), units(ticker["B"]))
                assert book.best_ask() == (units(ticker["a"]), units(ticker["A"]))
        assert met > 0


class TestCandlesEqualTheVenues:
    def test_spot_5m_in_the_two_windows_that_lie_whole_in_the_capture(self):
        read = session(*SPOT_2024)
        made = candles(read.instrument, read.trades, "5m")
        (path,) = recorded("klines/spot_btcusdt_5m_20240808.csv")
        with path.open(encoding="utf-8") as lines:
            rows = {row["date"][11:16]: row for row in csv.DictReader(lines)}
        for window in ("23:55", "00:00"):
            row = rows[window]
            candle = made[int(row["open_time_ms"])]
            for name in ("open", "high", "low", "close", "volume"):
                assert getattr(candle, name) == units(row[name]), (window, name)

    def test_usdm_1m_in_the_seven_windows_that_lie_whole_in_the_capture(self):
        read = session(*USDM_2024)
        made = candles(read.instrument, read.trades, "1m")
        (path,) = recorded("klines/usdm_btcusdt_1m_20240718.csv")
        with path.open(encoding="utf-8") as lines:
            rows = {int(row["open_time"]): row for row in csv.DictReader(lines)}
        midnight = 1721347200000
        for minute in range(-2, 5):
            start = midnight + minute * 60_000
            candle, row = made[start], rows[start]
            for name in ("open", "high", "low", "close", "volume"):
                assert getattr(candle, name) == units(row[name]), (minute, name)
            assert to_decimal(candle.quote_volume, 16) == Decimal(row["quote_volume"])
            assert candle.trades == int(row["count"])
            assert candle.end // MS - 1 == int(row["close_time"])
            bought = [
                trade
                for trade in read.trades
                if trade.aggressor is Side.BUY and candle.start <= trade.ts_event < candle.end
            ]
            assert sum(trade.size for trade in bought) == units(row["taker_buy_volume"])

    @pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt", "dotusdt"])
    def test_kline_messages_equal_the_aggregated_prints_beside_them(self, symbol):
        read = session(f"spot_{symbol}_20210404.gz")
        first = read.trades[0].first_match_id
        compared = 0
        for kline in read.klines:
            if kline["f"] < first:
                continue  # it began before the capture did
            inside = [
                trade
                for trade in read.trades
                if kline["t"] <= trade.ts_event // MS <= kline["T"] and trade.last_match_id <= kline["L"]
            ]
            if inside[-1].last_match_id != kline["L"]:
                continue  # it ends in the middle of an aggregated print
            compared += 1
            candle = candles(read.instrument, inside, kline["i"])[kline["t"]]
            assert candle.open == units(kline["o"])
            assert candle.high == units(kline["h"])
            assert candle.low == units(kline["l"])
            assert candle.close == units(kline["c"])
            assert candle.volume == units(kline["v"])
            assert to_decimal(candle.quote_volume, 16) == Decimal(kline["q"])
            assert candle.trades == kline["n"]
        assert compared > 0

    def test_a_candle_does_not_depend_on_the_order_of_arrival_within_reach(self):
        read = session(*USDM_2024)
        swapped = list(read.trades)
        for place in range(0, len(swapped) - 1, 2):
            swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
        assert candles(read.instrument, swapped, "1m") == candles(read.instrument, read.trades, "1m")

    def test_5m_made_of_1m_over_five_days(self):
        """Each minute stands as four prints: open, high, low and close; the first has all of the size."""
        instrument = Instrument(venue="binance", market=Market.SPOT, symbol="BTC/USDT")
        minutes, fives = recorded(
            "klines/spot_btcusdt_1m_20240402_07.csv.gz", "klines/spot_btcusdt_5m_20240402_07.csv.gz"
        )
        prints = []
        for start, row in kline_rows(minutes):
            for place, name in enumerate(("open", "high", "low", "close")):
                prints.append(
                    TradeTick(
                        instrument=instrument,
                        ts_event=start + place * 1000 * MS,
                        ts_recv=start,
                        trade_id=len(prints),
                        price=units(row[name]),
                        size=0 if place else units(row["volume"]),
                        aggressor=Side.BUY,
                    )
                )
        made = candles(instrument, prints, "5m")
        expected = list(kline_rows(fives))
        assert len(expected) == 1441
        for start, row in expected:
            candle = made[start // MS]
            for name in ("open", "high", "low", "close", "volume"):
                assert getattr(candle, name) == units(row[name]), (row["date"], name)


def kline_rows(path):
    """Yield start (ns) and row, for times such as ``2024-04-02 00:05:00.000000000Z``."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            start = int(datetime.fromisoformat(row["date"][:19] + "+00:00").timestamp()) * 1000 * MS
            yield start, row


class TestExecutionOnARealBook:
    def test_an_order_pays_between_the_touch_and_the_last_level_it_met(self):
        *_, book = replayed(session(*SPOT_2024).book_events)
        for side_taken, best in ((Side.BUY, book.best_ask()), (Side.SELL, book.best_bid())):
            done = sweep(book, side_taken, 50 * 10**8)
            assert done.unfilled == 0
            assert done.touch == best[0]
            assert len(done.fills) > 1
            assert min(done.touch, done.fills[-1].price) <= done.vwap <= max(done.touch, done.fills[-1].price)
            assert done.slippage_mid_bps > done.slippage_touch_bps > 0

    def test_the_average_of_all_trades_is_quote_volume_over_volume(self):
        trades = session(*SPOT_2024).trades
        assert vwap(trades) == pytest.approx(27006929.5910348 / 437.91552 * 10**8, rel=1e-14)


class TestDefectsInDepthRows:
    """Rows of TRXUSDT depth: as recorded, and with faults put into them."""

    INSTRUMENT = Instrument(
        venue="binance", market=Market.SPOT, symbol="TRX/USDT", time_resolution_ns=1000
    )  # times are in us

    def updates(self, kind):
        (path,) = recorded(
            f"tick-csv/test_{kind}_binance_difference_depth_stream_spot_trxusdt_04-03-2025.csv.gz"
        )
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == 10_000
        assert {row["Symbol"] for row in rows} == {"TRXUSDT"}
        keys = ("TimestampOfReceive", "EventTime", "FirstUpdateId", "FinalUpdateId")
        for (received, happened, first, last), group in groupby(
            rows, lambda row: tuple(row[key] for key in keys)
        ):
            changes = list(group)
            yield QuoteTick(
                instrument=self.INSTRUMENT,
                ts_event=int(happened) * 1000,
                ts_recv=int(received) * 1000,
                first_update_id=int(first),
                last_update_id=int(last),
                bids=levels((row["Price"], row["Quantity"]) for row in changes if row["IsAsk"] == "0"),
                asks=levels((row["Price"], row["Quantity"]) for row in changes if row["IsAsk"] == "1"),
            )

    def test_nothing_is_wrong_with_the_rows_as_recorded(self):
        updates = [check_quote(update) for update in self.updates("positive")]
        ids = IdSequence()
        assert {ids.feed(*covered_ids(update)) for update in updates} == {Arrival.NEXT}
        assert ids.missing == []
        assert all(one.ts_event <= two.ts_event for one, two in pairwise(updates))
        book = OrderBook(
            BookSnapshot(
                instrument=self.INSTRUMENT,
                ts_event=0,
                ts_recv=0,
                last_update_id=updates[0].first_update_id - 1,
                bids=(),
                asks=(),
            )
        )
        assert all(book.apply(update) for update in updates)
        assert book.last_update_id == 5434456664

    def test_a_negative_price_a_missing_time_and_a_broken_id_are_found(self):
        rejected, ids, skipped = [], IdSequence(), []
        for update in self.updates("negative"):
            try:
                check_quote(update)
            except TickRejected as error:
                rejected.append((update.first_update_id, str(error)))
            if ids.feed(*covered_ids(update)) is Arrival.SKIPPED:
                skipped.append(ids.opened)
        assert [number for number, _ in rejected] == [5434434562]
        assert [(hole.first_id, hole.last_id) for hole in skipped] == [(5434434570, 5434434570)]
        assert ids.missing == [(5434434570, 5434434570)]
