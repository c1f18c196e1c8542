"""The live socket: what is broken harms nobody, and a recorder that is away is told as that."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
import zmq
import zmq.asyncio

from binance_proxy.adapters.zeromq import live as live_module
from binance_proxy.adapters.zeromq.live import open_live_socket, open_remote_live
from binance_proxy.application.ports import CaughtUp, LiveBook, LiveUnavailable, Recalled
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument
from contract.live import ETH, PATIENCE_S, SOL, snapshot, until


class Scripted:
    """A `Live` recording that counts what it is asked, and answers when it may."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: Exception | None = None

    async def _take(self, *asked: object) -> None:
        self.asked.append(asked)
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails

    async def book(self, instrument: Instrument, levels: int | None = None) -> LiveBook:
        await self._take("book", instrument, levels)
        return LiveBook(book=snapshot(len(self.asked)), epoch="e1", sequence=len(self.asked))

    async def since(self, topic: str, epoch: str, sequence: int) -> Recalled:
        await self._take("since", topic, epoch, sequence)
        return Recalled(epoch=epoch, sequence=sequence, messages=[{"topic": topic}])

    async def status(self) -> dict[str, object]:
        await self._take("status")
        return {"number": len(self.asked)}

    async def catch_up(
        self,
        instrument: Instrument,
        fetch: tuple[int, int] | None = None,
        *,
        before: int | None = None,
        limit_s: float,
    ) -> CaughtUp:
        await self._take("catch_up", instrument, fetch, limit_s)
        return CaughtUp(stored=True)


@pytest.fixture
def address() -> AsyncIterator[str]:
    with TemporaryDirectory() as folder:
        yield f"ipc://{Path(folder) / 'live'}"


async def test_a_thousand_questions_at_once_get_each_its_own_answer(address: str) -> None:
    scripted = Scripted()
    async with open_live_socket(scripted, address), open_remote_live(address, PATIENCE_S) as live:
        answers = await asyncio.gather(*(live.since(f"t{number}", "e", number) for number in range(900)))
    assert [(one.messages, one.sequence) for one in answers] == [
        ([{"topic": f"t{number}"}], number) for number in range(900)
    ]


async def test_those_who_ask_for_the_same_book_at_once_share_one_question(address: str) -> None:
    scripted = Scripted()
    async with open_live_socket(scripted, address), open_remote_live(address, PATIENCE_S) as live:
        found = await asyncio.gather(*(live.book(ETH, 5) for _ in range(100)))
        assert scripted.asked == [("book", ETH, 5)]
        assert {one.sequence for one in found} == {1}
        await asyncio.gather(live.book(ETH, 5), live.book(ETH, 6), live.book(SOL, 5))
        assert len(scripted.asked) == 4


async def test_who_asks_while_a_question_is_on_its_way_gets_the_answer_to_the_next(address: str) -> None:
    scripted = Scripted()
    async with open_live_socket(scripted, address), open_remote_live(address, PATIENCE_S) as live:
        scripted.gate.clear()
        first = asyncio.create_task(live.book(ETH))
        await until(lambda: scripted.asked)
        later = [asyncio.create_task(live.book(ETH)) for _ in range(50)]
        await asyncio.sleep(0.05)
        scripted.gate.set()
        assert (await first).sequence == 1
        assert {(await one).sequence for one in later} == {2}
    assert len(scripted.asked) == 2


async def test_a_recorder_that_does_not_answer_in_time_is_unavailable(address: str) -> None:
    scripted = Scripted()
    async with open_live_socket(scripted, address), open_remote_live(address, 0.2) as live:
        scripted.gate.clear()
        for call in (live.status(), live.book(ETH), live.since("t", "e", 1), live.catch_up(ETH, limit_s=0.1)):
            with pytest.raises(LiveUnavailable, match=r"not answered within 0\.[23] s"):
                await call
        scripted.gate.set()
        assert "number" in await live.status()


async def test_a_recorder_that_is_not_there_is_unavailable_and_found_once_it_is(address: str) -> None:
    async with open_remote_live(address, 0.2) as live:
        with pytest.raises(LiveUnavailable, match="not answered within"):
            await live.status()
        for _ in range(3):
            async with open_live_socket(Scripted(), address):
                await until_answered(live)
            with pytest.raises(LiveUnavailable):
                await live.status()


async def until_answered(live: live_module.RemoteLive) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await live.status()
            except LiveUnavailable:
                continue
            return


