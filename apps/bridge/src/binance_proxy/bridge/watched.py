"""What is known of one instrument from its published messages alone. No socket, no clock, no screen."""

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from binance_proxy.adapters.zeromq.bodies import (
    CandleBody,
    GapBody,
    QuoteBody,
    SnapshotBody,
    StaleBody,
    TradeBody,
)
from binance_proxy.adapters.zeromq.cloudevents import bare_json
from binance_proxy.adapters.zeromq.publisher import STATUS
from binance_proxy.bridge.figures import PRECISION, Figures, Rate
from binance_proxy.domain.book_sync import BookSync
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import (
    BookSnapshot,
    Levels,
    QuoteTick,
    Side,
    TradeTick,
    check_quote,
    check_trade,
)

TAPE = 512
"""Entries of the tape that are kept."""
GAPS = 100
"""Gaps that are kept."""
SILENCE_S = 5.0
"""A bridge says how it is once a second; after so long without a word it counts as gone."""

_Message: TypeAlias = TradeBody | QuoteBody | SnapshotBody | CandleBody | GapBody | StaleBody
_read_message = msgspec.json.Decoder(_Message).decode
_read_levels = msgspec.json.Decoder(list[tuple[str, str]]).decode


class Status(Struct, tag_field="type", tag="status"):
    """What is read of ``bridge.status``."""

    epoch: str
    instruments: dict[str, str] = {}
    """``in step`` or ``stale`` by the name of the instrument."""


read_status = msgspec.json.Decoder(Status).decode


@dataclass(frozen=True)
class Notice:
    """Something on the tape that is not a trade: what was missed, and when that was seen."""

    ts_event: int
    text: str


