"""What `bridge watch` knows of an instrument and how it draws that; no network."""

import io
import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from binance_proxy.bridge.figures import Figures, Rate
from binance_proxy.bridge.ladder import Screen, bar, line_of
from binance_proxy.bridge.listening import Place, no_answer
from binance_proxy.bridge.watch import Wanted, complaint
from binance_proxy.bridge.watched import GAPS, RESTARTED, TAPE, Notice, Watched
from binance_proxy.client import Candle, Gap, Missed, Quote, Status, Trade, Traffic

NAME = "binance.spot.ethusdt"
TS = 1_760_000_000_123_000_000  # 2025-10-09 08:53:20.123 UTC
MINUTE = 1_759_999_980_000_000_000
HEAD = {"venue": "binance", "market": "spot", "symbol": "ETH/USDT", "ts_event": TS, "ts_recv": TS}


def levels(*pairs: tuple[str, str]) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((Decimal(price), Decimal(size)) for price, size in pairs)


def trade(trade_id: int, price: str = "3050.12", size: str = "1.5", side: str = "buy") -> Trade:
    return Trade(**HEAD, trade_id=trade_id, price=Decimal(price), size=Decimal(size), aggressor=side)


BIDS = levels(("3050.1", "4"), ("3050", "1"), ("3049.95", "2"))
ASKS = levels(("3050.2", "1"), ("3050.3", "0.5"), ("3051", "8"))
CANDLE = Candle(
    **HEAD, timeframe="1m", start=MINUTE, end=MINUTE + 60_000_000_000, open=Decimal(3049),
    high=Decimal(3052), low=Decimal("3048.5"), close=Decimal("3050.12"), volume=Decimal("12.5"),
    quote_volume=Decimal(10**4), vwap=Decimal(3050), trades=17, closed=False, complete=True,
)  # fmt: skip
GAP = Gap(**HEAD, stream="trades", first_id=5, last_id=9, start=TS, end=TS, state="open")


def missed(stream: str = "trades", reason: str = "there is no request side to ask", **more: object) -> Missed:
    return Missed(topic=f"{NAME}.{stream}", reason=reason, **more)


class Seen:
    """A watched instrument, and the client that tells of it."""

    def __init__(self) -> None:
        self.watched = Watched(NAME)
        self.messages = 0
        self.says()

    def says(
        self, state: str | None = "in step", *, epoch: str = "one", now: float = 0.0, **more: object
    ) -> None:
        instruments = {} if state is None else {NAME: state}
        silence = more.pop("silence", None)
        traffic = Traffic(messages=self.messages, **more)
        status = Status(epoch=epoch, instruments=instruments, ts_recv=TS)
        self.watched.hear(status, traffic, silence, now)

    def book(self, bids: tuple = BIDS, asks: tuple = ASKS) -> None:
        book = self.watched.book
        assert book.begin(last_update_id=100, ts_event=TS, ts_recv=TS, bids=bids, asks=asks) is None
        book.regain()
        self.watched.book_changed()

    def loses(self, reason: str) -> None:
        self.watched.book.lose(reason)
        self.watched.book_changed()

    def comes(self, *events: Trade | Candle | Gap | Missed) -> None:
        for event in events:
            self.watched.take(event)

    def everything(self) -> None:
        self.book()
        self.comes(CANDLE, trade(1), trade(2, "3050.1", "0.25", "sell"))
        self.messages += 7
        self.says()

    def drawn(self, *, width: int = 100, height: int = 30, now: float = 0.0, count: int = 10) -> str:
        console = Console(record=True, width=width, height=height, file=io.StringIO(), color_system=None)
        console.print(Screen(self.watched, count, now), end="")
        return console.export_text()


@pytest.fixture
def seen() -> Seen:
    return Seen()


