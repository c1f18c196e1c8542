"""A bridge in a test: a real publisher, a request side of its own, and what was truly published."""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from binance_proxy.adapters.memory.publisher import MemoryPublisher, topic_of
from binance_proxy.adapters.zeromq.publisher import ZmqPublisher, open_publisher
from binance_proxy.application.ports import PublishedEvent
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, StaleBook, TradeTick

RECALLED = 1_000
Levels = tuple[tuple[Decimal, Decimal], ...]


class Venue:
    """Publishes on a real socket, and remembers everything that a request side answers from."""

    def __init__(self, publisher: ZmqPublisher, epoch: str, past: "Venue | None", ring: int) -> None:
        self.publisher = publisher
        self.epoch = epoch
        self.ring = ring
        """Messages of each topic that ``topics.since`` remembers."""
        self._memory = MemoryPublisher(epoch)
        self._said = self._memory.listen("")
        self.published: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.books: dict[str, OrderBook] = {}
        self.truth: dict[tuple[str, int], tuple[Levels, Levels]] = {} if past is None else past.truth
        """The book of each topic at each update id that it ever had."""
        self.trades: dict[int, dict[str, Any]] = {} if past is None else past.trades
        """What the store has, by id."""
        self.newcomers = publisher.newcomers
        self.dropped = 0.0
        """The chance of a message to vanish on its way; it has its number, and the ring has it."""
        self.drops = 0
        self._chance = random.Random(1)

    def publish(self, event: PublishedEvent) -> None:
        topic = topic_of(event)
        self._memory.publish(event)
        _, body = self._said.pop()
        self.published[topic].append(body)
        if self._chance.random() < self.dropped:
            self.publisher._topic(topic).sequence += 1
            self.drops += 1
        else:
            self.publisher.publish(event)
        if isinstance(event, TradeTick):
            self.trades[event.trade_id] = body
        elif isinstance(event, BookSnapshot):
            self.books[topic] = OrderBook(event)
        elif isinstance(event, QuoteTick):
            self.books[topic].apply(event)
        elif isinstance(event, StaleBook):
            self.books.pop(topic, None)
        if isinstance(event, BookSnapshot | QuoteTick):
            book = self.books[topic]
            self.truth[topic, book.last_update_id] = (self._levels(book, 0), self._levels(book, 1))

    def publish_status(self, status: dict[str, object]) -> None:
        self.publisher.publish_status(status)

    @staticmethod
    def _levels(book: OrderBook, side: int) -> Levels:
        one = book.instrument
        return tuple(
            (Decimal(to_text(price, one.price_precision)), Decimal(to_text(size, one.size_precision)))
            for price, size in book.depth()[side]
        )

    def answer(self, method: str, params: dict[str, Any]) -> object:
        if method == "orderbook.get":
            return self._book(f"{params['venue']}.{params['market']}.{_plain(params['symbol'])}.orderbook")
        if method == "topics.since":
            return self._since(params["topic"], params["epoch"], params["sequence"])
        if method == "trades.list":
            return self._trades(params)
        raise KeyError(method)

    def _book(self, topic: str) -> object:
        book = self.books.get(topic)
        if book is None:
            raise Refused(-32005, "BookStale", "the book is out of step", retry=True)
        bids, asks = (self._levels(book, side) for side in (0, 1))
        return {
            "venue": book.instrument.venue, "market": str(book.instrument.market),
            "symbol": book.instrument.symbol, "epoch": self.epoch,
            "sequence": len(self.published[topic]), "last_update_id": book.last_update_id,
            "ts_event": book.ts_event, "ts_recv": book.ts_recv,
            "bids": [[str(price), str(size)] for price, size in bids],
            "asks": [[str(price), str(size)] for price, size in asks],
        }  # fmt: skip

    def _since(self, topic: str, epoch: str, sequence: int) -> object:
        published = self.published[topic]
        newest = len(published)
        if epoch != self.epoch or not newest - self.ring <= sequence <= newest:
            return {"epoch": self.epoch, "sequence": newest, "messages": None, "more": False}
        messages = published[sequence : sequence + RECALLED]
        more = sequence + len(messages) < newest
        return {"epoch": self.epoch, "sequence": newest, "messages": messages, "more": more}

    def _trades(self, params: dict[str, Any]) -> object:
        start, end = params.get("start", 0), params.get("end", 2**63 - 1)
        rows = [
            {key: value for key, value in body.items() if key not in {"type", "epoch", "sequence"}}
            for body in self.trades.values()
            if start <= body["ts_event"] < end and _plain(body["symbol"]) == _plain(params["symbol"])
        ]
        rows.sort(key=lambda row: (row["ts_event"], row["trade_id"]))
        first, limit = int(params.get("cursor", 0)), params.get("limit", 1_000)
        some = rows[first : first + limit]
        more = first + limit < len(rows)
        return {
            "rows": some, "next": str(first + limit) if more else None, "holes": [], "as_of": 1,
            "stored": True,
        }  # fmt: skip


