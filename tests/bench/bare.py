"""The bare loop: what a script of the same libraries does with raw frames, and no more.

Decode, int conversion, a book of one dict and one sorted list a side, encode, send. It sends the very bytes
that the bridge sends for trades and updates, and does nothing else: no sequence check, no candles, no store,
no error for a number that does not fit, no second encoding, no second pair.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

import msgspec
import zmq

Frames = Sequence[tuple[int, bytes]]
PRICE = SIZE = 1e8


class _Text(msgspec.Struct, gc=False):
    e: str
    U: int = 0
    u: int = 0
    E: int = 0
    b: list[tuple[str, str]] = []
    a: list[tuple[str, str]] = []


class _TextFrame(msgspec.Struct, gc=False):
    data: _Text


class _Float(msgspec.Struct, gc=False):
    e: str
    U: int = 0
    u: int = 0
    E: int = 0
    b: list[tuple[float, float]] = []
    a: list[tuple[float, float]] = []


class _FloatFrame(msgspec.Struct, gc=False):
    data: _Float


class _Trade(msgspec.Struct, gc=False):
    t: int
    p: str
    q: str
    T: int
    m: bool


class _TradeFrame(msgspec.Struct, gc=False):
    data: _Trade


class _TradeBody(msgspec.Struct, gc=False, tag_field="type", tag="trade"):
    venue: str
    market: str
    symbol: str
    epoch: str
    sequence: int
    ts_event: int
    ts_recv: int
    trade_id: int
    price: str
    size: str
    aggressor: str


class _QuoteBody(msgspec.Struct, gc=False, tag_field="type", tag="quote"):
    venue: str
    market: str
    symbol: str
    epoch: str
    sequence: int
    ts_event: int
    ts_recv: int
    first_update_id: int
    last_update_id: int
    bids: object
    asks: object


class _Side:
    def __init__(self, sign: int) -> None:
        self.sign, self.sizes, self.prices = sign, {}, []

    def apply(self, levels: Sequence[tuple[int, int]]) -> None:
        sizes, prices, sign = self.sizes, self.prices, self.sign
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(prices, sign * price)
                sizes[price] = size
            elif sizes.pop(price, 0):
                del prices[bisect_left(prices, sign * price)]


def _units(text: str) -> int:
    return int(text.replace(".", ""))  # Binance spot always prints eight decimals


def _shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".")


def _text(number: float) -> str:
    text = repr(number)
    return text[:-2] if text.endswith(".0") else text if "e" not in text else f"{number:.8f}".rstrip("0")


def text_loop(frames: Frames, socket: zmq.Socket) -> None:
    """Keep numbers as text for the output, and make ints of them for the book."""
    _loop(
        frames,
        socket,
        msgspec.json.Decoder(_TextFrame).decode,
        lambda levels: [(_units(price), _units(size)) for price, size in levels],
        lambda _, levels: [(_shortest(price), _shortest(size)) for price, size in levels],
    )


def float_loop(frames: Frames, socket: zmq.Socket) -> None:
    """Decode numbers as floats in C, scale them by round, and write ints as text again."""

    def texts(levels: Sequence[tuple[int, int]], _: object) -> object:
        return [(_text(price / PRICE), _text(size / SIZE)) for price, size in levels]

    _loop(
        frames,
        socket,
        msgspec.json.Decoder(_FloatFrame, strict=False).decode,
        lambda levels: [(round(price * PRICE), round(size * SIZE)) for price, size in levels],
        texts,
    )


def _loop(
    frames: Frames,
    socket: zmq.Socket,
    decode_depth: Callable[[bytes], object],
    to_ints: Callable[[object], Sequence[tuple[int, int]]],
    to_output: Callable[[Sequence[tuple[int, int]], object], object],
) -> None:
    decode_trade = msgspec.json.Decoder(_TradeFrame).decode
    encode = msgspec.json.Encoder().encode
    bids, asks = _Side(1), _Side(-1)
    trades = quotes = 0
    for ts_recv, raw in frames:
        if b"@trade" in raw[:40]:
            trade = decode_trade(raw).data
            price, size = _units(trade.p), _units(trade.q)
            assert price
            assert size
            trades += 1
            body = _TradeBody(
                "binance",
                "spot",
                "BTC/USDT",
                "epoch",
                trades,
                trade.T * 1_000_000,
                ts_recv,
                trade.t,
                _shortest(trade.p),
                _shortest(trade.q),
                "sell" if trade.m else "buy",
            )
            socket.send(b"binance.spot.btcusdt.trades", zmq.SNDMORE)
            socket.send(encode(body))
        elif b"@depth" in raw[:40]:
            depth = decode_depth(raw).data
            bid_levels, ask_levels = to_ints(depth.b), to_ints(depth.a)
            bids.apply(bid_levels)
            asks.apply(ask_levels)
            quotes += 1
            body = _QuoteBody(
                "binance",
                "spot",
                "BTC/USDT",
                "epoch",
                quotes,
                depth.E * 1_000_000,
                ts_recv,
                depth.U,
                depth.u,
                to_output(bid_levels, depth.b),
                to_output(ask_levels, depth.a),
            )
            socket.send(b"binance.spot.btcusdt.orderbook", zmq.SNDMORE)
            socket.send(encode(body))
