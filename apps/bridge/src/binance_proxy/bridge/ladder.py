"""How a watched instrument looks on a terminal: ladder, tape and what stands around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice, zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from binance_proxy.bridge.figures import Figures
from binance_proxy.bridge.watched import Notice, Trouble, Watched
from binance_proxy.client import BookView, Trade
from binance_proxy.client.messages import Level
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.gap import GapState
from binance_proxy.domain.instrument import MILLISECOND_NS

COLOUR = {"buy": "green", "sell": "red"}
TROUBLE = "bold yellow"
TAPE_WIDTH = 38
"""Narrower, a tape tells nothing; the ladder then has the screen for itself."""
LARGE = 0.95
"""Trades above this quantile of the latest sizes stand out."""
ENOUGH_TRADES = 20
"""Before so many, no trade is large."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Screen:
    """One frame; it fills whatever size the terminal has at the moment it is drawn."""

    watched: Watched
    levels: int
    now: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        lines = screen(self.watched, self.levels, self.now, options.max_width, height)
        yield Text("\n", no_wrap=True, overflow="crop", end="").join(lines)


def screen(watched: Watched, levels: int, now: float, width: int, height: int) -> list[Text]:
    """Return the lines of a frame, each as wide as the terminal, at most ``height`` of them."""
    seen = watched.look(levels)
    head = [title(watched, now), touch(watched, seen, levels)]
    foot = [candle(watched)]
    if watched.gaps:
        foot.append(gaps(watched))
    room = max(0, height - len(head) - len(foot))
    if width < 2 * TAPE_WIDTH:
        middle = ladder(watched, seen, levels, width, room)
    else:
        left = width // 2 - 1
        right = width - left - 3
        rows = zip_longest(
            ladder(watched, seen, levels, left, room), tape(watched, right, room), fillvalue=Text()
        )
        middle = [Text.assemble(_fit(row, left), (" │ ", "dim"), print_) for row, print_ in rows]
    middle += [Text()] * (room - len(middle))
    return [_fit(line, width) for line in [*head, *middle, *foot][:height]]


def title(watched: Watched, now: float) -> Text:
    """Say what is watched, the last price, and how the messages come in."""
    line = Text.assemble((watched.symbol, "bold"), f"  {watched.name.rpartition('.')[0]}   ")
    last = watched.last
    if last is not None:
        line.append(f"{watched.prices.show(last.price)} {last.aggressor}", f"bold {colour(last.aggressor)}")
    line.append(f"   {watched.rate.per_s(now):.0f} msg/s   ")
    holes, unreadable = watched.traffic.holes, watched.traffic.unreadable
    line.append("1 hole" if holes == 1 else f"{holes} holes", TROUBLE if holes else "")
    if unreadable:
        line.append(f"   {unreadable} unreadable", TROUBLE)
    return line


def colour(side: str) -> str:
    """Return the colour of a side; of one that is none, none."""
    return COLOUR.get(side, "")


def touch(watched: Watched, seen: BookView | Trouble, levels: int) -> Text:
    """Say how the two sides of the book stand to each other."""
    if isinstance(seen, Trouble) or seen.spread is None or seen.mid is None or seen.spread_bps is None:
        return Text("spread -   mid -   imbalance -", "dim")
    bid, ask = (sum(size for _, size in side) for side in (seen.bids, seen.asks))
    imbalance = (bid - ask) / (bid + ask)
    return Text.assemble(
        f"spread {watched.prices.show(seen.spread)} ({seen.spread_bps:.2f} bps)"
        f"   mid {seen.mid:.{watched.prices.decimals + 1}f}   imbalance ",
        (f"{imbalance:+.2f}", colour("buy" if imbalance > 0 else "sell")),
        (f" of {levels} levels", "dim"),
    )


