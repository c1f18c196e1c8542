"""The process that a storm over the store kills: it sends events down the write path of `bridge run`.

Store, spool and upkeep come from the container, the buffer and its writers are those of a recording. It
begins behind what its journal says was accepted, so that what was accepted and then lost is never sent again,
and is missing at the end. What finds no room anywhere while the disk is full is dropped, as `bridge run` does
it, told as ranges of ids, and not in the journal: it is sent again once everything else was, or by the next
process.

On its standard input it hears how many events it may send, on standard output it says how things are.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.application.dropped import DroppedRange
from binance_proxy.application.keeping import Keeping, RecordSettings
from binance_proxy.application.ports import StoredEvent, StoreUnavailable
from binance_proxy.application.report import Report
from binance_proxy.bridge.config import Config, StoreConfig, TimescaleConfig
from binance_proxy.bridge.container import Container, Kept
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import BookSnapshot, TradeTick
from storm.sent import Journal, missing

TURN = 128
SAY_S = 0.02
GLANCE_S = 0.01
AGAIN_S = 0.2


class Order(msgspec.Struct, frozen=True):
    """What a recorder is started with."""

    url: str
    folder: str
    """The bridge's ``data_dir``."""
    journal: str
    seed: int
    events: int
    buffer: int
    """Weight from which on the buffer is full; a batch is a fifth of it."""
    sent: int
    """Earlier recorders have sent all up to this number."""


class Said(msgspec.Struct, kw_only=True):
    """How things are with a recorder. Counts are of events, and of this process."""

    phase: str = "opening"
    """``opening``, ``draining`` what an earlier one has left, ``recording``, ``done``."""
    state: str = ""
    """``storing``, ``spooling`` or ``stopped``, as `Keeping` says it."""
    sent: int = 0
    """All up to this number were put into the buffer, or were accepted before."""
    on_way: int = 0
    """Are in the buffer, or in a batch that is not accepted yet."""
    resent: int = 0
    """Had been sent before: they were dropped, or lost with a killed process."""
    waiting: int = 0
    """Wait in the spool."""
    spooled: int = 0
    drained: int = 0
    drained_new: int = 0
    set_aside: int = 0
    dropped: int = 0
    untold: int = 0
    """Were dropped, and no range tells of them though recording has gone on."""
    refusals: int = 0
    """Batches that neither the store nor the spool took."""


class Recorder:
    """Sends what its journal lacks."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._journal = Journal(Path(order.journal), order.events)
        self._said = Said()
        self._allowed = 0
        self._on_way: dict[int, int] = {}  # by the identity of an event that is on its way: its number
        self._dropped: list[StoredEvent] = []  # and not told of yet
        self._told: list[tuple[Instrument, Stream, DroppedRange]] = []

    async def run(self) -> None:
        """Send everything, and end when it is stored."""
        self._journal.open()
        order = self._order
        config = Config(
            data_dir=order.folder,
            store=StoreConfig(timescale=TimescaleConfig(url=order.url)),
            spool=SpoolSettings(patience_s=1.0, longest_pause_s=0.5),
            record=RecordSettings(buffer=order.buffer, batch=order.buffer // 5),
        )
        hearing = asyncio.create_task(self._hear())
        saying = asyncio.create_task(self._keep_saying())
        async with AsyncExitStack() as stack:
            kept = await self._open(Container(config=config, owner="a storm", attach=False), stack)
            assert kept.spool is not None
            self._kept = kept
            self._say("draining")
            await kept.spool.drained()
            self.keeping = Keeping(
                store=self,
                spool=kept.spool,
                settings=config.record,
                report=Report(),
                now=lambda: 0,
                on_change=self._check_told,
                on_dropped=lambda *told: self._told.append(told),
            )
            self._say("recording")
            await self._record(config.record)
            self._say("done")
        hearing.cancel()
        saying.cancel()

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Hand a batch to the store, and write into the journal that it was accepted."""
        try:
            new = await self._kept.store.append(events)
        except StoreUnavailable:
            self._said.refusals += 1
            raise
        self._journal.write(self._on_way.pop(id(event)) for event in events)
        return new

    async def _open(self, container: Container, stack: AsyncExitStack) -> Kept:
        """Open the store, and wait for it, as `bridge run` does."""
        while True:
            with suppress(StoreUnavailable):
                return await stack.enter_async_context(container.store())
            await asyncio.sleep(AGAIN_S)

    async def _record(self, settings: RecordSettings) -> None:
        writers = [asyncio.create_task(self.keeping.write()) for _ in range(settings.writers)]
        sending = asyncio.create_task(self._send_all())
        await asyncio.wait({sending, *writers}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            sending.cancel()
        else:
            self.keeping.buffer.close()
            await self.keeping.flushed(writers)
            await self._kept.spool.drained()  # also if the store was away a moment ago
        for task in (sending, *writers):
            if task.done():
                task.result()

    async def _send_all(self) -> None:
        while self._journal.kept.find(0) >= 0:
            accepted = self._journal.accepted
            await self._send_missing()
            while self._on_way:  # noqa: ASYNC110  nothing says when
                await asyncio.sleep(GLANCE_S)
            assert self._journal.accepted > accepted, "events were neither accepted nor dropped"
        self._said.sent = self._order.events

    async def _send_missing(self) -> None:
        buffer = self.keeping.buffer
        before = max(self._order.sent, self._said.sent)
        async for number, event in missing(self._order.seed, self._order.events, self._journal.kept):
            while number >= self._allowed:
                self._said.sent = number
                await asyncio.sleep(GLANCE_S)
            waiting = len(buffer)
            buffer.put(event)
            self._said.resent += number < before
            if len(buffer) == waiting:
                self._said.dropped += 1
                self._dropped.append(event)
            else:
                self._on_way[id(event)] = number
            self._said.sent = number + 1
            if buffer.is_full:
                await buffer.room()
            elif number % TURN == 0:
                await asyncio.sleep(0)

    def _check_told(self) -> None:
        """Once recording goes on, see that a range tells of each tick that was dropped."""
        if self.keeping.state == "stopped":
            return
        for event in self._dropped:
            if isinstance(event, BookSnapshot):  # another one comes; no gap tells of it
                continue
            trade = isinstance(event, TradeTick)
            stream = Stream.TRADES if trade else Stream.ORDERBOOK
            first, last = (event.trade_id,) * 2 if trade else (event.first_update_id, event.last_update_id)
            self._said.untold += not any(
                (instrument, told_of) == (event.instrument, stream)
                and told.first_id <= first
                and last <= told.last_id
                for instrument, told_of, told in self._told
            )
        self._dropped.clear()
        self._told.clear()

    async def _hear(self) -> None:
        """Learn how far to go. If nobody is there any more, end at once."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            self._allowed = int(line)
        os._exit(1)

    async def _keep_saying(self) -> None:
        while True:
            await asyncio.sleep(SAY_S)
            self._say(self._said.phase)

    def _say(self, phase: str) -> None:
        said = self._said
        said.phase = phase
        said.on_way = len(self._on_way)
        if phase not in ("opening", "draining"):
            said.state = self.keeping.state
        if phase != "opening":
            depth = self._kept.spool.depth()
            said.waiting, said.spooled, said.set_aside = depth.waiting, depth.spooled, depth.set_aside
            said.drained, said.drained_new = depth.drained, depth.drained_new
        os.write(1, msgspec.json.encode(said) + b"\n")


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # as `bridge run` has it
    asyncio.run(Recorder(msgspec.json.decode(sys.argv[1], type=Order)).run())
