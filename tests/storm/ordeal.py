"""A venue that misbehaves in every way, a bridge that records it, and a reader who checks everything.

Three processes: the sandbox over a simulated market, the bridge, and this one. What is checked:

- at every update that the bridge publishes, its book equals the venue's at the same update id;
- at the end the stored trades are the venue's, each once, field by field, but for those that the bridge
  itself calls lost, which happens only where the venue forgets, and no gap is open;
- every kind of fault has really happened.
"""

import json
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import msgspec
import zmq

from bridge_process import Bridge, eventually, free_port

PAIRS = ("ETH/USDT", "SOL/USDT")
FAULTS = {
    "drop": 0.0005, "duplicate": 0.001, "delay": 0.0005, "delay_s": 0.3, "reorder": 0.0005, "corrupt": 0.0005,
    "cut_s": 6.0, "freeze_s": 20.0, "shutdown_s": 15.0, "refuse_s": 25.0, "ban_s": 60.0,
    "stale_snapshot": 0.1, "server_error": 0.05, "slow": 0.05, "slow_s": 1.0, "throttle": 0.02,
    "offline": 0.03,
}  # fmt: skip
"""Chances a frame or request, and mean seconds between two of the others."""
UNTOUCHED = {"place"}
"""Faults that are left out: a place that is not served is for a person to change."""
HISTORY = 1_000_000
CARE = ("feed.care.silence_s=2", "feed.care.quiet_s=20", "feed.care.rotate_s=20", "feed.care.settle_s=0.5",
        "feed.care.agree_s=5", "feed.care.longest_pause_s=2", "feed.care.weight_share=1",
        "feed.care.snapshot_levels=500")  # fmt: skip
REPAIR = ("repair.patience_s=0.2", "repair.longest_pause_s=2")


@dataclass
class Outcome:
    """What was seen."""

    venue_trades: int = 0
    stored_trades: int = 0
    lost_trades: int = 0
    """Ids in gaps that the bridge calls lost."""
    gaps: Counter[str] = field(default_factory=Counter)
    """Gaps in the store, by stream and state."""
    books_compared: int = 0
    """Updates at which the published book was compared with the venue's."""
    stale_times: int = 0
    """Times that the bridge said a book was out of step."""
    fired: dict[str, int] = field(default_factory=dict)
    bridge: dict = field(default_factory=dict)
    """The bridge's own report."""
    wrong: list[str] = field(default_factory=list)
    """Everything that should not be."""


class Venue:
    """The sandbox process, seen through its control endpoint."""

    def __init__(
        self, folder: Path, *, rate: float, seed: int, faults: dict[str, float], history: int
    ) -> None:
        self.keeps_all = history >= HISTORY
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        options = (
            f"sandbox.port={self.port}", "sandbox.checksums=true", f"sandbox.history={history}",
            f"sandbox.pairs={json.dumps(PAIRS)}", "sandbox.weight_limit=100000", "sandbox.ban_s=2",
            "sandbox.connection_attempts=100000", "sandbox.shutdown_notice_s=1.5",
            f"sandbox.faults.seed={seed}",
            f"feed.simulated.rate={rate}", f"feed.simulated.seed={seed}", "feed.simulated.levels=100",
            *(f"sandbox.faults.{name}={value}" for name, value in faults.items()),
        )  # fmt: skip
        self.process = Bridge(folder, *options).start("sandbox", log=folder / "sandbox.log")
        self.trades: dict[str, dict[int, tuple]] = {pair: {} for pair in PAIRS}
        eventually(lambda: self.ask("/sandbox/status"), "the sandbox is up")

    def ask(self, path: str, method: str = "GET") -> object:
        with suppress(urllib.error.URLError, ConnectionError):
            request = urllib.request.Request(f"{self.url}{path}", method=method)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        return None

    def order(self, fault: dict) -> bool:
        """Have something go wrong now; return false if it needs a connection, and there is none."""
        body = json.dumps(fault).encode()
        with urllib.request.urlopen(f"{self.url}/sandbox/faults", data=body, timeout=30) as answer:
            return json.load(answer).get("connections") != 0

    def learn_trades(self) -> None:
        """Fetch the venue's own list as far as it has grown, before it is forgotten."""
        for pair, known in self.trades.items():
            code = pair.replace("/", "")
            while True:
                page = self.ask(f"/sandbox/trades?symbol={code}&fromId={max(known, default=0) + 1}")
                known |= {row[0]: tuple(row[1:]) for row in page}
                if len(page) < 100_000:
                    break

    def checksums(self, pair: str, from_update_id: int) -> dict[int, int]:
        code = pair.replace("/", "")
        page = self.ask(f"/sandbox/checksums?symbol={code}&from_update_id={from_update_id}")
        return {int(number): checksum for number, checksum in page.items()}