def ladder(watched: Watched, seen: BookView | Trouble, levels: int, width: int, height: int) -> list[Text]:
    """Draw asks above bids, or say why there is no book to draw."""
    if isinstance(seen, Trouble):
        return [Text(), Text(seen.headline, TROUBLE), *_wrapped(seen.why, width)][:height]
    fit = max(0, min(levels, (height - 2) // 2))
    asks, bids = seen.asks[:fit], seen.bids[:fit]
    columns = _Columns.for_levels([*asks, *bids], watched.prices, watched.sizes, width)
    blank = [Text()] * (fit - len(asks))  # keeps the touch on its line when asks are few
    return [
        columns.names(),
        *blank,
        *(columns.row(level, "sell") for level in reversed(asks)),
        columns.between(seen),
        *(columns.row(level, "buy") for level in bids),
    ][:height]


@dataclass(frozen=True)
class _Columns:
    """The columns of a ladder: price, size, and a bar as long as the size is large."""

    prices: Figures
    sizes: Figures
    price_width: int
    size_width: int
    bar_width: int
    largest: Decimal

    @classmethod
    def for_levels(cls, levels: Sequence[Level], prices: Figures, sizes: Figures, width: int) -> "_Columns":
        # Least widths, so that the columns do not jump whenever a size gets one more digit.
        price_width = max([10, *(len(prices.show(price)) for price, _ in levels)])
        size_width = max([10, *(len(sizes.show(size)) for _, size in levels)])
        bar_width = max(0, width - price_width - size_width - 2)
        largest = max((size for _, size in levels), default=Decimal(1))
        return cls(prices, sizes, price_width, size_width, bar_width, largest)

    def names(self) -> Text:
        return Text(f"{'price':>{self.price_width}} {'size':>{self.size_width}}", "dim")

    def row(self, level: Level, side: str) -> Text:
        price, size = level
        return Text.assemble(
            (f"{self.prices.show(price):>{self.price_width}}", colour(side)),
            f" {self.sizes.show(size):>{self.size_width}} ",
            (bar(size, self.largest, self.bar_width), colour(side)),
        )

    def between(self, book: BookView) -> Text:
        if book.spread is None:
            return Text("-".rjust(self.price_width), "dim")
        spread = self.prices.show(book.spread)
        return Text(f"{spread:>{self.price_width}} {'spread':>{self.size_width}}", "dim")


def bar(size: Decimal, largest: Decimal, width: int) -> str:
    """Return a bar that is ``width`` cells long for the largest size, to an eighth of a cell."""
    eighths = max(1, int(size / largest * width * 8)) if width and largest else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def tape(watched: Watched, width: int, height: int) -> list[Text]:
    """Draw the latest trades, newest first."""
    latest = list(islice(reversed(watched.tape), max(0, height - 1)))
    trades = [entry for entry in latest if isinstance(entry, Trade)]
    price_width = max([10, *(len(watched.prices.show(trade.price)) for trade in trades)])
    size_width = max([9, *(len(watched.sizes.show(trade.size)) for trade in trades)])
    large = _large_size(watched)
    lines = [Text(f"{'time (UTC)':12} side {'price':>{price_width}} {'size':>{size_width}}", "dim")]
    for entry in latest:
        if isinstance(entry, Notice):
            lines.append(Text(f"{time_of(entry.ts_event):12} {entry.text}", TROUBLE))
            continue
        side = colour(entry.aggressor)
        is_large = large is not None and entry.size > large
        price, size = watched.prices.show(entry.price), watched.sizes.show(entry.size)
        lines.append(
            Text.assemble(
                (f"{time_of(entry.ts_event):12} ", "dim"),
                (f"{entry.aggressor:4} {price:>{price_width}} ", side),
                (f"{size:>{size_width}}", f"bold reverse {side}" if is_large else side),
            )
        )
    return [_fit(line, width) for line in lines[:height]]


def _large_size(watched: Watched) -> Decimal | None:
    sizes = sorted(entry.size for entry in watched.tape if isinstance(entry, Trade))
    return sizes[int(LARGE * len(sizes))] if len(sizes) >= ENOUGH_TRADES else None


def candle(watched: Watched) -> Text:
    """Write the latest 1m candle in one line."""
    body = watched.candle
    if body is None:
        return Text("1m  no candle yet", "dim")
    show = watched.prices.show
    start = time_of(body.start)[:5]
    rising = body.close >= body.open
    line = Text.assemble((f"{body.timeframe} {start}", "bold"), " closed" if body.closed else "")
    for label, price in (("O", body.open), ("H", body.high), ("L", body.low)):
        line.append(f"  {label} {show(price)}")
    line.append("  C ")
    line.append(show(body.close), colour("buy" if rising else "sell"))
    return line.append(f"  V {body.volume:f} in {body.trades}")


def gaps(watched: Watched) -> Text:
    """Count the holes that the bridge knows of, and name the latest."""
    known = list(watched.gaps.values())
    latest = known[-1]
    states = [gap.state for gap in known]
    counts = ", ".join(f"{states.count(state)} {state}" for state in GapState if state in states)
    ids = f"{latest.first_id}" if latest.first_id == latest.last_id else f"{latest.first_id}-{latest.last_id}"
    return Text(
        f"gaps {counts}   latest {time_of(latest.end)[:8]} {latest.stream} {ids} {latest.state}",
        TROUBLE if latest.state != GapState.REPAIRED else "dim",
    )


def line_of(trade: Trade) -> str:
    """Write a trade as one plain line: time, instrument, side, price, size.

    It is the same whenever one began to watch, so its numbers are not padded to what came before.
    """
    day = datetime.fromtimestamp(trade.ts_event // SECOND_NS, UTC)
    name = f"{trade.venue}.{trade.market}.{trade.symbol.replace('/', '').lower()}"
    return (
        f"{day:%Y-%m-%d}T{time_of(trade.ts_event)}Z {name} {trade.aggressor} {trade.price:f} {trade.size:f}"
    )


def time_of(ts: int) -> str:
    """Write a time as ``12:34:56.789``, UTC."""
    if not ts:
        return ""
    milliseconds = ts % SECOND_NS // MILLISECOND_NS
    return f"{datetime.fromtimestamp(ts // SECOND_NS, UTC):%H:%M:%S}.{milliseconds:03}"


def _wrapped(text: str, width: int) -> list[Text]:
    """Break a sentence into lines."""
    lines: list[str] = [""]
    for word in text.split():
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [Text(line, "dim") for line in lines]


def _fit(line: Text, width: int) -> Text:
    line = line.copy()
    line.truncate(width, overflow="ellipsis", pad=True)
    return line
