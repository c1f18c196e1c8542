"""What `bridge watch` knows from messages and how it draws that; no network."""

import io
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from binance_proxy.adapters.zeromq.bodies import BodyOf, json_of, levels_in_json
from binance_proxy.adapters.zeromq.cloudevents import cloud_event_json
from binance_proxy.application.ports import PublishedEvent
from binance_proxy.bridge.figures import UNIT, Figures, Rate
from binance_proxy.bridge.ladder import Screen, bar, line_of
from binance_proxy.bridge.watch import ON_SCREEN, NothingToWatch, Wanted, _status_in, complaint
from binance_proxy.bridge.watched import SILENCE_S, TAPE, Notice, Status, Watched
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import ScaleError
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.scale import to_text, to_units
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, StaleBook, TradeTick

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
TS = 1_760_000_000_123_000_000  # 2025-10-09 08:53:20.123 UTC
MINUTE = 1_759_999_980_000_000_000


def units(text: str, instrument: Instrument = ETH) -> int:
    return to_units(text, instrument.price_precision)


def levels(*pairs: tuple[str, str]) -> tuple[tuple[int, int], ...]:
    return tuple((units(price), units(size)) for price, size in pairs)


def trade(trade_id: int, price: str = "3050.12", size: str = "1.5", side: Side = Side.BUY) -> TradeTick:
    return TradeTick(
        instrument=ETH, ts_event=TS, ts_recv=TS, trade_id=trade_id, price=units(price), size=units(size),
        aggressor=side,
    )  # fmt: skip


def quote(first_id: int, last_id: int, **sides: Any) -> QuoteTick:
    return QuoteTick(
        instrument=ETH, ts_event=TS, ts_recv=TS, first_update_id=first_id, last_update_id=last_id,
        **({"bids": (), "asks": ()} | sides),
    )  # fmt: skip


SNAPSHOT = BookSnapshot(
    instrument=ETH,
    ts_event=TS,
    ts_recv=TS,
    last_update_id=100,
    bids=levels(("3050.10", "4"), ("3050", "1"), ("3049.95", "2")),
    asks=levels(("3050.20", "1"), ("3050.30", "0.5"), ("3051", "8")),
)
CANDLE = Candle(
    instrument=ETH, ts_event=TS, ts_recv=TS, timeframe=Timeframe("1m"), start=MINUTE,
    end=MINUTE + 60_000_000_000, open=units("3049"), high=units("3052"), low=units("3048.5"),
    close=units("3050.12"), volume=units("12.5"), quote_volume=10**20, trades=17, closed=False,
)  # fmt: skip
GAP = Gap(
    instrument=ETH, ts_event=TS, ts_recv=TS, stream=Stream.TRADES, first_id=5, last_id=9, start=TS, end=TS
)


class Bridge:
    """Sends what a publisher would, without sockets."""

    def __init__(self, watched: Watched, epoch: str = "one") -> None:
        self.watched = watched
        self.epoch = epoch
        self.sequences: dict[str, int] = {}
        self.body_of = BodyOf(ETH, epoch)

    def send(self, *events: PublishedEvent, now: float = 0.0, arrives: bool = True) -> None:
        for event in events:
            if isinstance(event, TradeTick):
                stream = "trades"
            elif isinstance(event, Candle):
                stream = f"candles.{event.timeframe}"
            else:
                stream = "gaps" if isinstance(event, Gap) else "orderbook"
            sequence = self.sequences[stream] = self.sequences.get(stream, 0) + 1
            if arrives:
                body = json_of(self.body_of.make(event, sequence, levels_in_json))
                self.watched.take(f"{ETH.name}.{stream}".encode(), body, now)

    def lose(self, *events: PublishedEvent) -> None:
        self.send(*events, arrives=False)

    def status(self, state: str | None = "in step", now: float = 0.0) -> None:
        instruments = {} if state is None else {ETH.name: state}
        body = {"type": "status", "epoch": self.epoch, "protocol": "1", "instruments": instruments}
        self.watched.take(b"bridge.status", json_of(body | {"sequence": 1, "trades": 3}), now)


@pytest.fixture
def watched() -> Watched:
    return Watched(ETH.name, ON_SCREEN, 0.0)


@pytest.fixture
def bridge(watched: Watched) -> Bridge:
    return Bridge(watched)


