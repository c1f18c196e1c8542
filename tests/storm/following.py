"""A client of the library whose link is cut at random, while a bridge records at full speed.

What is checked against what the bridge has stored at the end:

- the client's book, all levels, at every update id that it reports;
- its list of trades: every id once, from the first to the last, field by field;
- that everything that should go wrong really did.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from binance_proxy.client import Bridge as Client
from binance_proxy.client import Missed, Trade
from bridge_process import Bridge, free_port
from served import Wires
from storm.dropping import Dropper
from storm.family import close_own
from storm.truth import Truth, checksum, stored

ETH, SOL = "ETH/USDT", "SOL/USDT"
PATIENCE_S = 180.0
KINDS = ("publish cut", "requests cut", "both cut", "own sockets closed", "everything dropped", "silent link")


@dataclass
class Outcome:
    """What was seen."""

    happened: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    """Messages that the dropping network has handed on."""
    books: int = 0
    """Books that were compared."""
    unstored: int = 0
    """Books of updates that a killed bridge had published and not stored yet; a gap tells of each."""
    out_of_step: int = 0
    """Times that the client said a book was not in step."""
    trades: int = 0
    """Trades that were compared."""
    stored: int = 0
    serve: bool = True
    """Whether there was anybody to ask."""
    told: int = 0
    """Trades that could not be had without, and that the client has said so of."""
    missed: list[Missed] = field(default_factory=list)
    breaks: int = 0
    wrong: list[str] = field(default_factory=list)


class Follower:
    """One client's books and trades."""

    def __init__(self) -> None:
        self.books: dict[str, list[tuple[int, int]]] = {ETH: [], SOL: []}
        """Update id and checksum, whenever a book was read."""
        self.trades: dict[str, list[Trade | Missed]] = {ETH: [], SOL: []}
        self.out_of_step = 0
        self.in_step: set[str] = set()
        self.errors: list[str] = []

    async def follow_book(self, client: Client, symbol: str) -> None:
        async with aclosing(client.books(symbol)) as books:
            async for book in books:
                if not book.in_step:
                    self.out_of_step += 1
                    self.in_step.discard(symbol)
                    continue
                self.in_step.add(symbol)
                view = book.view()
                self.books[symbol].append((view.last_update_id, checksum(view.bids, view.asks)))
                if view.bids[0][0] >= view.asks[0][0]:
                    self.errors.append(f"{symbol}: best bid above best ask at {view.last_update_id}")

    async def follow_trades(self, client: Client, symbol: str, pause_s: float = 0.0) -> None:
        """Take trades as they come, or slowly: with a pause behind each hundredth."""
        into = self.trades[symbol]
        async with aclosing(client.trades(symbol)) as trades:
            async for one in trades:
                into.append(one)
                if pause_s and len(into) % 100 == 0:
                    await asyncio.sleep(pause_s)

    def newest(self, symbol: str) -> int:
        return max((one.trade_id for one in self.trades[symbol] if isinstance(one, Trade)), default=0)