def _plain(symbol: str) -> str:
    return symbol.replace("/", "").lower()


class Refused(Exception):
    """An error as the protocol has it."""

    def __init__(self, code: int, kind: str, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": {"kind": kind, "retry": retry}}


class Front:
    """A ROUTER that answers from a venue, or from functions that a test puts there."""

    def __init__(self) -> None:
        self.venue: Venue | None = None
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.is_deaf = False
        """Takes requests and answers none."""

    async def serve(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            identity, *envelope, body = await socket.recv_multipart()
            request = msgspec.msgpack.decode(body)
            self.asked.append((request["method"], request["params"]))
            if self.is_deaf or "id" not in request:
                continue
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
            more: list[bytes] = []
            try:
                own = self.answers.get(request["method"])
                if own is not None:
                    answer["result"] = own(request["params"])
                    if isinstance(answer["result"], tuple):
                        answer["result"], *more = answer["result"]
                elif self.venue is not None:
                    answer["result"] = self.venue.answer(request["method"], request["params"])
            except Refused as refused:
                answer["error"] = refused.error
            except KeyError as error:
                answer["error"] = {"code": -32601, "message": f"no such method: {error}", "data": {}}
            await socket.send_multipart([identity, *envelope, msgspec.msgpack.encode(answer), *more])


@asynccontextmanager
async def serving(address: str) -> AsyncIterator[Front]:
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(address)
    front = Front()
    task = asyncio.create_task(front.serve(socket))
    try:
        yield front
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        context.destroy(linger=0)


@asynccontextmanager
async def publishing(
    json: str, msgpack: str, *, epoch: str, past: Venue | None = None, ring: int = 10_000, **more: Any
) -> AsyncIterator[Venue]:
    given = {"high_water": 100_000, "linger_s": 0.0} | more
    async with open_publisher(json=json, msgpack=msgpack, epoch=epoch, **given) as publisher:
        yield Venue(publisher, epoch, past, ring)


class Wires:
    """A network between a client and a bridge: cut, drop what passes, swallow everything."""

    def __init__(self, target: str) -> None:
        self.host, port = target.removeprefix("tcp://").rsplit(":", 1)
        self.port = int(port)
        self.swallows = False
        """Takes what comes and passes nothing on, as a dead link does."""
        self.refuses = False
        """Ends each new connection at once."""
        self.cuts = self.swallowed = self.refused = 0
        self.address = ""
        self._generation = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator["Wires"]:
        async with AsyncExitStack() as stack:
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            stack.callback(server.close)
            self.address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                yield self
            finally:
                self.cut()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection in the middle of whatever it does."""
        self.cuts += bool(self._writers)
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def forget(self) -> None:
        """Pass on nothing more of the connections there are, for ever, and tell neither end."""
        self._generation += 1

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            there_reader, there = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there}
        for source, sink in ((reader, there), (there_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        generation = self._generation
        with contextlib.suppress(OSError), contextlib.closing(sink):
            while chunk := await source.read(65_536):
                if generation != self._generation:
                    self.swallowed += 1
                    continue
                while self.swallows:
                    self.swallowed += 1
                    await asyncio.sleep(0.02)
                sink.write(chunk)
                await sink.drain()
