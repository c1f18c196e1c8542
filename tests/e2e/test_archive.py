"""`bridge archive`: what is archived, verified and dropped answers every query as before."""

import json
from collections.abc import Sequence
from decimal import Decimal

import duckdb
import polars as pl
import pytest

import captured
import recorded
from bridge_process import Bridge, capture_options, eventually

DROPS = ("store.timescale.upkeep.keep_trades_days=4", "store.timescale.upkeep.keep_books_days=4")


def answers(bridge: Bridge, *which: str, timeframes: Sequence[str]) -> dict[str, str]:
    """What the questions about a pair answer, byte for byte."""
    asked = {
        "trades": ("trades", *which, "--limit", "0"),
        "some trades": ("trades", *which, "--start", "2024-08-08T23:59:00Z", "--end", "2024-08-09T00:01:00Z"),
        "book": ("book", *which, "--levels", "0"),
        "gaps": ("gaps", *which),
    }
    for timeframe in timeframes:
        asked[timeframe] = ("candles", *which, timeframe, "--limit", "0")
    return {name: bridge(*line, "--json") for name, line in asked.items()}


def dropped(bridge: Bridge) -> None:
    """Let a run with retention drop everything that is old."""
    log = bridge.data_dir.parent / "drops.log"
    run = Bridge(bridge.data_dir, "feed.use=simulated", *DROPS).start("run", log=log)
    try:
        # Nobody may look into the tables meanwhile: a day that is read is let be for a minute.
        eventually(lambda: "dropped the book_snapshots of" in log.read_text(), "the first drop")
        days = "select count(*) from pg_class where relkind = 'r' and relname ~ '_p2024[0-9]{4}$'"
        eventually(lambda: bridge.query(days) == [["0"]], "retention to drop what is archived")
    finally:
        run.terminate()
        run.communicate(timeout=60)


def check_life(bridge: Bridge, *which: str, timeframes: Sequence[str] = ("7s", "5m", "7h", "1mo")) -> None:
    bridge("run")
    before = answers(bridge, *which, timeframes=timeframes)
    archived = bridge.ask("archive", "run")
    assert archived["refused"] == []
    assert answers(bridge, *which, timeframes=timeframes) == before, "both have everything"
    dropped(bridge)
    assert answers(bridge, *which, timeframes=timeframes) == before, "the archive has everything"
    assert json.loads(bridge("archive", "verify", "--json"))
    assert bridge.ask("archive", "run", which[0], "--venue", "binance")["archived"] == []


def test_every_query_answers_as_before_once_days_are_archived_and_dropped(tmp_path):
    frames = captured.session(2_000)
    bridge = Bridge.ready(tmp_path / "var", *capture_options(captured.write(tmp_path / "a.gz", frames)))
    check_life(bridge, "BTC/USDT", "--venue", "binance")


@pytest.mark.shared_data
def test_a_recorded_session_lives_on_in_the_archive(tmp_path):
    bridge = Bridge.ready(
        tmp_path / "var",
        *capture_options(*recorded.captures("spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz")),
    )
    check_life(bridge, "BTC/USDT", "--venue", "binance", timeframes=("7s", "5m"))
    files = f"{tmp_path}/var/archive/venue=binance/*/*/stream=trades/*/*.parquet"
    [row] = duckdb.sql(
        "select count(*), min(trade_id), max(trade_id), sum(size), sum((price * size)::decimal(38, 8))"
        f" from read_parquet('{files}', hive_partitioning = true)"
    ).fetchall()
    assert row == (19_904, 3735683259, 3735703162, Decimal("437.91552"), Decimal("27006929.5910348"))
    frame = pl.read_parquet(files)
    assert (len(frame), frame["size"].sum()) == (19_904, Decimal("437.91552"))
    quotes = pl.read_parquet(files.replace("stream=trades", "stream=quotes"))
    assert (len(quotes), quotes["last_update_id"].max()) == (6_495, 50093696318)


def test_a_day_that_is_not_over_is_refused(tmp_path):
    bridge = Bridge(tmp_path / "var")
    said = bridge("archive", "run", "--before", "2100-01-01", status=2)
    assert "--before 2100-01-01 lies behind today" in said


def test_an_archive_that_is_damaged_is_named(tmp_path):
    frames = captured.session(400)
    bridge = Bridge.ready(tmp_path / "var", *capture_options(captured.write(tmp_path / "a.gz", frames)))
    bridge("run")
    bridge("archive", "run")
    [day] = (tmp_path / "var").rglob("stream=trades/*/ticks.parquet")
    day.write_bytes(day.read_bytes()[:-100])
    assert "stream=trades" in bridge.complete("archive", "verify").stdout
    said = bridge("trades", "BTC/USDT", status=1)
    assert str(day).partition("archive/")[2] in said