async def test_a_recorder_that_goes_is_noticed_at_once(address: str) -> None:
    scripted = Scripted()
    async with open_remote_live(address, 10 * PATIENCE_S) as live:
        async with open_live_socket(scripted, address):
            await live.status()
            scripted.gate.clear()
            asking = [
                asyncio.create_task(call)
                for call in (live.status(), live.book(ETH), live.catch_up(ETH, limit_s=100))
            ]
            await until(lambda: len(scripted.asked) == 4)
        for task in asking:
            with pytest.raises(LiveUnavailable, match="has gone"):
                await asyncio.wait_for(task, PATIENCE_S)


async def test_what_goes_wrong_in_the_recorder_is_told_and_harms_no_other_question(address: str) -> None:
    scripted = Scripted()
    async with open_live_socket(scripted, address), open_remote_live(address, PATIENCE_S) as live:
        for fails, expected in (
            (BookStale("it is out of step"), BookStale),
            (LiveUnavailable("not now"), LiveUnavailable),
            (ValueError("a bug"), LiveUnavailable),
        ):
            scripted.fails = fails
            with pytest.raises(expected):
                await live.book(ETH)
            with pytest.raises(expected):
                await live.status()
        scripted.fails = None
        assert (await live.book(ETH)).epoch == "e1"


async def test_no_more_than_so_many_questions_are_worked_on(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "MOST_WAITING", 10)
    scripted = Scripted()
    async with open_live_socket(scripted, address), open_remote_live(address, PATIENCE_S) as live:
        scripted.gate.clear()
        asking = [asyncio.create_task(live.status()) for _ in range(15)]
        await until(lambda: sum(task.done() for task in asking) == 5)
        scripted.gate.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(one, LiveUnavailable) for one in outcomes) == 5
    assert len(scripted.asked) == 10


BROKEN = [
    [], [b""], [b"", b""], [b"\xc1"], [b"{}"], [b"nonsense"], [b"\x93\xa4book\x01\x02"], [b"\x91" * 10_000],
    [msgspec.msgpack.encode(["book", 1, {"venue": "x", "market": "spot", "symbol": "nonsense"}, None])],
    [msgspec.msgpack.encode(["book", 1, {}, None])], [msgspec.msgpack.encode(["status"])],
    [msgspec.msgpack.encode(["status", "one"])], [msgspec.msgpack.encode(["since", 1, "t", "e", 1.5])],
    [msgspec.msgpack.encode(["status", 1]), b"and more"], [msgspec.msgpack.encode(["report", 1, 2])],
    [msgspec.msgpack.encode(["forget", 1])], [os.urandom(1_000)],
]  # fmt: skip


async def test_a_broken_frame_harms_nobody(address: str) -> None:
    scripted = Scripted()
    async with (
        open_live_socket(scripted, address) as answering,
        open_remote_live(address, PATIENCE_S) as live,
    ):
        context = zmq.asyncio.Context()
        rude = context.socket(zmq.DEALER)
        rude.connect(address)
        for frames in BROKEN:
            if frames:
                await rude.send_multipart(frames)
        await rude.send_multipart([msgspec.msgpack.encode(["status", 1])])
        assert msgspec.msgpack.decode(await asyncio.wait_for(rude.recv(), PATIENCE_S))[0] == 1
        assert answering.unreadable == len(BROKEN) - 1
        assert await live.status() == {"number": 2}
        await rude.send(b"x" * 1_000_000)  # too long: the connection is cut
        assert await live.status() == {"number": 3}
        context.destroy(linger=0)


async def test_a_book_with_impossible_levels_is_an_error_and_harms_nobody(address: str) -> None:
    async with open_live_socket(Scripted(), address), open_remote_live(address, PATIENCE_S) as live:
        with pytest.raises(LiveUnavailable, match="too large"):
            await live.book(ETH, 10**30)
        assert (await live.book(ETH, 1)).epoch == "e1"


async def test_the_end_leaves_nobody_waiting(address: str) -> None:
    scripted = Scripted()
    async with open_live_socket(scripted, address):
        async with open_remote_live(address, PATIENCE_S) as live:
            await live.status()
            scripted.gate.clear()
            asking = asyncio.create_task(live.book(ETH))
            await until(lambda: len(scripted.asked) == 2)
        with pytest.raises((LiveUnavailable, asyncio.CancelledError)):
            await asyncio.wait_for(asking, PATIENCE_S)
