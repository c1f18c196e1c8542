"""Days as a calendar in the terminal, and on a page."""

from datetime import date
from html.parser import HTMLParser

from binance_proxy.application.covered import IdDay
from binance_proxy.application.stats import DayStats
from binance_proxy.bridge.calendar import drawn, legend
from binance_proxy.bridge.page import page
from binance_proxy.bridge.stats import COLUMNS, _row
from binance_proxy.domain.instrument import Instrument, Market

ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
DAY = (date(2024, 8, 9) - date(1970, 1, 1)).days


def test_a_month_begins_on_its_weekday_and_a_day_looks_by_its_share() -> None:
    shares = {1: 1.0, 2: 0.999, 3: 0.99, 4: 0.6, 5: 0.4999, 6: 0.0, 7: None}
    lines = [*drawn({date(2024, 8, day): (share, True) for day, share in shares.items()})]
    assert [line.plain for line in lines] == [
        "    August 2024",
        "Mo Tu We Th Fr Sa Su",
        "         ██ ▓▓ ▓▓ ▒▒",
        "░░ ░░ ▪▪ ·· ·· ·· ··",
        "·· ·· ·· ·· ·· ·· ··",
        "·· ·· ·· ·· ·· ·· ··",
        "·· ·· ·· ·· ·· ··",
        "",
    ]


def test_three_months_stand_side_by_side_and_years_follow_each_other() -> None:
    lines = [line.plain for line in drawn({date(2024, 11, 30): (1.0, True), date(2025, 2, 1): (1.0, True)})]
    assert lines[0].split() == ["November", "2024", "December", "2024", "January", "2025"]
    assert [line.split() for line in lines if "2025" in line][1] == ["February", "2025"]
    assert max(map(len, lines)) <= 80
    assert sum(line.count("██") for line in lines) == 2


def test_a_day_that_misses_one_id_of_many_never_looks_whole() -> None:
    lines = [line.plain for line in drawn({date(2024, 8, 1): (1 - 1e-12, True)})]
    assert not any("██" in line for line in lines)
    one = DayStats(instrument=ETH, day=DAY, trades=1, trade_ids=IdDay(there=10**9, missing=1, holes=1))
    assert _row(one)[4] == "99.999 %"


def test_the_legend_names_what_is_drawn() -> None:
    assert "▪▪" not in legend([1.0]).plain
    assert "▪▪ there; ids do not tell how much" in legend([1.0, None]).plain


class Read(HTMLParser):
    """What a page says: its tags in order, the titles of its days, the cells of its tables."""

    EMPTY = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.titles: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        known = dict(attrs)
        if "title" in known:
            self.titles.append(known["title"])
        self.links += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"td", "h2"}:
            self.cells.append(data)


def read(text: str) -> Read:
    reader = Read()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_a_page_has_each_day_in_calendar_and_table_and_nothing_from_elsewhere() -> None:
    days = [
        DayStats(
            instrument=ETH, day=DAY, trades=1_234, quotes=5, snapshots=1, first=DAY * 86_400 * 10**9,
            last=(DAY * 86_400 + 3_600) * 10**9, trade_ids=IdDay(there=3, missing=1, holes=1),
            update_ids=IdDay(there=5), size_bytes=2_048,
        ),
        DayStats(instrument=ETH, day=DAY + 2, trade_ids=IdDay(missing=4, holes=1, estimated=True)),
    ]  # fmt: skip
    text = page({ETH.name: days}, COLUMNS, {ETH.name: [*map(_row, days)]})
    found = read(text)
    assert len(found.titles) == 31
    assert "2024-08-09: half or more, 75.0000% of ids" in found.titles
    assert "2024-08-10: nothing" in found.titles
    assert "2024-08-11: less, 0.0000% of ids" in found.titles
    assert found.cells == [
        "binance.spot.ethusdt",
        "2024-08-09", "1,234", "5", "1", "75.000 %", "100 %", "1", "00:00:00.000", "01:00:00.000", "2.0 KiB",
        "2024-08-11", "0", "0", "0", "~0.000 %", "-", "1", "-", "-", "-",
    ]  # fmt: skip
    assert (found.links, "script" in found.tags, "url(" in text) == ([], False, False)
    assert "prefers-color-scheme: dark" in text


def test_a_page_of_nothing_is_a_page() -> None:
    assert "<p>Nothing.</p>" in page({}, COLUMNS, {})
    assert read(page({}, COLUMNS, {})).titles == []
