"""A bridge whose database goes away keeps publishing, keeps what it publishes, and stores it once."""

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from binance_proxy.adapters.embedded.postgres import open_postgres
from bridge_process import PATIENCE_S, Bridge, Subscriber, eventually, subscribed

RATE = ("feed.simulated.rate=100", "spool.patience_s=2", "spool.longest_pause_s=0.5", "repair.enabled=false")


class Database:
    """A PostgreSQL of the test's own, which it can stop and start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()

    def start(self) -> None:
        async def start() -> str:
            return (await self._stack.enter_async_context(open_postgres(self.folder, owner="pytest"))).url

        url = asyncio.run_coroutine_threadsafe(start(), self._loop).result(PATIENCE_S)
        assert self.url in {"", url}, "it has the same port again"
        self.url = url

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(PATIENCE_S)

    def end(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "database")
    database.start()
    yield database
    database.end()


@pytest.fixture
def bridge(tmp_path: Path, database: Database) -> Bridge:
    return Bridge(tmp_path / "var", f"store.timescale.url={database.url}", *RATE)


def newest(subscriber: Subscriber) -> dict:
    return [{}, *subscriber.of_type("status")][-1]


def published(*subscribers: Subscriber) -> set[tuple[str, int]]:
    return {
        (trade["symbol"], trade["trade_id"])
        for subscriber in subscribers
        for trade in subscriber.of_type("trade")
    }


def stored(bridge: Bridge, database: Database) -> list[tuple[str, int]]:
    bridge_with_psql = Bridge(database.folder.parent / "asking", f"store.timescale.url={database.url}")
    trades = bridge_with_psql.ask("trades", "ETH/USDT", "--limit", "0")
    trades += bridge_with_psql.ask("trades", "SOL/USDT", "--limit", "0")
    return [(trade["symbol"], trade["trade_id"]) for trade in trades]


def test_a_database_that_is_stopped_for_a_while(bridge, database, tmp_path):
    with subscribed(bridge) as subscriber:
        process = bridge.start("run", log=tmp_path / "log")
        eventually(lambda: newest(subscriber).get("stored", 0) > 100, "rows are stored")
        database.stop()
        eventually(lambda: newest(subscriber).get("recording") == "spooling", "ticks go to the spool")
        before = len(subscriber.of_type("trade"))
        eventually(lambda: newest(subscriber).get("in_spool", 0) > 200, "the spool fills")
        eventually(lambda: len(subscriber.of_type("trade")) > before + 20, "publishing goes on")
        assert newest(subscriber)["spool_bytes"] > 0
        assert newest(subscriber)["oldest_unstored_s"] > 0
        shown = bridge("status")
        assert "events that wait in the spool" in shown
        assert "ticks go to the spool" in shown
        database.start()
        eventually(lambda: newest(subscriber).get("recording") == "storing", "the spool is drained")
        spooled = newest(subscriber)["spooled"]
        stored_before = newest(subscriber)["stored"]
        eventually(lambda: newest(subscriber)["stored"] > stored_before + 200, "straight again")
        assert newest(subscriber)["spooled"] - spooled < 200
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, printed
    assert "wait" not in printed
    found = stored(bridge, database)
    assert len(found) == len(set(found))
    assert set(found) == published(subscriber)
    log = (tmp_path / "log").read_text()
    assert "goes to the spool" in log
    assert "the spool is empty again" in log


def test_a_bridge_that_is_killed_while_it_spools(bridge, database, tmp_path):
    with subscribed(bridge) as subscriber:
        process = bridge.start("run", log=tmp_path / "log")
        eventually(lambda: newest(subscriber).get("stored", 0) > 100, "rows are stored")
        database.stop()
        eventually(lambda: newest(subscriber).get("in_spool", 0) > 300, "the spool fills")
        status = newest(subscriber)
        process.kill()
        process.communicate()
    accepted = status["trades"] + status["quotes"] + status["snapshots"] - status["waiting"]
    database.start()
    checked = bridge("check")
    assert "wait in it" in checked
    assert "0 events in" not in checked
    with subscribed(bridge) as again:
        process = bridge.start("run", "--json", log=tmp_path / "log2")
        eventually(lambda: newest(again).get("stored", 0) > status["in_spool"], "what was spooled is stored")
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    report = json.loads(printed)
    assert report["drained"] >= status["in_spool"]
    assert report["in_spool"] == 0
    found = stored(bridge, database)
    assert len(found) == len(set(found))
    missing = published(subscriber, again) - set(found)
    # What waited in memory for its batch at the kill is not on any disk: a tenth of a second of ticks.
    assert len(missing) < 100
    assert accepted > 0
    assert "of an earlier run go to the database first" in (tmp_path / "log2").read_text()


def test_a_stop_while_the_database_is_away_leaves_the_rest_for_the_next_run(bridge, database, tmp_path):
    with subscribed(bridge) as subscriber:
        process = bridge.start("run", log=tmp_path / "log")
        eventually(lambda: newest(subscriber).get("stored", 0) > 50, "rows are stored")
        database.stop()
        eventually(lambda: newest(subscriber).get("in_spool", 0) > 50, "the spool fills")
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, "nothing is lost"
    assert "the next run stores them" in printed
    other = Bridge(tmp_path / "var", *RATE).complete("run", "--duration", "1")  # its own, in the same folder
    assert other.returncode == 1
    assert "wait in the spool" in other.stderr
    assert "for another database" in other.stderr
    database.start()
    bridge("run", "--duration", "1")
    assert set(stored(bridge, database)) >= published(subscriber)


def test_a_database_that_is_away_at_the_start_is_waited_for(bridge, database, tmp_path):
    database.stop()
    with subscribed(bridge) as subscriber:
        process = bridge.start("run", log=tmp_path / "log")
        eventually(lambda: "trying again in" in (tmp_path / "log").read_text(), "it waits, and says so")
        said = (tmp_path / "log").read_text()
        assert "PostgreSQL cannot be reached" in said
        assert process.poll() is None
        asked = bridge.complete("candles", "ETH/USDT")
        assert asked.returncode == 1, "questions do not wait"
        database.start()
        eventually(lambda: newest(subscriber).get("stored", 0) > 50, "rows are stored")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_a_second_bridge_with_the_same_folder_is_refused(bridge, tmp_path, database):
    with subscribed(bridge) as subscriber:
        process = bridge.start("run", log=tmp_path / "log")
        eventually(lambda: newest(subscriber).get("stored", 0) > 10, "rows are stored")
        second = Bridge(tmp_path / "var", f"store.timescale.url={database.url}", *RATE)
        refused = second.complete("run")
        assert refused.returncode == 1
        assert "is in use by bridge run (pid" in refused.stderr
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_a_wrong_password_at_the_start_stops_at_once(bridge, database, tmp_path):
    wrong = Bridge(tmp_path / "other", f"store.timescale.url={_other_password(database.url)}")
    refused = wrong.complete("run", "--duration", "60")
    assert refused.returncode == 1
    assert "check user and password" in refused.stderr


def _other_password(url: str) -> str:
    before, _, behind = url.rpartition("@")
    return f"{before.rpartition(':')[0]}:wrong@{behind}"


def test_a_full_spool_stops_recording_and_not_publishing(tmp_path, database):
    bridge = Bridge(tmp_path / "var", f"store.timescale.url={database.url}", *RATE,
                    "spool.limit_bytes=20000", "record.buffer=300", "record.batch=100")  # fmt: skip
    with subscribed(bridge) as subscriber:
        process = bridge.start("run", log=tmp_path / "log")
        eventually(lambda: newest(subscriber).get("stored", 0) > 50, "rows are stored")
        database.stop()
        eventually(lambda: newest(subscriber).get("recording") == "stopped", "the spool is full")
        assert bridge.complete("status").returncode == 1
        eventually(lambda: newest(subscriber).get("dropped", 0) > 100, "ticks are dropped")
        before = len(subscriber.of_type("trade"))
        eventually(lambda: len(subscriber.of_type("trade")) > before + 50, "publishing goes on")
        database.start()
        eventually(lambda: newest(subscriber).get("recording") == "storing", "recording goes on")
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, "all that was dropped is told as gaps"
    assert "dropped" in printed
    log = (tmp_path / "log").read_text()
    assert log.count("RECORDING IS STOPPED") == 1
    assert "spool.limit_bytes is 20,000" in log
    asking = Bridge(tmp_path / "asking", f"store.timescale.url={database.url}")
    told = {
        (gap["symbol"], number)
        for symbol in ("ETH/USDT", "SOL/USDT")
        for gap in asking.ask("gaps", symbol)
        if gap["stream"] == "trades"
        for number in range(gap["first_id"], gap["last_id"] + 1)
    }
    found = set(stored(bridge, database))
    assert published(subscriber) - found == told != set()


def test_nobody_listening_is_said_with_its_address(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        bridge = Bridge(
            tmp_path / "var", f"store.timescale.url=postgresql://me:secret@127.0.0.1:{port}/ticks"
        )
        process = bridge.start("run", log=tmp_path / "log")
        eventually(lambda: "trying again in" in (tmp_path / "log").read_text(), "it says so")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    said = (tmp_path / "log").read_text()
    assert f"waiting for PostgreSQL 127.0.0.1:{port}/ticks: PostgreSQL cannot be reached" in said
    assert "secret" not in said
    assert process.returncode == 130
