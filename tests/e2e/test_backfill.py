"""`bridge backfill` as a user types it: from a venue on this machine and from bulk files, into rows."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from binance_proxy.domain.tick import TradeTick
from binance_proxy.sandbox.serve import Sandbox, serve
from binance_proxy.sandbox.settings import SandboxSettings
from bridge_process import Bridge, eventually
from bulk_files import MS, US, aggregate_rows, candle_rows, checksum, trade_rows, write
from contract.exchange_history import past
from contract.market_store import ETH
from sandboxed import Past

FIRST, LAST = 20_000, 25_999
TRADES = past(*range(FIRST, LAST + 1))
HOLE = (21_000, 23_456)
COUNT = "select count(*), min(trade_id), max(trade_id), count(distinct trade_id) from trades"
WHOLE = [[str(len(TRADES)), str(FIRST), str(LAST), str(len(TRADES))]]


def when(ts: int) -> str:
    return datetime.fromtimestamp(ts // 10**9, UTC).isoformat()


RANGE = ("--start", when(TRADES[0].ts_event), "--end", when(TRADES[-1].ts_event + 10**9))


@asynccontextmanager
async def venue(trades: Sequence[TradeTick], **settings: object) -> AsyncIterator[Sandbox]:
    instruments = [replace(ETH, venue=trades[0].instrument.venue)]
    async with serve(Past(trades), instruments, SandboxSettings(port=0, hold=False, **settings)) as sandbox:
        await sandbox.playing
        yield sandbox


def at(sandbox: Sandbox, folder: Path, *options: str) -> Bridge:
    return Bridge(
        folder / "var",
        "feed.use=binance",
        f"feed.binance.rest_url={sandbox.rest_url}",
        f"feed.binance.stream_url={sandbox.stream_url}",
        "feed.binance.time_unit=ms",
        *options,
    )


async def off(call: object, *arguments: object, **more: object) -> object:
    """Call what blocks without holding up the venue, which lives on our loop."""
    return await asyncio.to_thread(call, *arguments, **more)


async def test_a_pair_that_was_never_recorded_is_filled_and_its_holes_again_later(tmp_path: Path) -> None:
    async with venue(TRADES) as sandbox:
        bridge = at(sandbox, tmp_path)
        report = await off(bridge.ask, "backfill", "ETH/USDT", *RANGE, "--candles", "1m")
        assert (report["missing"], report["fetched"], report["new"]) == (6_000, 6_000, 6_000)
        assert (report["venue"], report["ids"]) == ("binance", [FIRST, LAST])
        assert report["still_missing"] == report["candles_differ"] == []
        assert report["candles_checked"] > 10
        assert await off(bridge.query, COUNT) == WHOLE
        (recorded,) = (await off(bridge.ask, "pairs"))["recorded"]
        assert (recorded["time_resolution_ns"], recorded["price_precision"]) == (MS, 8)

        await off(bridge.query, f"delete from trades where trade_id between {HOLE[0]} and {HOLE[1]}")
        report = await off(bridge.ask, "backfill", "eth/usdt", *RANGE)
        assert (report["missing"], report["new"]) == (2_457, 2_457)
        assert await off(bridge.query, COUNT) == WHOLE
        report = await off(bridge.ask, "backfill", "ETH/USDT", *RANGE)
        assert (report["missing"], report["fetched"]) == (0, 0)


async def test_a_run_that_was_killed_is_continued(tmp_path: Path) -> None:
    async with venue(TRADES) as sandbox:
        # A hundredth of the weight is enough for a few pages; then the run waits for the next minute.
        bridge = at(sandbox, tmp_path, "feed.care.weight_share=0.02")
        running = bridge.start("backfill", "ETH/USDT", *RANGE, log=tmp_path / "log")
        stored = "select count(*) from trades"
        await off(eventually, lambda: _rows(bridge, stored) > 0, "a page is stored")
        running.send_signal(signal.SIGKILL)
        await off(running.wait)
        before = int((await off(bridge.query, stored))[0][0])
        assert 0 < before < len(TRADES)
        report = await off(at(sandbox, tmp_path).ask, "backfill", "ETH/USDT", *RANGE)
        assert report["new"] == report["missing"] == len(TRADES) - before
        assert await off(bridge.query, COUNT) == WHOLE


async def test_ctrl_c_stops_it_with_130_and_says_that_it_can_go_on(tmp_path: Path) -> None:
    async with venue(TRADES) as sandbox:
        bridge = at(sandbox, tmp_path, "feed.care.weight_share=0.02")
        log = tmp_path / "log"
        running = bridge.start("backfill", "ETH/USDT", *RANGE, log=log)
        await off(eventually, lambda: _rows(bridge, "select count(*) from trades") > 0, "a page is stored")
        running.send_signal(signal.SIGINT)
        assert await off(running.wait) == 130
        assert "the same command goes on from there" in log.read_text()
        assert "Traceback" not in log.read_text()


async def test_aggregated_trades_stand_in_where_single_ones_are_not_given(tmp_path: Path) -> None:
    async with venue(TRADES, historical_trades=False) as sandbox:
        bridge = at(sandbox, tmp_path)
        report = await off(bridge.ask, "backfill", "ETH/USDT", *RANGE, "--candles", "1m")
        assert report["new"] < report["missing"] == len(TRADES)
        assert report["still_missing"] == report["candles_differ"] == []
        assert report["candles_checked"] > 10
        sizes = "select sum(size), sum(last_match_id - first_match_id + 1) from trades"
        assert await off(bridge.query, sizes) == [[str(sum(one.size for one in TRADES)), str(len(TRADES))]]


async def test_what_the_venue_has_not_is_a_lost_gap(tmp_path: Path) -> None:
    kept = [one for one in TRADES if not HOLE[0] <= one.trade_id <= HOLE[1]]
    async with venue(kept) as sandbox:
        bridge = at(sandbox, tmp_path)
        assert "2,457 ids in 1 range" in await off(bridge, "backfill", "ETH/USDT", *RANGE)
        (gap,) = await off(bridge.ask, "gaps", "ETH/USDT")
        assert (gap["first_id"], gap["last_id"], gap["state"], gap["stream"]) == (*HOLE, "lost", "trades")
    async with venue(TRADES) as sandbox:
        bridge = at(sandbox, tmp_path)
        assert (await off(bridge.ask, "backfill", "ETH/USDT", *RANGE))["gaps_repaired"] == 1
        (gap,) = await off(bridge.ask, "gaps", "ETH/USDT")
        assert gap["state"] == "repaired"


async def test_what_is_made_up_stays_marked_as_such(tmp_path: Path) -> None:
    made_up = [replace(one, instrument=replace(ETH, venue="simulated")) for one in TRADES[:10]]
    async with venue(made_up) as sandbox:
        bridge = at(sandbox, tmp_path)
        assert (await off(bridge.ask, "backfill", "ETH/USDT", *RANGE))["venue"] == "simulated"
        said = await off(bridge.complete, "backfill", "ETH/USDT", *RANGE, "--venue", "binance")
        assert said.returncode == 2
        assert "feed.use = binance is of simulated spot, which --venue or --market rules out" in said.stderr


async def test_an_unknown_pair_is_one_clear_sentence(tmp_path: Path) -> None:
    async with venue(TRADES) as sandbox:
        said = await off(at(sandbox, tmp_path).complete, "backfill", "NOSUCH/USDT", *RANGE)
        assert said.returncode == 1
        assert said.stderr.strip().splitlines()[-1].startswith("bridge: NOSUCH/USDT cannot be filled")
        assert "Traceback" not in said.stderr


# From files


@pytest.mark.parametrize(("unit_ns", "resolution"), [(MS, MS), (US, US)], ids=["ms", "us"])
def test_files_fill_in_the_unit_that_they_print(tmp_path: Path, unit_ns: int, resolution: int) -> None:
    bridge = Bridge.ready(tmp_path / "var")
    files = [
        write(tmp_path / "ETHUSDT-trades-2024-08-08.zip", trade_rows(TRADES[:3_000], unit_ns)),
        write(tmp_path / "ETHUSDT-trades-2024-08-09.zip", trade_rows(TRADES[3_000:], unit_ns)),
        write(tmp_path / "ETHUSDT-1m-2024-08.zip", candle_rows(TRADES, unit_ns=unit_ns)),
    ]
    report = bridge.ask("backfill", "ETH/USDT", *RANGE, "--candles", "1m", "--from-files", *map(str, files))
    assert (report["new"], report["candles_differ"]) == (6_000, [])
    assert report["candles_checked"] > 10
    assert bridge.query(COUNT) == WHOLE
    (recorded,) = bridge.ask("pairs")["recorded"]
    assert recorded["time_resolution_ns"] == resolution
    # The other unit: µs are truncated to ms and nothing comes twice; ms are refused for what is in µs.
    other = write(tmp_path / "ETHUSDT-trades-2024-08.zip", trade_rows(TRADES, MS + US - unit_ns))
    said = bridge.complete("backfill", "ETH/USDT", *RANGE, "--from-files", str(other))
    if unit_ns == MS:
        assert said.returncode == 0
    else:
        assert said.returncode == 1
        assert "has times in ms, and binance.spot.ethusdt is recorded in µs" in said.stderr
    assert bridge.query(COUNT) == WHOLE


def test_nothing_of_a_file_with_a_wrong_checksum_is_used(tmp_path: Path) -> None:
    bridge = Bridge(tmp_path / "var", "store.use=memory")
    file = write(tmp_path / "ETHUSDT-aggTrades-2024-08-08.zip", aggregate_rows(TRADES), with_checksum=False)
    arguments = ("backfill", "ETH/USDT", *RANGE, "--from-files", str(file))
    assert "has no ETHUSDT-aggTrades-2024-08-08.zip.CHECKSUM beside it" in bridge(*arguments, status=1)
    checksum(file, "0" * 64)
    said = bridge(*arguments, status=1)
    assert "ETHUSDT-aggTrades-2024-08-08.zip is damaged or was replaced: its sha256 is " in said
    assert "0" * 64 in said
    assert bridge.ask(*arguments, "--without-checksum")["missing"] == 6_000
    checksum(file)
    assert bridge.ask(*arguments)["missing"] == 6_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "feed.use = simulated has no past to fill from"),
        (("--from-files", "trades.zip"), "trades.zip is not named as Binance names its files"),
        (("--candles", "7"), "no timeframe"),
        (("--from-files", "ETHUSDT-trades-2024-08-08.zip", "--candles", "1m"), "--candles 1m needs a file"),
        (("--from-files", "ETHUSDT-trades-2024-08-08.zip"), "cannot read ETHUSDT-trades-2024-08-08.zip"),
    ],
)
def test_a_mistake_gets_one_clear_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    bridge = Bridge(tmp_path / "var")
    said = bridge.complete("backfill", "ETH/USDT", *RANGE, "--without-checksum", *arguments)
    assert said.returncode in {1, 2}
    assert says in said.stderr.strip().splitlines()[-1]
    assert "Traceback" not in said.stderr
    assert not bridge.data_dir.exists()


def _rows(bridge: Bridge, sql: str) -> int:
    """Return a number that the store of a running bridge answers; 0 as long as there is none to ask."""
    if not (bridge.data_dir / "postgres").exists():
        return 0
    try:
        done = subprocess.run(
            bridge._line("psql", ("--", "-X", "-A", "-t", "-c", sql)),
            capture_output=True,
            text=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return 0
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 0
