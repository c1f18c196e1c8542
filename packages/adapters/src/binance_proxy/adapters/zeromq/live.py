"""The `Live` port between the processes of one bridge: a ROUTER in the recorder, a DEALER in each worker.

The recorder's time is worth most. So a book goes as the integers that it is made of, in MessagePack, and
those who ask make text of it. Each question has a number and each answer the same, so that many can be on
their way at once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, TypeVar, cast

import msgspec
import zmq
import zmq.asyncio
from msgspec import Raw, Struct
from msgspec.structs import astuple
from zmq.utils.monitor import recv_monitor_message

from binance_proxy.application.alongside import alongside
from binance_proxy.application.ports import CaughtUp, Live, LiveBook, LiveUnavailable, Recalled
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, Levels

log = logging.getLogger(__name__)

MOST_WAITING = 1_000
"""Questions that the recorder works on at a time; one more is refused."""
LONGEST_QUESTION = 100_000
"""Bytes."""
PATIENCE_S = 5.0
FAR_AHEAD = 2**63 - 1
"""No topic gets there, and MessagePack has no larger numbers."""
LINGER_MS = 200

Result = TypeVar("Result")


class _Question(Struct, array_like=True, frozen=True):
    number: int


class _AskBook(_Question, tag="book", frozen=True):
    instrument: Instrument
    levels: int | None


class _AskSince(_Question, tag="since", frozen=True):
    topic: str
    epoch: str
    sequence: int


class _AskStatus(_Question, tag="status", frozen=True):
    pass


class _AskCatchUp(_Question, tag="catch_up", frozen=True):
    instrument: Instrument
    fetch: tuple[int, int] | None
    before: int | None
    limit_s: float


class _Answer(Struct, array_like=True, frozen=True):
    number: int
    stale: str | None
    """Why there is no book, if that is so."""
    failed: str | None
    """Why there is no answer at all."""
    result: Raw = Raw(b"\xc0")


class _Book(Struct, array_like=True, frozen=True):
    """A `LiveBook` without its instrument, which is known to those who asked."""

    epoch: str
    sequence: int
    ts_event: int
    ts_recv: int
    last_update_id: int
    bids: Levels
    asks: Levels


_encode = msgspec.msgpack.Encoder().encode
_read_question: Callable[[bytes], _Question] = msgspec.msgpack.Decoder(
    _AskBook | _AskSince | _AskStatus | _AskCatchUp
).decode
_read_answer = msgspec.msgpack.Decoder(_Answer).decode
_read_book = msgspec.msgpack.Decoder(_Book).decode
_read_recalled = msgspec.msgpack.Decoder(Recalled).decode
_read_status = msgspec.msgpack.Decoder(dict[str, Any]).decode
_read_caught_up = msgspec.msgpack.Decoder(CaughtUp).decode


class LiveSocket:
    """Answers the questions of the other processes. What cannot be read is counted, and else ignored."""

    def __init__(self, socket: "zmq.asyncio.Socket", live: Live) -> None:
        """Take a bound ROUTER; `open_live_socket` makes it."""
        self.unreadable = 0
        """Questions that could not be read."""
        self._socket = socket
        self._live = live
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: dict[str, object] | None = None
        self._written = Raw()
        """The status that was said last, and as it was written down."""

    async def run(self) -> None:
        """Answer without end."""
        while True:
            peer, *frames = await self._socket.recv_multipart()
            try:
                [frame] = frames
                question = _read_question(frame)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                self.unreadable += 1
                if self.unreadable == 1:
                    log.warning("a question to the recording cannot be read: %s", error)
                continue
            if len(self._tasks) >= MOST_WAITING:
                await self._say(peer, _Answer(question.number, None, "too much is asked of the recording"))
            else:
                task = asyncio.create_task(self._answer(peer, question))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Answer nobody any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, peer: bytes, question: _Question) -> None:
        try:
            answer = _Answer(question.number, None, None, await self._written_result(question))
        except BookStale as error:
            answer = _Answer(question.number, str(error), None)
        except LiveUnavailable as error:
            answer = _Answer(question.number, None, str(error))
        except Exception as error:
            log.exception("a question to the recording failed")
            answer = _Answer(question.number, None, f"the recording failed to answer: {type(error).__name__}")
        await self._say(peer, answer)

    async def _written_result(self, question: _Question) -> Raw:
        result = await self._result(question)
        if not isinstance(question, _AskStatus):
            return Raw(_encode(result))
        if result is not self._said:
            self._said, self._written = cast("dict[str, object]", result), Raw(_encode(result))
        return self._written

    async def _result(self, question: _Question) -> object:
        if isinstance(question, _AskBook):
            found = await self._live.book(question.instrument, question.levels)
            book = found.book
            return _Book(
                found.epoch,
                found.sequence,
                book.ts_event,
                book.ts_recv,
                book.last_update_id,
                book.bids,
                book.asks,
            )
        if isinstance(question, _AskSince):
            return await self._live.since(question.topic, question.epoch, question.sequence)
        if isinstance(question, _AskCatchUp):
            _, instrument, fetch, before, limit_s = astuple(question)
            return await self._live.catch_up(instrument, fetch, before=before, limit_s=limit_s)
        return await self._live.status()

    async def _say(self, peer: bytes, answer: _Answer) -> None:
        """Send an answer; a ROUTER drops what is for somebody who has gone or does not read."""
        await self._socket.send_multipart([peer, _encode(answer)])


@asynccontextmanager
async def open_live_socket(live: Live, address: str) -> AsyncIterator[LiveSocket]:
    """Let other processes ask a recording until the block is left.

    Args:
        live: The recording.
        address: Such as ``ipc:///run/bridge/live``; whoever may connect to it may ask.
    """
    context = zmq.asyncio.Context()
    try:
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.MAXMSGSIZE, LONGEST_QUESTION)
        socket.bind(address)
        answering = LiveSocket(socket, live)
        try:
            async with alongside(answering.run()):
                yield answering
        finally:
            await answering.end()
    finally:
        context.destroy(linger=LINGER_MS)


class RemoteLive:
    """The `Live` port over a recording in another process."""

    def __init__(self, socket: "zmq.asyncio.Socket", patience_s: float) -> None:
        """Take a connected DEALER; `open_remote_live` makes it."""
        self._socket = socket
        self._patience_s = patience_s
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[_Answer]] = {}
        self._wanted: dict[tuple[Instrument, int | None], asyncio.Task[LiveBook]] = {}
        self._on_their_way: dict[tuple[Instrument, int | None], asyncio.Task[LiveBook]] = {}

    async def book(self, instrument: Instrument, levels: int | None = None) -> LiveBook:
        """Return the book as it is, with the best so many levels of each side.

        All who ask for the same at once share one question. Nobody gets the answer to a question that was
        on its way before: that book may be older than what the asker has seen already.

        Raises:
            BookStale: The book is out of step, or the instrument is not recorded. The message says which.
            LiveUnavailable: The recording does not answer.
        """
        wanted = instrument, levels
        shared = self._wanted.get(wanted)
        if shared is None:
            shared = self._wanted[wanted] = asyncio.create_task(self._book(instrument, levels))
            shared.add_done_callback(_look_at)
        return await asyncio.shield(shared)

    async def since(self, topic: str, epoch: str, sequence: int) -> Recalled:
        """Return what was published on a topic behind a sequence of a run, at most `RECALLED` messages.

        Raises:
            LiveUnavailable: The recording does not answer.
        """
        sequence = max(-1, min(sequence, FAR_AHEAD))
        question = _AskSince(next(self._numbers), topic, epoch, sequence)
        return _read_recalled(await self._ask(question))

    async def status(self) -> dict[str, object]:
        """Return how the recording is, as ``bridge.status`` tells it.

        Raises:
            LiveUnavailable: The recording does not answer.
        """
        return _read_status(await self._ask(_AskStatus(next(self._numbers))))

    async def catch_up(
        self,
        instrument: Instrument,
        fetch: tuple[int, int] | None = None,
        *,
        before: int | None = None,
        limit_s: float,
    ) -> CaughtUp:
        """Wait until everything that was recorded so far is in the store, but no longer than ``limit_s``.

        Raises:
            LiveUnavailable: The recording does not answer.
        """
        question = _AskCatchUp(next(self._numbers), instrument, fetch, before, limit_s)
        return _read_caught_up(await self._ask(question, self._patience_s + limit_s))

    async def read(self) -> None:
        """Hand each answer to those who wait for it, without end."""
        while True:
            frames = await self._socket.recv_multipart()
            with suppress(msgspec.MsgspecError):
                answer = _read_answer(frames[-1])
                waiting = self._asked.get(answer.number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)

    async def watch(self, monitor: "zmq.asyncio.Socket") -> None:
        """Answer everybody who waits that the recording is gone, whenever it is; without end."""
        while True:
            await recv_monitor_message(monitor)
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(LiveUnavailable("the recording has gone"))

    def end(self) -> None:
        """Answer everybody who waits that there is no more to come."""
        for task in (*self._wanted.values(), *self._on_their_way.values()):
            task.cancel()

    async def _book(self, instrument: Instrument, levels: int | None) -> LiveBook:
        wanted = instrument, levels
        before = self._on_their_way.get(wanted)
        try:
            if before is not None:
                await asyncio.wait({before})
            else:
                await asyncio.sleep(0)  # so that all who ask in this turn of the loop are here
        finally:
            mine = self._wanted.pop(wanted)
        self._on_their_way[wanted] = mine
        try:
            found = _read_book(await self._ask(_AskBook(next(self._numbers), instrument, levels)))
        finally:
            del self._on_their_way[wanted]
        book = BookSnapshot(
            instrument=instrument,
            ts_event=found.ts_event,
            ts_recv=found.ts_recv,
            last_update_id=found.last_update_id,
            bids=found.bids,
            asks=found.asks,
        )
        return LiveBook(book=book, epoch=found.epoch, sequence=found.sequence)

    async def _ask(self, question: _Question, patience_s: float | None = None) -> Raw:
        try:
            body = _encode(question)
        except OverflowError as error:  # no recording knows of such numbers
            raise LiveUnavailable("the recording cannot be asked that: a number is too large") from error
        waiting = self._asked[question.number] = asyncio.get_running_loop().create_future()
        try:
            answer = await self._within(patience_s or self._patience_s, self._exchange(body, waiting))
        finally:
            del self._asked[question.number]
        if answer.stale is not None:
            raise BookStale(answer.stale)
        if answer.failed is not None:
            raise LiveUnavailable(answer.failed)
        return answer.result

    async def _exchange(self, body: bytes, waiting: "asyncio.Future[_Answer]") -> _Answer:
        await self._socket.send(body)
        return await waiting

    async def _within(self, patience_s: float, act: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(patience_s):
                return await act
        except TimeoutError:
            raise LiveUnavailable(f"the recording has not answered within {patience_s:g} s") from None


def _look_at(task: "asyncio.Task[LiveBook]") -> None:
    """Take note of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


@asynccontextmanager
async def open_remote_live(address: str, patience_s: float = PATIENCE_S) -> AsyncIterator[RemoteLive]:
    """Ask a recording in another process until the block is left; connects again by itself.

    Args:
        address: Where its `LiveSocket` is.
        patience_s: How long an answer may take before the recording counts as unavailable.
    """
    context = zmq.asyncio.Context()
    try:
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing is kept for a recorder that is not there
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.connect(address)
        live = RemoteLive(socket, patience_s)
        tasks = [asyncio.create_task(live.read()), asyncio.create_task(live.watch(monitor))]
        try:
            yield live
        finally:
            live.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            socket.disable_monitor()
    finally:
        context.destroy(linger=0)
