"""A storm over the store: whatever can happen to it, to its disk and to the bridge, in a seeded order.

A recorder sends a known sequence of events down the write path of `bridge run`, through a proxy, to a server
of our own. Meanwhile the server is stopped and started, its connections are ended, commits are cut off before
their answer, the network swallows everything, the disk of the spool is filled, and the recorder is killed.
Each fault waits for what it is there for, such as that batches really went to the spool, before it is over.
`account.settle` then compares everything that is stored with everything that was sent.
"""

import asyncio
import math
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec

from cut_proxy import CutProxy
from storm.account import look_into_spool, settle
from storm.database import Database
from storm.disk import Disk
from storm.plan import Outcome, Plan
from storm.recorder import Order, Said
from storm.sent import Journal
from tcp_proxy import Proxy

RECORDER = Path(__file__).with_name("recorder.py")
PATIENCE_S = 300.0
GLANCE_S = 0.01
STEPS = 8
"""Into so many steps what is sent between two faults is divided; a fault that needs more gets it in these."""
ANSWER_S = 0.05
"""A slow server's pause before each piece of an answer, while a recorder is to be killed as it drains."""
COUNTED = ("spooled", "drained", "drained_new", "dropped", "resent", "untold", "refusals", "set_aside")


class RecorderEnded(Exception):
    """The recorder has ended, though nobody killed it."""


