"""A bridge that is asked by many while something happens to those who answer, its cache, or its database.

What is checked:

- every request is answered, or fails with a clear error, within its deadline;
- every answer is what the bridge has stored at the end;
- the bridge goes on recording: no trade that it made up is missing in the store.
"""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import valkey

from bridge_process import Bridge, free_port
from storm.asking import LATE_S, Crowd
from storm.database import Database
from storm.family import Crew, alive, family, kill, named
from storm.questions import Asked, Judge
from storm.truth import stored

PATIENCE_S = 180.0
DEADLINE, AWAY, DIED, WRONG, NO_METHOD = -32001, -32003, -32008, -32602, -32601


@dataclass
class Outcome:
    """What was seen."""

    happened: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    """Requests that had no answer yet when something happened."""
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """By code."""
    checked: Counter[str] = field(default_factory=Counter)
    behind: int = 0
    stalled: int = 0
    """Requests that came to nothing as whoever asked was stopped by a busy machine."""
    slowest_s: float = 0.0
    """The longest that anybody waited for an answer."""
    latest_s: float = -1e9
    """The longest that an answer came behind its deadline; before it, if negative."""
    status: dict[str, Any] = field(default_factory=dict)
    bridge: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Scene:
    """What happenings act upon."""

    def __init__(self, pid: int, serve: str, crowd: Crowd, outcome: Outcome, chance: random.Random) -> None:
        self.pid, self.crowd, self.outcome, self.chance = pid, crowd, outcome, chance
        self.crew = Crew(pid, serve)

    def count(self, what: str, happened: object = True) -> None:
        self.outcome.happened[what] += bool(happened)
        self.outcome.under_way += self.crowd.under_way


Happening = Callable[[Scene], Awaitable[None]]
LIVE = (
    "orderbook.get",
    "orderbook.depth",
    "stats.spread",
    "stats.slippage",
    "stats.liquidity",
    "bridge.status",
)
"""What can be answered without a store, but for moments of the past."""


async def worker_killed(scene: Scene) -> None:
    """Kill one worker while it has something to do."""
    workers = scene.crew.workers
    if workers:
        scene.count("worker killed", kill(scene.chance.choice(workers)))


async def all_workers_killed(scene: Scene) -> None:
    for worker in scene.crew.workers:
        scene.count("worker killed", kill(worker))


async def worker_frozen(scene: Scene) -> None:
    """Stop a worker for a while."""
    workers = scene.crew.workers
    if workers:
        worker = scene.chance.choice(workers)
        scene.count("worker frozen", kill(worker, signal.SIGSTOP))
        await asyncio.sleep(scene.chance.uniform(0.5, 3.0))
        kill(worker, signal.SIGCONT)


async def front_killed(scene: Scene) -> None:
    scene.count("front killed", kill(scene.crew.front))


async def crew_killed(scene: Scene) -> None:
    """Kill the process that forks the front and the workers."""
    scene.count("crew killed", kill(scene.crew.first))


async def cache_killed(scene: Scene) -> None:
    for pid in named(scene.pid, "valkey-server"):
        scene.count("Valkey killed", kill(pid))


async def cache_frozen(scene: Scene) -> None:
    for pid in named(scene.pid, "valkey-server"):
        scene.count("Valkey frozen", kill(pid, signal.SIGSTOP))
        await asyncio.sleep(scene.chance.uniform(0.5, 3.0))
        kill(pid, signal.SIGCONT)


async def cache_filled(scene: Scene) -> None:
    """Fill the server with values that nobody wants, until it throws some away."""
    await asyncio.to_thread(_fill, scene)


def _fill(scene: Scene) -> None:
    for pid in named(scene.pid, "valkey-server"):
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode().split("\0")
        raw = valkey.Valkey(unix_socket_path=words[words.index("--unixsocket") + 1], socket_timeout=10)
        try:
            most = int(words[words.index("--maxmemory") + 1])
            before = raw.info("stats")["evicted_keys"]
            for number in range(0, 2 * most, 2**18):
                raw.set(f"junk:{number}:{scene.chance.random()}", bytes(2**18))
            scene.count("Valkey filled", raw.info("stats")["evicted_keys"] > before)
        except valkey.ValkeyError:
            continue
        finally:
            raw.close()


def database_stopped(database: Database, longest_s: float) -> Happening:
    """Return what stops the database for a while, every other time as in a crash."""

    async def stopped(scene: Scene) -> None:
        at_once = bool(scene.outcome.happened["database stopped"] % 2)
        await database.stop(immediate=at_once)
        scene.count("database stopped")
        await asyncio.sleep(scene.chance.uniform(longest_s / 3, longest_s))
        await database.start()

    return stopped