class TestBook:
    def test_is_not_there_before_it_is_in_step(self, seen: Seen) -> None:
        text = seen.drawn()
        assert "out of step, waiting for a snapshot" in text
        assert "no snapshot has come yet" in text
        assert len(seen.watched.tape) == 0

    def test_is_drawn_as_it_is_at_that_moment(self, seen: Seen) -> None:
        seen.book()
        update = {"first_update_id": 101, "last_update_id": 102, "bids": levels(("3050.15", "3")), "asks": ()}
        assert seen.watched.book.apply(Quote(**HEAD, **update)) is None
        assert "3050.15" in seen.drawn()

    def test_that_falls_out_of_step_is_shown_no_more_and_the_tape_says_why(self, seen: Seen) -> None:
        seen.book()
        assert "3050.10" in seen.drawn()
        seen.loses("missed 3 messages")
        seen.loses("missed 3 messages; waiting for a snapshot")
        text = seen.drawn()
        assert "3050.10" not in text
        assert "out of step, waiting for a snapshot" in text
        assert [entry.text for entry in seen.watched.tape] == ["book: missed 3 messages"]
        seen.book()
        assert "3050.10" in seen.drawn()

    @pytest.mark.parametrize(
        ("state", "why"),
        [
            ("stale", "the bridge itself waits for one"),
            (None, "the bridge does not record this pair now"),
        ],
    )
    def test_is_not_shown_while_the_bridge_has_none(self, seen: Seen, state: str | None, why: str) -> None:
        seen.book()
        seen.says(state)
        assert why in seen.drawn()
        assert "3050.10" not in seen.drawn()
        seen.says()
        assert "3050.10" in seen.drawn()

    def test_is_not_shown_when_the_bridge_falls_silent(self, seen: Seen) -> None:
        seen.book()
        seen.says(silence="nothing heard for 7 s")
        text = seen.drawn()
        assert "nothing heard for 7 s" in text
        assert "has the bridge stopped?" in text
        assert "3050.10" not in text

    def test_sizes_beyond_64_bits_of_units_are_shown_exactly(self, seen: Seen) -> None:
        seen.book(levels(("0.00001234", "987654321987.5")), levels(("0.000012340000000001", "1")))
        text = seen.drawn(width=120)
        assert "987654321987.5" in text
        assert "0.000012340000000001" in text
        assert "spread 0.000000000000000001" in text


class TestMessages:
    def test_a_restarted_bridge_starts_over(self, seen: Seen) -> None:
        seen.comes(trade(1), CANDLE)
        seen.says(epoch="two")
        seen.comes(missed(reason=RESTARTED), missed("gaps", reason=RESTARTED))
        assert seen.watched.candle is None
        assert seen.watched.last is None
        assert [entry.text for entry in seen.watched.tape if isinstance(entry, Notice)] == [RESTARTED]
        assert "no candle yet" in seen.drawn()

    def test_the_tape_is_bounded(self, seen: Seen) -> None:
        seen.comes(*(trade(number) for number in range(1, TAPE + 11)))
        assert len(seen.watched.tape) == TAPE

    def test_gaps_are_bounded_and_the_newest_news_stands_last(self, seen: Seen) -> None:
        seen.comes(*(replace(GAP, first_id=number) for number in range(GAPS + 5)))
        seen.comes(replace(GAP, first_id=50, state="lost"))
        assert len(seen.watched.gaps) == GAPS
        assert list(seen.watched.gaps.values())[-1].state == "lost"

    @pytest.mark.parametrize(
        ("event", "text"),
        [
            (missed(messages=2), "missed 2 messages of trades: there is no request side to ask"),
            (missed("candles.1m", messages=1), "missed 1 message of candles.1m: there is no"),
            (missed(ids=((2, 4), (9, 9))), "missed up to 4 ids of trades: there is no request side to ask"),
            (missed(reason="who knows"), "missed some of trades: who knows"),
        ],
    )
    def test_what_cannot_be_had_stands_on_the_tape(self, seen: Seen, event: Missed, text: str) -> None:
        seen.comes(trade(1), event, trade(4))
        assert [type(entry) for entry in seen.watched.tape] == [Trade, Notice, Trade]
        assert text in seen.drawn(width=160)

    def test_holes_and_what_cannot_be_read_are_counted(self, seen: Seen) -> None:
        seen.says(holes=1, unreadable=3)
        assert "1 hole   3 unreadable" in seen.drawn()

    def test_prints_off_the_book_are_not_the_last_price(self, seen: Seen) -> None:
        seen.comes(trade(1), replace(trade(2, price="1"), off_book=True))
        assert seen.watched.last is not None
        assert seen.watched.last.trade_id == 1
        assert len(seen.watched.tape) == 2

    def test_a_side_that_is_none_is_shown_as_it_is(self, seen: Seen) -> None:
        seen.comes(trade(1, side="both"))
        assert "both" in seen.drawn()