class Watched:
    """The tape, the book and the open candle of one instrument, out of its messages.

    Times named ``now`` are seconds of a clock that never runs backwards.
    """

    def __init__(self, name: str, streams: tuple[str, ...], now: float) -> None:
        """Begin to listen: ``name`` as in ``binance.spot.ethusdt``, streams as in ``trades``."""
        self.name = name
        self.topics = frozenset(f"{name}.{stream}".encode() for stream in streams)
        self.prices, self.sizes = Figures(), Figures()
        self.tape: deque[TradeTick | Notice] = deque(maxlen=TAPE)
        self.entries = 0
        """How many were ever put on the tape."""
        self.gaps: dict[tuple[str, int], GapBody] = {}
        """Holes that the bridge knows of, by stream and first id."""
        self.rate = Rate()
        self.messages = self.holes = self.unreadable = 0
        """Holes are those in ``sequence``: what the bridge sent and we did not get."""
        self._instrument: Instrument | None = None
        self._heard = now
        self._epoch: str | None = None
        self._begin("none has come yet")

    def _begin(self, why: str) -> None:
        """Forget what only one run of a bridge can vouch for."""
        self.last: TradeTick | None = None
        self.candle: CandleBody | None = None
        self._sequences: dict[bytes, int] = {}
        self._sync = BookSync(trusting=True)
        self._why = why

    @property
    def symbol(self) -> str:
        """``ETH/USDT``, or as in the topic until a message has said it."""
        return self.name.rpartition(".")[2].upper() if self._instrument is None else self._instrument.symbol

    @property
    def book(self) -> OrderBook | None:
        """The book while it is in step, else `None`."""
        return self._sync.book

    def trouble(self, now: float) -> tuple[str, str] | None:
        """Say in two sentences why no book can be shown, or `None` if it can."""
        silent_s = now - self._heard
        if silent_s >= SILENCE_S:
            return f"nothing heard for {silent_s:.0f} s", "has the bridge stopped?"
        if self.book is None:
            return "out of step, waiting for a snapshot", self._why
        return None

    def take(self, topic: bytes, body: bytes, now: float) -> None:
        """Take one message, in an envelope of CloudEvents or without one.

        A subscription is a prefix, so messages of other topics come too: those are nothing to us. A body
        that cannot be read is counted and skipped, and the book is given up if it was about the book.
        """
        try:
            if topic == STATUS.encode():
                self._heard = now
                self._status(read_status(bare_json(body)))
            elif topic in self.topics:
                self._heard = now
                self.messages += 1
                self.rate.add(now)
                self._message(topic, _read_message(bare_json(body)))
        except (msgspec.MsgspecError, ValueError) as error:
            self.unreadable += 1
            if topic.endswith(b".orderbook"):
                self._lose_step(f"a message cannot be read: {error}")

    def _status(self, status: Status) -> None:
        self._follow_run(status.epoch, 0)
        state = status.instruments.get(self.name)
        if state is None:
            self._lose_step("the bridge does not record this pair now")
        elif state != "in step":
            self._lose_step("the bridge itself waits for one")

    def _message(self, topic: bytes, message: _Message) -> None:
        self._follow_run(message.epoch, message.ts_event)
        last = self._sequences.get(topic, message.sequence - 1)
        if message.sequence <= last:
            return
        self._sequences[topic] = message.sequence
        if message.sequence > last + 1:
            self._hole(topic, message.sequence - last - 1, message.ts_event)
        if isinstance(message, TradeBody):
            self._trade(message)
        elif isinstance(message, QuoteBody):
            self._quote(message)
        elif isinstance(message, SnapshotBody):
            self._snapshot(message)
        elif isinstance(message, CandleBody):
            for price in (message.open, message.high, message.low, message.close):
                self.prices.read(price)  # so that drawing it cannot fail
            self.candle = message
        elif isinstance(message, StaleBody):
            self._lose_step(message.reason)
        else:
            self._gap(message)

    def _follow_run(self, epoch: str, ts_event: int) -> None:
        """Start over if the bridge has: its sequences begin anew, and nobody knows what it sent meanwhile."""
        if self._epoch not in (None, epoch):
            self._begin("the bridge was restarted")
            self._enter(Notice(ts_event, "the bridge was restarted"))
        self._epoch = epoch

    def _hole(self, topic: bytes, missed: int, ts_event: int) -> None:
        self.holes += 1
        stream = topic[len(self.name) + 1 :].decode()
        messages = "1 message" if missed == 1 else f"{missed} messages"
        self._enter(Notice(ts_event, f"missed {messages} of {stream}"))
        if stream == Stream.ORDERBOOK:
            self._lose_step(f"missed {messages}")

    def _lose_step(self, why: str) -> None:
        self._sync.lose_step()
        self._why = why

    def _trade(self, body: TradeBody) -> None:
        trade = check_trade(
            TradeTick(
                instrument=self._instrument_of(body),
                ts_event=body.ts_event,
                ts_recv=body.ts_recv,
                trade_id=body.trade_id,
                price=self.prices.read(body.price),
                size=self.sizes.read(body.size),
                aggressor=Side(body.aggressor),
                off_book=body.off_book,
            )
        )
        if not trade.off_book:
            self.last = trade
        self._enter(trade)

    def _quote(self, body: QuoteBody) -> None:
        quote = check_quote(
            QuoteTick(
                instrument=self._instrument_of(body),
                ts_event=body.ts_event,
                ts_recv=body.ts_recv,
                first_update_id=body.first_update_id,
                last_update_id=body.last_update_id,
                previous_update_id=body.previous_update_id,
                bids=self._levels(body.bids),
                asks=self._levels(body.asks),
            )
        )
        try:
            self._sync.update(quote)
        except BookStale as error:
            self._why = str(error)

    def _snapshot(self, body: SnapshotBody) -> None:
        snapshot = BookSnapshot(
            instrument=self._instrument_of(body),
            ts_event=body.ts_event,
            ts_recv=body.ts_recv,
            last_update_id=body.last_update_id,
            bids=self._levels(body.bids),
            asks=self._levels(body.asks),
        )
        try:
            self._sync.snapshot(snapshot)
        except BookStale as error:
            self._lose_step(str(error))

    def _gap(self, body: GapBody) -> None:
        self.gaps.pop((body.stream, body.first_id), None)  # the newest news stands last
        self.gaps[body.stream, body.first_id] = body
        if len(self.gaps) > GAPS:
            del self.gaps[next(iter(self.gaps))]

    def _levels(self, levels: Raw) -> Levels:
        return tuple((self.prices.read(price), self.sizes.read(size)) for price, size in _read_levels(levels))

    def _instrument_of(self, body: TradeBody | QuoteBody | SnapshotBody) -> Instrument:
        if self._instrument is None:
            self._instrument = Instrument(
                venue=body.venue,
                market=Market(body.market),
                symbol=body.symbol,
                price_precision=PRECISION,
                size_precision=PRECISION,
            )
        return self._instrument

    def _enter(self, entry: TradeTick | Notice) -> None:
        self.tape.append(entry)
        self.entries += 1