async def serve(
    folder: Path,
    happenings: Sequence[Happening],
    *,
    times: int,
    seconds: float,
    seed: int,
    clients: int = 6,
    rate: float = 200.0,
    options: Sequence[str] = (),
    allowed: Sequence[int] = (),
    spared: Sequence[str] = (),
    calm_s: float = 1.0,
    url: str | None = None,
    timeout_s: float = 10.0,
) -> Outcome:
    """Let many ask a bridge for so long.

    Args:
        folder: Everything is written below it.
        happenings: What may happen, one after the other.
        times: How often something happens.
        seconds: For so long.
        seed: Another seed, other moments and questions.
        clients: How many ask.
        rate: Events a second of each pair.
        options: Settings of the bridge.
        allowed: Codes of errors that may come.
        spared: Kinds of questions that have to be answered nevertheless.
        calm_s: So long the crowd asks on when nothing happens any more; in the last half all has to be well.
        url: Of the store, if that is not the bridge's own.
        timeout_s: The longest deadline of a request.
    """
    outcome, chance = Outcome(), random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  before anything runs
    serve_at = f"tcp://127.0.0.1:{free_port()}"
    bridge = (Bridge.ready if url is None else Bridge)(
        folder / "data", f"serve.bind={serve_at}", f"feed.simulated.rate={rate}", "feed.simulated.levels=50",
        *([] if url is None else [f"store.timescale.url={url}"]), *options,
    )  # fmt: skip
    running = bridge.start("run", "--json", log=folder / "bridge.log")
    crowd = Crowd(seed)
    everybody: set[int] = set()
    try:
        async with crowd.asking(
            bridge.msgpack, serve_at, bridge.control, clients=clients, timeout_s=timeout_s
        ):
            scene = Scene(running.pid, serve_at, crowd, outcome, chance)
            began = time.monotonic()
            moments = sorted(chance.uniform(0, seconds) for _ in range(times))
            for number, at in enumerate(moments):
                await asyncio.sleep(max(began + at - time.monotonic(), 0))
                everybody |= set(await asyncio.to_thread(family, running.pid))
                await happenings[number % len(happenings)](scene)
            await asyncio.sleep(max(began + seconds - time.monotonic(), 0) + calm_s / 2)
            calm_from_ns = time.time_ns()
            await asyncio.sleep(calm_s / 2)
            everybody |= set(family(running.pid))
        running.terminate()
        printed, _ = await asyncio.to_thread(running.communicate, timeout=PATIENCE_S)
        outcome.bridge = json.loads(printed)
        if running.returncode != 0 or outcome.bridge["gaps"]:
            outcome.wrong.append(f"the bridge ended with {running.returncode}: {outcome.bridge}")
        await asyncio.sleep(0.5)
        left = [pid for pid in everybody if alive(pid)]
        outcome.wrong += [f"process {pid} is left" for pid in left]
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    for one in crowd.asked:
        is_allowed = one.began_ns < calm_from_ns and one.question.kind not in spared
        _account(one, outcome, allowed if is_allowed else ())
    judge = Judge(await stored(folder / "data", url))
    await asyncio.to_thread(judge.judge, crowd.asked)
    outcome.checked, outcome.behind = judge.checked, judge.behind
    outcome.wrong += judge.wrong
    for symbol, newest in crowd.seen.items():
        ids = [one.trade_id for one in judge.truth[symbol].trades]
        if ids != list(range(ids[0], ids[-1] + 1)) or ids[-1] < newest:
            outcome.wrong.append(f"{symbol}: trades are missing in the store")
    return outcome


def _account(one: Asked, outcome: Outcome, allowed: Sequence[int]) -> None:
    """Count an answer or an error, and say if it should not be."""
    outcome.latest_s = max(outcome.latest_s, one.took_s - one.timeout_s)
    outcome.slowest_s = max(outcome.slowest_s, one.took_s)
    what = f"{one.question.method} {one.question.params}"
    if one.took_s > one.timeout_s + LATE_S:
        outcome.wrong.append(f"{what}: {one.took_s:.1f} s, not {one.timeout_s:.1f} s: {one.error}")
    if one.error is None:
        outcome.answered += 1
        return
    code = one.error["code"]
    if code == DEADLINE and one.stalled_s > LATE_S:
        outcome.stalled += 1  # by the asker's own clock
        return
    outcome.errors[f"{code}, the asker's own" if one.question.is_wrong else str(code)] += 1
    expected = (WRONG, NO_METHOD) if one.question.is_wrong else ()
    if code not in (*allowed, *expected):
        outcome.wrong.append(f"{what}: {one.error}")


def print_outcome(outcome: Outcome) -> None:
    """Print what was seen."""
    for what, times in sorted(outcome.happened.items()):
        print(f"{what:20} {times:,}")
    print(f"{'under way meanwhile':20} {outcome.under_way:,}")
    compared = sum(outcome.checked.values())
    print(f"{'answered':20} {outcome.answered:,}; {compared:,} compared: {dict(outcome.checked)}")
    print(f"{'errors by code':20} {dict(outcome.errors)}")
    print(
        f"{'said to be behind':20} {outcome.behind}; {outcome.stalled} given up by an asker who was stopped"
    )
    print(f"{'slowest':20} {outcome.slowest_s:.2f} s; latest {outcome.latest_s:+.2f} s from its deadline")
    print(f"{'the bridge':20} {outcome.bridge}")
    for line in outcome.wrong[:20]:
        print(f"WRONG  {line[:600]}")
    print("all is right" if not outcome.wrong else f"{len(outcome.wrong)} things are wrong")