async def follow(
    folder: Path,
    *,
    options: Sequence[str],
    seconds: float,
    cuts: int,
    seed: int,
    loss: float = 0.0,
    kills: int = 0,
    serve: bool = True,
    slow_s: float = 0.0,
    queue: int = 10_000,
    kinds: Sequence[str] = KINDS,
) -> Outcome:
    """Let a client follow a bridge for so long.

    Args:
        folder: Everything is written below it.
        options: Settings of the bridge: what it records.
        seconds: How long something happens to the link.
        cuts: How often.
        seed: Another seed, other moments.
        loss: The chance of each published message to be lost.
        kills: How often the bridge is killed and started again meanwhile.
        serve: Whether the bridge has a request side.
        slow_s: How long the reader of one pair's trades pauses behind each hundredth.
        queue: Events that may wait for it.
        kinds: What may happen to the link.
    """
    outcome, chance = Outcome(serve=serve), random.Random(seed)
    serve_at = f"tcp://127.0.0.1:{free_port()}" if serve else ""
    bridge = Bridge.ready(folder / "data", f"serve.bind={serve_at}", *options)
    running: Popen[str] = bridge.start("run", "--json", log=folder / "bridge.log")
    try:
        async with AsyncExitStack() as stack:
            dropper = stack.enter_context(Dropper(bridge.msgpack, seed, 0.0))
            publish = await stack.enter_async_context(Wires(dropper.address).run())
            requests = await stack.enter_async_context(Wires(serve_at or bridge.control).run())
            client = await stack.enter_async_context(
                Client(
                    publish=publish.address, requests=requests.address if serve else "",
                    control=bridge.control, silence_s=3.0, timeout_s=60.0, queue=queue,
                )
            )  # fmt: skip
            await until(lambda: {ETH, SOL} == {_symbol(one) for one in client.status.instruments}, "pairs")
            await asyncio.sleep(2.0)  # it begins in the middle
            follower = Follower()
            tasks = [
                asyncio.create_task(doing)
                for doing in (
                    follower.follow_book(client, ETH), follower.follow_book(client, SOL),
                    follower.follow_trades(client, ETH), follower.follow_trades(client, SOL, slow_s),
                )
            ]  # fmt: skip
            stack.push_async_callback(_cancelled, tasks)
            await until(lambda: len(follower.in_step) == 2 and all(follower.trades.values()), "a start")
            dropper.chance = loss
            began = time.monotonic()
            moments = sorted(chance.uniform(0, seconds) for _ in range(cuts))
            deaths = [seconds * (number + 0.5) / kills for number in range(kills)]
            happenings = sorted([*((at, "cut") for at in moments), *((at, "kill") for at in deaths)])
            for number, (at, what) in enumerate(happenings):
                await asyncio.sleep(max(began + at - time.monotonic(), 0))
                if what == "kill":
                    running.kill()
                    running.communicate()
                    running = bridge.start("run", "--json", log=folder / "bridge.log")
                    outcome.happened["bridge killed"] += 1
                else:
                    await _cut(kinds[number % len(kinds)], outcome, publish, requests, dropper, chance)
                if running.poll() is not None:
                    outcome.wrong.append(f"the bridge ended with {running.returncode}")
                    return outcome
                outcome.wrong += [repr(task.exception()) for task in tasks if task.done()]
            dropper.chance = 0.0
            await asyncio.sleep(1.0)
            await _catch_up(client, follower, outcome)
            running.terminate()
            await asyncio.to_thread(running.communicate, timeout=PATIENCE_S)
            await asyncio.sleep(0.5)
            outcome.wrong += [repr(task.exception()) for task in tasks if task.done()]
            outcome.happened["messages dropped"] = dropper.dropped
            outcome.passed, outcome.breaks = dropper.passed, client._wire.breaks
        await compare(await stored(folder / "data"), follower, outcome)
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    return outcome


async def _cut(
    kind: str, outcome: Outcome, publish: Wires, requests: Wires, dropper: Dropper, chance: random.Random
) -> None:
    """Do one thing to the link."""
    outcome.happened[kind] += 1
    if kind in {"publish cut", "both cut"}:
        publish.cut()
    if kind in {"requests cut", "both cut"}:
        requests.cut()
    if kind == "own sockets closed":
        ports = [int(one.address.rpartition(":")[2]) for one in (publish, requests)]
        await until(lambda: sum(close_own(port) for port in ports), "a connection of our own")
    if kind == "everything dropped":
        dropper.is_deaf = True
        await asyncio.sleep(chance.uniform(0.05, 1.0))
        dropper.is_deaf = False
    if kind == "silent link":
        publish.swallows = True
        await asyncio.sleep(chance.uniform(0.5, 4.0))
        publish.swallows = False


async def _catch_up(client: Client, follower: Follower, outcome: Outcome) -> None:
    """Wait until everything is whole again."""
    try:
        await until(lambda: len(follower.in_step) == 2, "both books are in step")
        for symbol in (ETH, SOL):
            newest = await _newest(client, symbol)
            await until(lambda s=symbol, n=newest: follower.newest(s) >= n, f"{symbol}: the newest trade")
    except AssertionError as error:
        outcome.wrong.append(f"it did not catch up: {error}")