class Havoc:
    """One storm."""

    def __init__(self, folder: Path, plan: Plan, programs: Path | None, say: Callable[[str], None]) -> None:
        self.outcome = Outcome()
        self._plan = plan
        self._folder = folder
        self._say = say
        self._rng = random.Random(f"havoc/{plan.seed}")
        self._database = Database(folder / "postgres", programs)
        self._spool = folder / "data" / "spool"
        self._journal = Journal(folder / "journal", plan.events)
        self._disk = Disk(self._spool, mounts=plan.mounts)
        self._allowed = 0
        self._is_over = False
        self._sent = 0  # by any recorder so far
        self._said = Said()

    async def run(self) -> Outcome:
        """Let it happen, and compare."""
        began = time.monotonic()
        outcome, plan = self.outcome, self._plan
        (self._folder / "postgres").mkdir(parents=True)
        self._spool.mkdir(parents=True)
        async with AsyncExitStack() as stack:
            outcome.server = await self._database.make()
            stack.push_async_callback(self._database.stop)
            outcome.disk = stack.enter_context(self._disk)
            self._cut = CutProxy(self._database.url)
            self._cut.cut_from_bytes = 20_000
            self._network = Proxy(await stack.enter_async_context(self._cut.run()))
            self._url = await stack.enter_async_context(self._network.run())
            stack.push_async_callback(self._end)
            await self._begin()
            await self._faults()
            self._is_over = True
            self._allow(plan.events)
            await self._until(lambda: self._said.phase == "done", "it ends", pull=False, over=True)
            if status := await self._process.wait():
                raise RecorderEnded(f"with {status}: {self._last_words()}")
            await self._reading
            self._add_up()
            self._say(f"all {self._journal.accepted:,} events were accepted")
            self._check()
            outcome.account = await settle(self._database.url, plan.seed, plan.events, self._say)
            outcome.wrong += outcome.account.wrong + await look_into_spool(self._spool)
        outcome.seconds = time.monotonic() - began
        return outcome

    async def _faults(self) -> None:
        faults = self._planned()
        for number, (name, fault) in enumerate(faults):
            self._rng = random.Random(f"havoc/{self._plan.seed}/{number}")  # whatever was drawn before
            accepted = self._journal.accepted
            share = (self._plan.events - accepted) // (len(faults) - number + 2)
            self._step = max(1, share // STEPS)
            self._allow(accepted + share)
            goal = accepted + int(share / 2 * self._rng.random())
            await self._until(
                lambda goal=goal: self._is_recording and self._journal.accepted >= goal,
                f"{goal} are accepted",
            )
            await fault()
            self._say(
                f"{name:42} {self._journal.accepted:>9,} accepted, {self._said.waiting:>7,} in the spool"
            )

    def _planned(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Return all faults, each with its name, in the order of the seed."""
        plan = self._plan
        spooling = min(math.ceil(plan.kills / 3), plan.stops - plan.full)
        draining = min(math.ceil((plan.kills - spooling) / 2), plan.stops - plan.full - spooling)
        named: list[tuple[str, Callable[[], Awaitable[None]]]] = []

        def add(times: int, name: str, fault: Callable[[], Awaitable[None]]) -> None:
            named.extend([(name, fault)] * times)

        add(plan.stops - plan.full - spooling - draining, "the database was stopped", self._stop)
        add(plan.full, "and the disk of the spool was full", self._fill)
        add(spooling, "and the recorder killed as it spooled", self._kill_spooling)
        add(draining, "and the recorder killed as it drained", self._kill_draining)
        add(plan.kills - spooling - draining, "the recorder was killed as it stored", self._kill_storing)
        add(plan.cuts, "a commit was cut off before its answer", self._cut_off)
        add(plan.terminations, "all connections were ended by the server", self._terminate)
        self._rng.shuffle(named)
        for hole in range(plan.holes):
            for_ever = hole == plan.holes - 2
            name = "the network swallowed everything" + (", for ever" if for_ever else "")
            at = self._rng.randrange(len(named) + 1)
            named.insert(at, (name, self._swallow_for_ever if for_ever else self._swallow))
        return named

    # Faults

    async def _stop(self) -> None:
        async with self._stopped():
            pass

    @asynccontextmanager
    async def _stopped(self) -> AsyncIterator[None]:
        """Stop the server, wait until batches go to the spool, and start it again."""
        immediate = self._rng.random() < 0.5
        await self._database.stop(immediate=immediate)
        self.outcome.happened["stopped at once" if immediate else "stopped"] += 1
        spooled = self._said.spooled
        more = 1 + int(2 * self._step * self._rng.random())
        await self._until(lambda: self._said.spooled >= spooled + more, "batches go to the spool")
        yield
        await self._database.start()
        self.outcome.happened["started"] += 1
        if self._rng.random() < 0.5:  # else the next fault may come while it drains
            await self._until(lambda: self._is_recording and not self._said.waiting, "the spool is empty")

    async def _kill_spooling(self) -> None:
        async with self._stopped():
            await self._sending()
            self.outcome.happened["killed while it spooled"] += bool(self._said.waiting)
            await self._kill()

    async def _kill_draining(self) -> None:
        async with self._stopped():
            await self._more_spooled()
            self._cut.delay_s = ANSWER_S
            drained = self._said.drained
            await self._database.start()
            self.outcome.happened["started"] += 1
            await self._until(lambda: self._said.drained > drained, "it drains", pull=False)
            if self._said.waiting:
                self.outcome.happened["killed while it drained"] += 1
            await self._kill()
            self._cut.delay_s = 0.0
            self.outcome.happened["started"] -= 1
            await self._database.stop()  # the way out starts it

    async def _kill_storing(self) -> None:
        await self._sending()
        await self._kill()

    async def _sending(self) -> None:
        """Wait for a moment in which events are on their way."""
        sent = self._said.sent
        self._allow(sent + 2 * self._step)
        await self._until(lambda: self._said.sent > sent, "it sends")

    async def _more_spooled(self) -> None:
        goal = self._said.spooled + 3 * self._step
        await self._until(lambda: self._said.spooled >= goal, "much is in the spool")

    async def _kill(self) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading
        self.outcome.happened["killed"] += 1
        self._add_up()
        await self._begin()

    async def _cut_off(self) -> None:
        fired = self._cut.fired
        self._cut.cut_commits = 1
        await self._until(lambda: self._cut.fired > fired, "a commit is cut off")
        self.outcome.happened["commits cut off"] += self._cut.fired - fired

    async def _terminate(self) -> None:
        while not (ended := await self._database.cut_off()):
            await self._until(lambda: self._is_recording, "it records")
        self.outcome.happened["terminations"] += 1
        self.outcome.happened["connections ended"] += ended

    async def _swallow(self) -> None:
        async with self._swallowing():
            self._network.open.set()

    async def _swallow_for_ever(self) -> None:
        async with self._swallowing():
            self._network.forget()

    @asynccontextmanager
    async def _swallowing(self) -> AsyncIterator[None]:
        swallowed, spooled = self._network.swallowed, self._said.spooled
        self._network.open.clear()
        await self._until(lambda: self._network.swallowed > swallowed, "something is swallowed")
        await self._until(lambda: self._said.spooled > spooled, "batches go to the spool")
        yield
        self.outcome.happened["holes"] += 1

    async def _fill(self) -> None:
        async with self._stopped():
            refusals, dropped = self._said.refusals, self._said.dropped
            self._disk.fill(self._process.pid)
            await self._until(lambda: self._said.refusals > refusals, "the spool refuses batches")
            await self._until(lambda: self._said.dropped > dropped, "events are dropped", pull=None)
            self.outcome.happened["disk full"] += self._said.state == "stopped"
            self._disk.free(self._process.pid)
            await self._until(lambda: self._said.state == "spooling", "recording goes on", pull=False)

    # The recorder

    @property
    def _is_recording(self) -> bool:
        return self._said.phase == "recording"

    async def _begin(self) -> None:
        """Start a recorder; it goes on behind what was accepted."""
        plan = self._plan
        buffer = min(200_000, max(20_000, plan.events // 25))
        order = Order(
            url=self._url,
            folder=str(self._folder / "data"),
            journal=str(self._folder / "journal"),
            seed=plan.seed,
            events=plan.events,
            buffer=buffer,
            sent=self._sent,
        )
        with (self._folder / "recorder.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, str(RECORDER), msgspec.json.encode(order).decode(),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._said = Said()
        self._reading = asyncio.create_task(self._listen(self._process))
        self._allow(self._allowed)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            with suppress(msgspec.DecodeError):  # it was killed as it spoke
                self._said = msgspec.json.decode(line, type=Said)
                self._sent = max(self._sent, self._said.sent)

    def _allow(self, events: int) -> None:
        """Let the recorder send so many events in all; the last of them only when all faults are over."""
        self._allowed = max(self._allowed, min(events, self._plan.events - (not self._is_over)))
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(f"{self._allowed}\n".encode())

    async def _until(
        self, condition: Callable[[], object], what: str, *, pull: bool | None = True, over: bool = False
    ) -> None:
        """Wait for something.

        Whenever all that the recorder may send has been accepted, or dropped, let it send a step more. With
        ``pull`` false it gets nothing, with `None` always more. ``over`` says that it may end.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._journal.read()
            if condition():
                return
            if self._process.returncode is not None:
                if over:
                    return
                raise RecorderEnded(f"with {self._process.returncode}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"never happened: {what}; {self._said}; {self._last_words()}")
            idle = self._is_recording and self._said.sent >= self._allowed
            if idle and (pull is None or (pull and not self._said.on_way)):
                self._allow(self._allowed + self._step)
            await asyncio.sleep(GLANCE_S)

    def _add_up(self) -> None:
        for name in COUNTED:
            self.outcome.said[name] += getattr(self._said, name)

    def _last_words(self) -> str:
        return (self._folder / "recorder.log").read_text(errors="replace")[-3_000:]

    async def _end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _check(self) -> None:
        """See that everything has really happened."""
        plan, happened, said = self._plan, self.outcome.happened, self.outcome.said
        self._journal.read()
        wanted = {
            "stopped and stopped at once": (happened["stopped"] + happened["stopped at once"], plan.stops),
            "started": (happened["started"], plan.stops),
            "killed": (happened["killed"], plan.kills),
            "commits cut off": (happened["commits cut off"], plan.cuts),
            "terminations": (happened["terminations"], plan.terminations),
            "holes": (happened["holes"], plan.holes),
            "disk full": (happened["disk full"], plan.full),
            "accepted": (self._journal.accepted, plan.events),
            "accepted twice": (self._journal.twice, 0),
            "dropped without a word": (said["untold"], 0),
            "set aside": (said["set_aside"], 0),
        }
        self.outcome.wrong += [
            f"{name}: {times:,}, and not {asked:,}"
            for name, (times, asked) in wanted.items()
            if times != asked
        ]
        needed = {"spooled": said["spooled"], "drained": said["drained"]}
        if plan.kills > 1:
            needed |= {
                name: happened[name] for name in ("killed while it spooled", "killed while it drained")
            }
        if plan.full:
            needed |= {name: said[name] for name in ("refusals", "dropped", "resent")}
        self.outcome.wrong += [f"it never happened: {name}" for name, times in needed.items() if not times]


async def havoc(
    folder: Path, plan: Plan, *, programs: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Let one storm happen in an empty folder."""
    return await Havoc(folder, plan, programs, say).run()