def test_what_is_archived_is_shown_pair_by_pair_and_day_by_day(tmp_path):
    frames = captured.session(400)
    bridge = Bridge.ready(tmp_path / "var", *capture_options(captured.write(tmp_path / "a.gz", frames)))
    for command in ("list", "verify"):
        assert "nothing is archived yet" in bridge("archive", command)
    assert "0 days in 0 files" in bridge("check")
    assert not (tmp_path / "var/archive").exists(), "looking makes nothing"
    bridge("run")
    [before] = bridge.ask("stats")
    assert before["size_bytes"] is None
    assert bridge.ask("archive", "run", "BTC/USDT", "--before", "2024-08-08")["archived"] == []
    archived = bridge.ask("archive", "run")["archived"]
    sizes = {day["ticks"]: day["size_bytes"] for day in archived}
    assert sorted(sizes) == ["snapshots", "trades", "updates"]
    files = {one.parts[-3]: one.stat().st_size for one in (tmp_path / "var/archive").rglob("ticks.parquet")}
    assert sizes["trades"] == files["stream=trades"]
    listed = bridge("archive", "list", "BTC/USDT").splitlines()
    assert [line.split()[:2] for line in listed[-3:]] == [
        [ticks, "2024-08-08"] for ticks in ("trades", "updates", "snapshots")
    ]
    assert len(bridge("archive", "list").splitlines()) == 2 + 3
    [day] = bridge.ask("stats")
    assert day["size_bytes"] == sum(sizes.values())
    assert f"{tmp_path}/var/archive, 1 day in 3 files" in bridge("check").replace("\n", "")


def test_an_archive_that_cannot_be_used_is_told_by_check_and_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    for url, says in {
        str(file): f"the archive cannot be used: {file}: Not a directory",
        "gopher://host/ticks": "archive.url = gopher://host/ticks cannot be used: Protocol not known",
        "sftp://me:hush@host/ticks": "archive.url = sftp://me:***@host/ticks cannot be used",
    }.items():
        bridge = Bridge(tmp_path / "var", f"archive.url={url}")
        assert says in bridge("archive", "list", status=1)
        checked = bridge.complete("check")
        assert checked.returncode == 1
        assert "wrong  archive" in checked.stdout
        assert "hush" not in checked.stdout + bridge("config")
    assert "neither a folder nor a URL" in Bridge(tmp_path / "var", "archive.url=s3:/bucket")(
        "archive", "list", status=2
    )


def test_a_day_is_written_as_a_day(tmp_path):
    said = Bridge(tmp_path / "var")("archive", "run", "--before", "2024-08-09T00:00:00Z", status=2)
    assert "--before '2024-08-09T00:00:00Z' is not a day such as 2024-08-09" in said


def test_an_archive_answers_beside_a_new_database(tmp_path):
    frames = captured.session(400)
    old = Bridge.ready(tmp_path / "var", *capture_options(captured.write(tmp_path / "a.gz", frames)))
    old("run")
    old("archive", "run")
    (tmp_path / "var/archive").rename(tmp_path / "moved")
    new = Bridge(tmp_path / "new", f"archive.url={tmp_path}/moved")
    for asked in (("trades", "--limit", "0"), ("book",), ("candles", "7s")):
        command, *options = asked
        there = Bridge(tmp_path / "var", f"archive.url={tmp_path}/moved")(command, "BTC/USDT", *options)
        assert new(command, "BTC/USDT", *options) == there
        assert there
    assert "was never recorded here" in new("trades", "NOPE/USDT", status=1)


def test_a_recording_knows_what_is_in_the_archive_alone(tmp_path):
    """Two sessions with a hole between them, of which the first is archived and dropped before the second."""
    frames = captured.session(900)
    first, second = (
        captured.write(tmp_path / name, part)
        for name, part in (("a.gz", frames[:400]), ("b.gz", frames[500:]))
    )
    bridge = Bridge.ready(tmp_path / "var", *capture_options(first))
    bridge("run")
    bridge("archive", "run")
    dropped(bridge)
    again = Bridge(tmp_path / "var", *capture_options(second))
    again("run")
    gaps = again.ask("gaps", "BTC/USDT")
    assert {(gap["stream"], gap["state"]) for gap in gaps} == {("trades", "lost"), ("orderbook", "lost")}
    bridge("run")
    assert again.ask("gaps", "BTC/USDT") == gaps, "what is archived is no hole when it is played again"