class PublishedBook:
    """The book of one pair as a subscriber has it, and its checksum at every update."""

    def __init__(self) -> None:
        self.unchecked: dict[int, int] = {}
        self._sizes: dict[tuple[str, str], str] | None = None
        self._checksum = 0

    def take(self, body: dict) -> None:
        kind = body["type"]
        if kind == "stale":
            self._sizes = None
        elif kind == "snapshot":
            self._sizes, self._checksum = {}, 0
            self._change(body)
        elif self._sizes is not None:
            self._change(body)

    def forget(self) -> None:
        """Begin without a book, as with a new bridge."""
        self._sizes = None

    def _change(self, body: dict) -> None:
        assert self._sizes is not None
        for side, levels in (("b", body["bids"]), ("a", body["asks"])):
            for price, size in levels:
                before = self._sizes.pop((side, price), None)
                if before is not None:
                    self._checksum -= zlib.crc32(f"{side}{price}:{before}".encode())
                if size != "0":
                    self._sizes[side, price] = size
                    self._checksum += zlib.crc32(f"{side}{price}:{size}".encode())
        self._checksum %= 2**64
        self.unchecked[body["last_update_id"]] = self._checksum


class Reader:
    """A subscriber to everything, which checks while it reads."""

    def __init__(self, address: str, venue: Venue, outcome: Outcome) -> None:
        self.trade_ids: Counter[tuple[str, int]] = Counter()
        self.last_status: dict = {}
        self._venue = venue
        self._outcome = outcome
        self._books = {pair: PublishedBook() for pair in PAIRS}
        self._sequences: dict[tuple[str, bytes], int] = {}
        self._epoch = ""
        self._socket = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.subscribe(b"")
        self._socket.connect(address)

    def read(self, seconds: float) -> None:
        """Take what comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._socket.poll(int(left * 1000) + 1):
                for _ in range(500):
                    try:
                        topic, raw = self._socket.recv_multipart(zmq.NOBLOCK)
                    except zmq.Again:
                        break
                    self._take(topic, msgspec.json.decode(raw))

    def check_books(self) -> None:
        """Compare every update that was seen since the last time with the venue's checksums."""
        for pair, book in self._books.items():
            while book.unchecked:
                true = self._venue.checksums(pair, min(book.unchecked))
                asked = [number for number in book.unchecked if number <= max(true, default=-1)]
                if not asked:
                    break
                for number in asked:
                    if book.unchecked.pop(number) != true.get(number):
                        self._outcome.wrong.append(f"{pair}: the book at update {number} is not the venue's")
                    self._outcome.books_compared += 1

    def close(self) -> None:
        self._socket.close(linger=0)

    def _take(self, topic: bytes, body: dict) -> None:
        if topic == b"bridge.welcome":
            return
        if body["epoch"] != self._epoch:
            self._epoch = body["epoch"]
            for book in self._books.values():
                book.forget()
        last = self._sequences.get((self._epoch, topic))
        if last is not None and body["sequence"] != last + 1:
            self._outcome.wrong.append(f"{topic.decode()}: {last} is followed by {body['sequence']}")
        self._sequences[self._epoch, topic] = body["sequence"]
        if topic == b"bridge.status":
            self.last_status = body
        elif topic.endswith(b".orderbook"):
            self._outcome.stale_times += body["type"] == "stale"
            self._books[body["symbol"]].take(body)
        elif topic.endswith(b".trades"):
            ids = range(body["trade_id"], body.get("last_match_id", body["trade_id"]) + 1)
            self.trade_ids.update((body["symbol"], number) for number in ids)


def storm(
    folder: Path,
    *,
    feed: str,
    seconds: float,
    rate: float,
    seed: int,
    faults: dict[str, float] | None = None,
    history: int = HISTORY,
    kills: int = 0,
    orders: Sequence[dict] = (),
) -> Outcome:
    """Let a bridge record the venue for so long; return what was seen.

    Args:
        folder: Everything is written below it.
        feed: ``binance`` or ``ccxt``.
        seconds: How long the faults go on.
        rate: Events a second of each pair.
        seed: Another seed, another storm.
        faults: By name and by the seed; `FAULTS` if left out.
        history: Trades that the venue keeps of each pair; what is older cannot be repaired.
        kills: How often the bridge is killed (SIGKILL) and started again meanwhile.
        orders: What the control endpoint is told to break, one after the other, in place of ``faults``.
    """
    outcome = Outcome()
    folder.mkdir(parents=True, exist_ok=True)
    venue = Venue(folder, rate=rate, seed=seed, faults=FAULTS if faults is None else faults, history=history)
    stream_url = venue.url.replace("http", "ws")
    bridge = Bridge(
        folder / "data", f"feed.use={feed}", f"feed.{feed}.rest_url={venue.url}",
        f"feed.{feed}.stream_url={stream_url}", *CARE, *REPAIR,
    )  # fmt: skip
    reader = Reader(bridge.json, venue, outcome)
    running = bridge.start("run", "--json", log=folder / "bridge.log")
    try:
        began = time.monotonic()
        killed, left = 0, [*reversed(orders)]
        while (passed := time.monotonic() - began) < seconds or left:
            reader.read(seconds / len(orders) if orders else 2.0)
            venue.learn_trades()
            reader.check_books()
            if left and venue.order(left[-1]):
                left.pop()
            if killed < kills and passed > seconds * (killed + 1) / (kills + 1):
                killed += 1
                running.kill()
                running.wait()
                running = bridge.start("run", "--json", log=folder / "bridge.log")
            if running.poll() is not None:
                outcome.wrong.append(f"the bridge ended with {running.returncode}")
                return outcome
        outcome.fired = venue.ask("/sandbox/faults")
        venue.ask("/sandbox/faults", "DELETE")
        _let_it_recover(bridge, reader, venue, outcome)
        running.terminate()
        printed, _ = running.communicate(timeout=120)
        outcome.bridge = json.loads(printed)
        reader.read(2.0)
        reader.check_books()
        _compare_trades(bridge, reader, venue, outcome, killed=bool(kills))
    finally:
        reader.close()
        for process in (running, venue.process):
            _stop(process)
    for name, times in outcome.fired.items():
        if not times and name not in UNTOUCHED:
            outcome.wrong.append(f"the fault {name} never happened")
    return outcome