class TestScreen:
    def test_shows_everything(self, seen: Seen) -> None:
        seen.everything()
        seen.comes(GAP, replace(GAP, state="repaired"), replace(GAP, first_id=20, last_id=20))
        lines = [line.rstrip() for line in seen.drawn().splitlines()]
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
    def test_fills_any_terminal_and_no_more(self, seen: Seen, width: int, height: int) -> None:
        for _ in range(3):
            lines = seen.drawn(width=width, height=height).splitlines()
            assert len(lines) == height
            assert {len(line) for line in lines} == {width}
            seen.everything()
            seen.comes(GAP)

    def test_shows_as_many_levels_as_fit_the_best_ones(self, seen: Seen) -> None:
        seen.everything()
        text = seen.drawn(width=60, height=9)
        assert "3050.20" in text
        assert "3050.10" in text
        assert "3051.00" not in text
        assert "3049.95" not in text
        assert "3050.30" not in seen.drawn(count=1)

    def test_is_drawn_anew_for_the_size_that_the_terminal_has_then(self, seen: Seen) -> None:
        seen.everything()
        frame = Screen(seen.watched, 10, 0.0)
        for width in (120, 80):
            console = Console(record=True, width=width, height=24, file=io.StringIO())
            console.print(frame, end="")
            assert {len(line) for line in console.export_text().splitlines()} == {width}

    def test_a_large_trade_stands_out(self, seen: Seen) -> None:
        seen.comes(*(trade(number, size="1") for number in range(1, 40)), trade(40, size="50"))
        console = Console(record=True, width=100, height=30, file=io.StringIO(), force_terminal=True)
        console.print(Screen(seen.watched, 10, 0.0), end="")
        shown = console.export_text(styles=True).splitlines()
        assert "\x1b[1;7;32m" in shown[3]
        assert "\x1b[1;7" not in shown[4]

    def test_a_book_with_one_side_only_is_drawn(self, seen: Seen) -> None:
        seen.book(asks=())
        text = seen.drawn()
        assert "3050.1" in text
        assert "spread -" in text

    def test_has_no_control_characters_without_styles(self, seen: Seen) -> None:
        seen.everything()
        assert {unicodedata.category(char) for char in seen.drawn().replace("\n", "")} & {"Cc"} == set()


def test_a_line_is_the_same_whatever_came_before(seen: Seen) -> None:
    seen.comes(trade(1, price="3050.12345"), trade(2, price="3050.1", size="2"))
    last = seen.watched.tape[-1]
    assert isinstance(last, Trade)
    assert line_of(last) == "2025-10-09T08:53:20.123Z binance.spot.ethusdt buy 3050.1 2"


@given(st.lists(st.decimals(0, 10**9, allow_nan=False, allow_infinity=False, places=None), min_size=1))
def test_figures_show_every_digit_that_they_have_read(numbers: list[Decimal]) -> None:
    figures = Figures()
    shown = [figures.show(figures.read(number)) for number in numbers]
    if figures.decimals < 18:
        assert [Decimal(one) for one in shown] == numbers
    assert {len(figures.show(number).partition(".")[2]) for number in numbers} == {figures.decimals}


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.per_s(0.0) == 0.0
    for tenth in range(100):
        rate.add(100 + tenth / 10)
    assert rate.per_s(110.0) == pytest.approx(10, rel=0.3)
    assert rate.per_s(120.0) == 0.0
    rate.add(130.0, 50)
    rate.add(131.0, 0)
    assert rate.per_s(132.0) > 0


SIZES = st.decimals(Decimal("1e-18"), 10**12, allow_nan=False, allow_infinity=False)


@given(SIZES, SIZES, st.integers(0, 200))
def test_a_bar_is_never_longer_than_its_column_nor_empty(size: Decimal, largest: Decimal, width: int) -> None:
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
        (Status(epoch=""), "the bridge on tcp://x:1 records no pair yet; add one with `bridge pairs`"),
        (
            LISTED,
            f"the bridge on tcp://x:1 has no XRP/USDT; it has {', '.join(LISTED.instruments)}",
        ),
    ],
)
def test_the_complaint_says_what_to_do(heard: Status, sentence: str) -> None:
    assert complaint(Place(publish="tcp://x:1"), Wanted("XRP/USDT", None, None), heard) == sentence


def test_that_nobody_is_there_says_what_to_do() -> None:
    sentence = "no bridge answers on tcp://x:1; start one with `bridge run`, or name another address"
    assert no_answer("tcp://x:1") == sentence