async def _newest(client: Client, symbol: str) -> int:
    """Return the id of a trade that is published from now on."""
    async with aclosing(client.trades(symbol)) as trades:
        async for one in trades:
            if isinstance(one, Trade):
                return one.trade_id
    return 0


async def compare(truth: dict[str, Truth], follower: Follower, outcome: Outcome) -> None:
    """Hold what a client had against what is stored."""
    outcome.wrong += follower.errors
    outcome.out_of_step = follower.out_of_step
    for symbol, known in truth.items():
        for number, seen in follower.books[symbol]:
            known.at_id[number].append(
                lambda _, total, number=number, seen=seen, symbol=symbol: _same(
                    outcome, seen, total, f"{symbol}: the book at {number}"
                )
            )
        unknown, _ = known.walk()
        for number in unknown:
            if outcome.happened["bridge killed"] and known.is_lost(number):
                outcome.unstored += 1
            else:
                outcome.wrong.append(f"{symbol}: there is no book of {number} in the store")
        _compare_trades(symbol, known, follower.trades[symbol], outcome)


def _same(outcome: Outcome, seen: int, total: int, what: str) -> None:
    outcome.books += 1
    if seen != total:
        outcome.wrong.append(f"{what} is another one")


def _compare_trades(symbol: str, known: Truth, came: list[Trade | Missed], outcome: Outcome) -> None:
    outcome.missed += [one for one in came if isinstance(one, Missed)]
    trades = [one for one in came if isinstance(one, Trade)]
    if not trades:
        outcome.wrong.append(f"{symbol}: no trade came")
        return
    times = Counter(one.trade_id for one in trades)
    rows = known.rows
    first, last = min(times), max(times)
    due = {number for number in rows if first <= number <= last}
    outcome.trades += len(trades)
    outcome.stored += len(due)
    outcome.wrong += [
        f"{symbol}: trade {number} came {many} times" for number, many in times.items() if many > 1
    ]
    told = {
        number
        for one in came
        if isinstance(one, Missed) and not outcome.serve
        for first_id, last_id in one.ids
        for number in range(first_id, last_id + 1)
    }
    outcome.told += len((due - set(times)) & told)
    absent = sorted(due - set(times) - told)
    outcome.wrong += [f"{symbol}: trade {number} never came" for number in absent[:20]]
    outcome.wrong += [f"{symbol}: trade {number} is not stored" for number in sorted(set(times) - due)[:20]]
    for one in trades:
        row = (one.ts_event, str(one.price), str(one.size), one.aggressor)
        if one.trade_id in rows and rows[one.trade_id] != row:
            outcome.wrong.append(f"{symbol}: trade {one.trade_id} is {row}, not {rows[one.trade_id]}")


def _symbol(name: str) -> str:
    return {"ethusdt": ETH, "solusdt": SOL}.get(name.split(".")[2], name)


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.02)


def print_outcome(outcome: Outcome) -> None:
    """Print what was seen."""
    for what, times in sorted(outcome.happened.items()):
        print(f"{what:24} {times:,}")
    print(f"{'messages handed on':24} {outcome.passed:,}; {outcome.breaks} breaks were noticed")
    print(f"{'books compared':24} {outcome.books:,}, all levels; {outcome.out_of_step} times out of step")
    print(f"{'not stored by a killed bridge':24} {outcome.unstored:,}")
    of = f"{outcome.trades:,} of {outcome.stored:,} stored; {outcome.told} told as missed"
    print(f"{'trades compared':24} {of}")
    for one in outcome.missed[:5]:
        print(f"{'':24} {one}")
    for line in outcome.wrong[:20]:
        print(f"WRONG  {line}")
    print("all is right" if not outcome.wrong else f"{len(outcome.wrong)} things are wrong")