def drawn(watched: Watched, *, width: int = 100, height: int = 30, now: float = 0.0, count: int = 10) -> str:
    console = Console(record=True, width=width, height=height, file=io.StringIO(), color_system=None)
    console.print(Screen(watched, count, now), end="")
    return console.export_text()


class TestBook:
    def test_follows_a_snapshot_and_the_updates_behind_it(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT, quote(99, 100, bids=levels(("1", "1"))))
        bridge.send(quote(101, 102, bids=levels(("3050.15", "3"), ("3050", "0"))))
        assert watched.book is not None
        assert watched.book.bids() == (
            (305015 * UNIT // 100, 3 * UNIT),
            (30501 * UNIT // 10, 4 * UNIT),
            (304995 * UNIT // 100, 2 * UNIT),
        )
        assert watched.trouble(0.0) is None

    def test_is_not_there_before_a_snapshot(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(quote(101, 102, bids=levels(("3050.15", "3"))))
        assert watched.book is None
        assert "out of step, waiting for a snapshot" in drawn(watched)

    def test_a_hole_in_the_sequence_takes_it_away_until_the_next_snapshot(
        self, watched: Watched, bridge: Bridge
    ) -> None:
        bridge.send(SNAPSHOT)
        bridge.lose(SNAPSHOT)  # update ids alone would not show this
        bridge.send(quote(101, 101, asks=levels(("3050.18", "1"))))
        assert watched.book is None
        text = drawn(watched)
        assert "1 hole " in text
        assert "out of step, waiting for a snapshot" in text
        assert "missed 1 message of orderbook" in text
        assert "3050.10" not in text
        bridge.send(replace(SNAPSHOT, last_update_id=101))
        assert watched.book is not None
        assert "3050.10" in drawn(watched)

    def test_a_snapshot_right_behind_a_hole_is_good_at_once(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT)
        bridge.lose(quote(101, 105))
        bridge.send(replace(SNAPSHOT, last_update_id=105))
        assert watched.holes == 1
        assert watched.book is not None

    def test_an_update_that_does_not_follow_takes_it_away(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT, quote(110, 111))
        assert watched.book is None
        assert watched.holes == 0
        assert "does not follow" in drawn(watched)

    def test_one_that_the_bridge_calls_stale_is_taken_away_until_the_next_snapshot(
        self, watched: Watched, bridge: Bridge
    ) -> None:
        bridge.send(SNAPSHOT, quote(101, 101, bids=levels(("3050.15", "3"))))
        bridge.send(StaleBook(instrument=ETH, ts_event=TS, ts_recv=TS, reason="the cable was cut"))
        assert watched.book is None
        text = drawn(watched)
        assert "out of step, waiting for a snapshot" in text
        assert "the cable was cut" in text
        assert "3050.15" not in text
        assert (watched.holes, watched.unreadable) == (0, 0)
        bridge.send(quote(102, 102, bids=levels(("3050.16", "3"))))
        assert watched.book is None
        bridge.send(replace(SNAPSHOT, last_update_id=102))
        assert watched.book is not None

    def test_one_that_crosses_is_not_shown(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT, quote(101, 101, bids=levels(("3060", "1"))))
        assert "cross" in drawn(watched)

    def test_a_message_that_comes_twice_counts_once(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(trade(1), trade(2))
        bridge.sequences.clear()
        bridge.send(trade(1), trade(2))
        assert watched.entries == 2
        assert watched.holes == 0

    def test_a_restarted_bridge_starts_over(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT, trade(1), CANDLE)
        restarted = Bridge(watched, epoch="two")
        restarted.send(trade(2))
        assert watched.book is None
        assert watched.candle is None
        assert watched.holes == 0
        assert "the bridge was restarted" in drawn(watched)
        restarted.send(SNAPSHOT)
        assert watched.book is not None

    def test_a_restart_is_seen_by_the_status_too(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT)
        Bridge(watched, epoch="two").status()
        assert watched.book is None

    @pytest.mark.parametrize("state", ["stale", None])
    def test_is_not_shown_while_the_bridge_has_none(
        self, watched: Watched, bridge: Bridge, state: str | None
    ) -> None:
        bridge.send(SNAPSHOT)
        bridge.status(state)
        assert watched.book is None
        bridge.status()
        bridge.send(SNAPSHOT)
        assert watched.book is not None

    def test_is_not_shown_when_the_bridge_falls_silent(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT)
        bridge.status(now=10.0)
        assert "3050.10" in drawn(watched, now=10.0 + SILENCE_S - 0.1)
        text = drawn(watched, now=17.0)
        assert "nothing heard for 7 s" in text
        assert "3050.10" not in text
        bridge.status(now=18.0)
        assert "3050.10" in drawn(watched, now=18.0)

    def test_sizes_beyond_64_bits_of_units_are_held(self, watched: Watched) -> None:
        body = {
            "type": "snapshot", "venue": "binance", "market": "spot", "symbol": "PEPE/USDT", "epoch": "one",
            "sequence": 1, "ts_event": TS, "ts_recv": TS, "last_update_id": 1,
            "bids": [["0.00001234", "987654321987.5"]], "asks": [["0.000012340000000001", "1"]],
        }  # fmt: skip
        watched.take(b"binance.spot.ethusdt.orderbook", msgspec.json.encode(body), 0.0)
        assert watched.book is not None
        assert watched.book.best_bid() == (12_340_000_000_000, 9876543219875 * UNIT // 10)
        assert watched.prices.show(watched.book.spread()) == "0.000000000000000001"


class TestMessages:
    def test_other_topics_are_nothing_to_us(self, watched: Watched) -> None:
        for topic in (
            b"binance.spot.ethusdt.candles.1mo",
            b"binance.spot.ethusdtx.trades",
            b"bridge.welcome",
        ):
            watched.take(topic, b"nonsense", 0.0)
        assert watched.messages == 0
        assert watched.unreadable == 0

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"\xff",
            b'{"type":"dividend"}',
            b'{"specversion"',
            b'{"specversion":"1.0"}',
            b'{"specversion":"1.0","data":[}',
            json_of(BodyOf(ETH, "one").make(trade(1), 1, levels_in_json)).replace(b'"3050.12"', b'"-1"'),
            json_of(BodyOf(ETH, "one").make(trade(1), 1, levels_in_json)).replace(b'"buy"', b'"both"'),
            json_of(BodyOf(ETH, "one").make(trade(1), 1, levels_in_json)).replace(b'"1.5"', b'"0"'),
            json_of(BodyOf(ETH, "one").make(trade(1), 1, levels_in_json)).replace(b'"spot"', b'"moon"'),
        ],
    )
    def test_what_cannot_be_read_is_counted_and_gives_the_book_up_only_if_it_was_about_the_book(
        self, watched: Watched, bridge: Bridge, body: bytes
    ) -> None:
        watched.take(b"binance.spot.ethusdt.trades", body, 0.0)
        assert watched.entries == 0
        bridge.send(SNAPSHOT)
        watched.take(b"binance.spot.ethusdt.trades", body, 0.0)
        assert watched.book is not None
        assert "unreadable" in drawn(watched)
        watched.take(b"binance.spot.ethusdt.orderbook", body.replace(b'"sequence":1', b'"sequence":2'), 0.0)
        assert watched.unreadable > 0
        assert b"trade" in body or watched.book is None

    def test_a_body_in_an_envelope_is_read_like_a_bare_one(self, watched: Watched) -> None:
        body = cloud_event_json(BodyOf(ETH, "one").make(trade(1), 1, levels_in_json))
        watched.take(b"binance.spot.ethusdt.trades", body, 0.0)
        assert watched.last is not None
        assert watched.last.trade_id == 1
        assert watched.unreadable == 0

    def test_a_broken_status_is_counted_and_costs_nothing(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT)
        watched.take(b"bridge.status", b'{"specversion"', 0.0)
        assert watched.unreadable == 1
        assert watched.book is not None

    @pytest.mark.parametrize("body", [b"\xff", b"{}", b'{"specversion"', b'{"specversion":"1.0"}'])
    def test_a_broken_status_while_looking_for_the_pair_is_one_clear_sentence(self, body: bytes) -> None:
        with pytest.raises(NothingToWatch, match="tcp://x cannot be read; take the JSON endpoint"):
            _status_in(b"bridge.status", body, "tcp://x")

    def test_a_candle_that_could_not_be_drawn_is_not_kept(self, watched: Watched) -> None:
        body = json_of(BodyOf(ETH, "one").make(CANDLE, 1, levels_in_json)).replace(b'"3052"', b'"high"')
        watched.take(b"binance.spot.ethusdt.candles.1m", body, 0.0)
        assert watched.unreadable == 1
        assert "no candle yet" in drawn(watched)

    def test_the_tape_is_bounded_and_says_how_much_went_by(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(*(trade(number) for number in range(1, TAPE + 11)))
        assert len(watched.tape) == TAPE
        assert watched.entries == TAPE + 10

    def test_a_hole_in_the_trades_stands_on_the_tape(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(trade(1))
        bridge.lose(trade(2), trade(3))
        bridge.send(trade(4))
        assert [type(entry) for entry in watched.tape] == [TradeTick, Notice, TradeTick]
        assert "missed 2 messages of trades" in drawn(watched)

    def test_prints_off_the_book_are_not_the_last_price(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(trade(1), replace(trade(2, price="1"), off_book=True))
        assert watched.last is not None
        assert watched.last.trade_id == 1
        assert watched.entries == 2


class TestScreen:
    def send_all(self, bridge: Bridge) -> None:
        bridge.send(SNAPSHOT, CANDLE, trade(1), trade(2, "3050.1", "0.25", Side.SELL))

    def test_shows_everything(self, watched: Watched, bridge: Bridge) -> None:
        self.send_all(bridge)
        bridge.send(GAP, replace(GAP, state=GapState.REPAIRED), replace(GAP, first_id=20, last_id=20))
        lines = [line.rstrip() for line in drawn(watched).splitlines()]
        assert lines[0] == "ETH/USDT  binance.spot   3050.10 sell   7 msg/s   0 holes"
        assert lines[1] == "spread 0.10 (0.33 bps)   mid 3050.150   imbalance -0.15 of 10 levels"
        ladder = [line.split("│")[0].split()[:2] for line in lines[3:-2]]
        assert [row for row in ladder if row] == [
            ["3051.00", "8.00"],
            ["3050.30", "0.50"],
            ["3050.20", "1.00"],
            ["0.10", "spread"],
            ["3050.10", "4.00"],
            ["3050.00", "1.00"],
            ["3049.95", "2.00"],
        ]
        assert lines[3].split("│")[1].split() == ["08:53:20.123", "sell", "3050.10", "0.25"]
        assert lines[4].split("│")[1].split() == ["08:53:20.123", "buy", "3050.12", "1.50"]
        candle = "1m 08:53  O 3049.00  H 3052.00  L 3048.50  C 3050.12  V 12.5 in 17"
        assert lines[-2:] == [candle, "gaps 1 open, 1 repaired   latest 08:53:20 trades 20 open"]

    @pytest.mark.parametrize(
        ("width", "height"), [(100, 30), (80, 24), (76, 24), (60, 12), (20, 5), (10, 3), (5, 1)]
    )
    def test_fills_any_terminal_and_no_more(
        self, watched: Watched, bridge: Bridge, width: int, height: int
    ) -> None:
        for _ in range(3):
            lines = drawn(watched, width=width, height=height).splitlines()
            assert len(lines) == height
            assert {len(line) for line in lines} == {width}
            self.send_all(bridge)
            bridge.send(GAP)

    def test_shows_as_many_levels_as_fit_the_best_ones(self, watched: Watched, bridge: Bridge) -> None:
        self.send_all(bridge)
        text = drawn(watched, width=60, height=9)
        assert "3050.20" in text
        assert "3050.10" in text
        assert "3051.00" not in text
        assert "3049.95" not in text
        assert "3050.30" not in drawn(watched, count=1)

    def test_is_drawn_anew_for_the_size_that_the_terminal_has_then(
        self, watched: Watched, bridge: Bridge
    ) -> None:
        self.send_all(bridge)
        frame = Screen(watched, 10, 0.0)
        for width in (120, 80):
            console = Console(record=True, width=width, height=24, file=io.StringIO())
            console.print(frame, end="")
            assert {len(line) for line in console.export_text().splitlines()} == {width}

    def test_a_large_trade_stands_out(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(*(trade(number, size="1") for number in range(1, 40)), trade(40, size="50"))
        console = Console(record=True, width=100, height=30, file=io.StringIO(), force_terminal=True)
        console.print(Screen(watched, 10, 0.0), end="")
        shown = console.export_text(styles=True).splitlines()
        assert "\x1b[1;7;32m" in shown[3]
        assert "\x1b[1;7" not in shown[4]

    def test_a_book_with_one_side_only_is_drawn(self, watched: Watched, bridge: Bridge) -> None:
        bridge.send(replace(SNAPSHOT, asks=()))
        text = drawn(watched)
        assert "3050.1" in text
        assert "spread -" in text

    def test_has_no_control_characters_without_styles(self, watched: Watched, bridge: Bridge) -> None:
        self.send_all(bridge)
        assert {unicodedata.category(char) for char in drawn(watched).replace("\n", "")} & {"Cc"} == set()


def test_a_line_is_the_same_whatever_came_before(watched: Watched, bridge: Bridge) -> None:
    bridge.send(trade(1, price="3050.12345"), trade(2, price="3050.1", size="2"))
    last = watched.tape[-1]
    assert isinstance(last, TradeTick)
    assert line_of(last) == "2025-10-09T08:53:20.123Z binance.spot.ethusdt buy 3050.1 2"


@given(st.integers(0, 2**63 - 1), st.integers(0, 18))
def test_figures_read_all_that_the_wire_can_say(number: int, precision: int) -> None:
    figures = Figures()
    text = to_text(number, precision)
    assert figures.read(text) == number * 10 ** (18 - precision)
    assert figures.show(figures.read(text)) == text


@pytest.mark.parametrize(
    "text", ["", ".", "-1", "1e5", "1_0", " 1", "NaN", "\u0663", "0." + "1" * 19, "1.2.3"]
)
def test_figures_refuse_what_is_no_number(text: str) -> None:
    with pytest.raises(ScaleError):
        Figures().read(text)


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.per_s(0.0) == 0.0
    for tenth in range(100):
        rate.add(100 + tenth / 10)
    assert rate.per_s(110.0) == pytest.approx(10, rel=0.3)
    assert rate.per_s(120.0) == 0.0


@given(st.integers(1, 10**30), st.integers(1, 10**30), st.integers(0, 200))
def test_a_bar_is_never_longer_than_its_column_nor_empty(size: int, largest: int, width: int) -> None:
    drawn_bar = bar(min(size, largest), largest, width)
    assert len(drawn_bar) <= width
    assert bool(drawn_bar) == bool(width)
    assert len(bar(largest, largest, width)) == width


LISTED = Status(
    epoch="one",
    instruments={
        "simulated.spot.ethusdt": "in step",
        "binance.usdm.ethusdt": "stale",
        "a.b.solusdt": "stale",
    },
)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (Wanted(None, None, None), "simulated.spot.ethusdt"),
        (Wanted("ETH/USDT", None, None), "simulated.spot.ethusdt"),
        (Wanted("ethusdt", "Binance", None), "binance.usdm.ethusdt"),
        (Wanted("ETH/USDT", None, "usdm"), "binance.usdm.ethusdt"),
        (Wanted("sol/usdt", None, None), "a.b.solusdt"),
        (Wanted("ETH/USD", None, None), None),
        (Wanted("ETH/USDT", "binance", "spot"), None),
    ],
)
def test_the_first_instrument_that_fits_is_found(wanted: Wanted, name: str | None) -> None:
    assert wanted.first_of(LISTED) == name


def test_names_that_are_no_names_are_passed_over() -> None:
    assert Wanted(None, None, None).first_of(Status(epoch="", instruments={"\x1b[2J": "in step"})) is None


@pytest.mark.parametrize(
    ("heard", "sentence"),
    [
        (None, "no bridge answers on tcp://x:1; start one with `bridge run`, or name another address"),
        (Status(epoch=""), "the bridge on tcp://x:1 records no pair yet; add one with `bridge pairs`"),
        (
            LISTED,
            f"the bridge on tcp://x:1 has no XRP/USDT; it has {', '.join(LISTED.instruments)}",
        ),
    ],
)
def test_the_complaint_says_what_to_do(heard: Status | None, sentence: str) -> None:
    assert complaint("tcp://x:1", Wanted("XRP/USDT", None, None), heard) == sentence
