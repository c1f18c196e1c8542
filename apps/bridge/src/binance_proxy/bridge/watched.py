"""What is shown of one instrument: its tape, its book, its open candle, its holes. No socket, no screen."""

from collections import deque
from dataclasses import dataclass

from binance_proxy.bridge.figures import Figures, Rate
from binance_proxy.client import (
    BookStale,
    BookView,
    Candle,
    Gap,
    Missed,
    OrderBook,
    Status,
    Trade,
    Traffic,
)

TAPE = 512
"""Entries of the tape that are kept."""
GAPS = 100
"""Gaps that are kept."""
RESTARTED = "the bridge was restarted"


@dataclass(frozen=True)
class Notice:
    """Something on the tape that is not a trade: what was missed, and when that was seen."""

    ts_event: int
    text: str


@dataclass(frozen=True)
class Trouble:
    """Why no book can be shown, in two sentences."""

    headline: str
    why: str


class Watched:
    """One instrument, as the client tells of it.

    Times named ``now`` are seconds of a clock that never runs backwards.
    """

    def __init__(self, name: str) -> None:
        """Begin with nothing: ``name`` as in ``binance.spot.ethusdt``."""
        self.name = name
        self.book = OrderBook()
        """Kept up to date by the client."""
        self.prices, self.sizes = Figures(), Figures()
        self.tape: deque[Trade | Notice] = deque(maxlen=TAPE)
        self.last: Trade | None = None
        self.candle: Candle | None = None
        self.gaps: dict[tuple[str, int], Gap] = {}
        """Holes that the bridge knows of, by stream and first id."""
        self.traffic = Traffic()
        self.rate = Rate()
        self._symbol = name.rpartition(".")[2].upper()
        self._status = Status()
        self._silence: str | None = None
        self._was_in_step = False

    @property
    def symbol(self) -> str:
        """``ETH/USDT``, or as in the topic until a message has said it."""
        return self._symbol

    def hear(self, status: Status, traffic: Traffic, silence: str | None, now: float) -> None:
        """Learn how the bridge is, what has come from it so far, and whether it is silent."""
        if self._status.epoch and self._status.epoch != status.epoch:  # the old ones are of another run
            self.last = self.candle = None
            self._notice(RESTARTED)
        self._status, self._silence = status, silence
        self.rate.add(now, max(0, traffic.messages - self.traffic.messages))
        self.traffic = traffic

    def take(self, event: Trade | Candle | Gap | Missed) -> None:
        """Take what comes of a stream."""
        if isinstance(event, Missed):
            if event.messages or event.ids or event.reason != RESTARTED:
                self._notice(missed(event))
            return
        self._symbol = event.symbol
        if isinstance(event, Trade):
            self.prices.read(event.price)
            self.sizes.read(event.size)
            if not event.off_book:
                self.last = event
            self.tape.append(event)
        elif isinstance(event, Candle):
            for price in (event.open, event.high, event.low, event.close):
                self.prices.read(price)
            self.candle = event
        else:
            self.gaps.pop((event.stream, event.first_id), None)  # the newest news stands last
            self.gaps[event.stream, event.first_id] = event
            if len(self.gaps) > GAPS:
                del self.gaps[next(iter(self.gaps))]

    def book_changed(self) -> None:
        """Put on the tape why the book fell out of step, if it did."""
        reason = self.book.reason
        if reason is not None and self._was_in_step:
            self._notice(f"book: {reason}")
        self._was_in_step = reason is None

    def look(self, levels: int) -> BookView | Trouble:
        """Return the best levels of the book, or why there is none that can be shown."""
        if self._silence is not None:
            return Trouble(self._silence, "has the bridge stopped?")
        state = self._status.instruments.get(self.name)
        headline = "out of step, waiting for a snapshot"
        if state is None:
            return Trouble(headline, "the bridge does not record this pair now")
        try:
            view = self.book.view(levels)
        except BookStale:
            return Trouble(headline, self.book.reason or "it was out of step a moment ago")
        if state != "in step":
            return Trouble(headline, "the bridge itself waits for one")
        for price, size in (*view.bids, *view.asks):
            self.prices.read(price)
            self.sizes.read(size)
        return view

    def _notice(self, text: str) -> None:
        ts_event = self.last.ts_event if self.last else self._status.ts_recv
        self.tape.append(Notice(ts_event, text))


def missed(event: Missed) -> str:
    """Say what was missed, such as ``missed 3 messages of trades: ...``."""
    stream = ".".join(event.topic.split(".")[3:])
    if event.messages:
        what = "1 message" if event.messages == 1 else f"{event.messages} messages"
    else:
        trades = sum(last - first + 1 for first, last in event.ids)
        what = f"up to {trades} ids" if trades else "some"
    return f"missed {what} of {stream}: {event.reason}"