def _let_it_recover(bridge: Bridge, reader: Reader, venue: Venue, outcome: Outcome) -> None:
    """Wait until every book is in step and no gap is open; without faults that must come."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        reader.read(2.0)
        venue.learn_trades()
        reader.check_books()
        states = reader.last_status.get("instruments", {})
        if states and set(states.values()) == {"in step"} and not reader.last_status.get("open_gaps"):
            return
    outcome.wrong.append(f"it did not recover: {reader.last_status}")


def _compare_trades(bridge: Bridge, reader: Reader, venue: Venue, outcome: Outcome, *, killed: bool) -> None:
    venue.learn_trades()
    rows = bridge.query(
        "select symbol, trade_id, extract(epoch from ts_event) * 1000000, price, size, aggressor"
        " from trades_decimal"
    )
    stored: Counter[tuple[str, int]] = Counter((row[0], int(row[1])) for row in rows)
    fields = {(row[0], int(row[1])): (int(float(row[2])) * 1000, *row[3:]) for row in rows}
    lost = {pair: set() for pair in PAIRS}
    gaps = bridge.query(
        "select symbol, stream, first_id, last_id, state from gaps join instruments using (instrument_id)"
    )
    for symbol, stream, first_id, last_id, state in gaps:
        outcome.gaps[f"{stream} {state}"] += 1
        if stream == "trades" and state == "lost":
            lost[symbol].update(range(int(first_id), int(last_id) + 1))
        if state == "open":
            outcome.wrong.append(f"{symbol} {stream}: the gap {first_id} to {last_id} is still open")
    for pair, trades in venue.trades.items():
        here = [number for symbol, number in stored if symbol == pair]
        first, last = min(here), max(here)
        due = {number: trades[number] for number in trades if first <= number <= last}
        outcome.venue_trades += len(due)
        outcome.stored_trades += len(here)
        outcome.lost_trades += len(lost[pair])
        if lost[pair] and venue.keeps_all:
            outcome.wrong.append(f"{pair}: {len(lost[pair])} trades are called lost that the venue still has")
        for number, (ts_event, *rest) in due.items():
            if number in lost[pair]:
                if stored[pair, number]:
                    outcome.wrong.append(f"{pair}: trade {number} is stored, and called lost")
            elif stored[pair, number] != 1:
                outcome.wrong.append(f"{pair}: trade {number} is stored {stored[pair, number]} times")
            elif not killed and reader.trade_ids[pair, number] != 1:
                outcome.wrong.append(f"{pair}: trade {number} came {reader.trade_ids[pair, number]} times")
            elif fields[pair, number] != (ts_event, *rest):
                outcome.wrong.append(
                    f"{pair}: trade {number} is {fields[pair, number]}, not {ts_event, *rest}"
                )
        for number in set(here) - set(trades):
            outcome.wrong.append(f"{pair}: trade {number} was never made")


def _stop(process: Popen) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(Exception):
            process.wait(20)
    if process.poll() is None:
        process.kill()
        process.wait()


def print_outcome(outcome: Outcome) -> None:
    """Print what was seen."""
    print(f"trades of the venue  {outcome.venue_trades:,}")
    print(f"stored               {outcome.stored_trades:,}, and {outcome.lost_trades:,} called lost")
    print(f"gaps                 {dict(outcome.gaps)}")
    print(f"books compared       {outcome.books_compared:,} updates; {outcome.stale_times} times out of step")
    print(f"faults               {outcome.fired}")
    print(f"the bridge           {outcome.bridge}")
    for line in outcome.wrong[:20]:
        print(f"WRONG                {line}")
    print("all is right" if not outcome.wrong else f"{len(outcome.wrong)} things are wrong")
