"""`bridge verify` and `bridge book --at` as a user types them, on a whole recording and on a spoilt one."""

import json
from datetime import UTC, datetime

import pytest

import captured
from bridge_process import Bridge, capture_options
from e2e.test_backfill import RANGE as PAST
from e2e.test_backfill import TRADES, at, off, venue

RANGE = ("--start", "2024-08-08T23:00:00Z", "--end", "2024-08-09T01:00:00Z")


def moment(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat()


@pytest.fixture
def bridge(tmp_path):
    path = captured.write(tmp_path / "a.gz", captured.session(3_000))
    bridge = Bridge.ready(tmp_path / "var", *capture_options(path))
    bridge("run")
    return bridge


def certificate(bridge: Bridge, *more: str, status: int) -> dict:
    done = bridge.complete("verify", "BTC/USDT", *RANGE, *more, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_recording_holds_until_it_is_spoilt_and_its_holes_are_entered_once(bridge, tmp_path):
    good = certificate(bridge, status=0)
    assert good["holds"]
    assert (good["trades"]["count"], good["updates"]["count"]) == (1_500, 1_500)
    assert good["faults"] == good["entered"] == []
    assert "HOLDS" in bridge("verify", "btcusdt", *RANGE)

    bridge.query("delete from trades where trade_id between 500 and 504 or trade_id = 900")
    bridge.query("delete from quotes where first_update_id = 2000")
    bad = certificate(bridge, status=1)
    found = [(one["check"], one["first_id"], one["last_id"]) for one in bad["faults"]]
    assert {("trade ids", 500, 504), ("trade ids", 900, 900), ("update ids", 2000, 2001)} <= set(found)
    assert [(gap["first_id"], gap["last_id"], gap["state"]) for gap in bad["entered"]] == [
        (500, 504, "lost"), (900, 900, "lost"), (2000, 2001, "lost"),
    ]  # fmt: skip
    gaps = [(gap["stream"], gap["first_id"], gap["last_id"]) for gap in bridge.ask("gaps")]
    assert sorted(gaps) == [("orderbook", 2000, 2001), ("trades", 500, 504), ("trades", 900, 900)]
    again = certificate(bridge, status=1)
    assert again["entered"] == []
    assert again["trades"]["sha256"] == bad["trades"]["sha256"] != good["trades"]["sha256"]
    shown = bridge.complete("verify", "BTC/USDT", *RANGE)
    assert shown.returncode == 1
    assert "DOES NOT HOLD" in shown.stdout
    assert "500 to 504" in shown.stdout


def test_the_book_of_a_moment(bridge):
    at = captured.START + 500 * captured.STEP_NS  # the time of the 500th update
    book = bridge.ask("book", "BTC/USDT", "--at", moment(at), "--levels", "1")
    assert (book["last_update_id"], book["ts_event"]) == (2001, at)
    said = bridge("book", "BTC/USDT", "--at", "2024-08-08T00:00:00Z", status=1)
    assert "known again from 2024-08-08 23:54:1" in said
    said = bridge("book", "BTC/USDT", "--at", "2024-08-10T00:00:00Z", status=1)
    assert "not recorded" in said
    bridge.query("delete from quotes where first_update_id = 2000")
    said = bridge("book", "BTC/USDT", "--at", moment(at), status=1)
    assert "updates 2000 to 2001" in said
    assert bridge("book", "BTC/USDT", "--at", "yesterday", status=2)


def test_bad_input_is_named(bridge, tmp_path):
    backwards = ("--start", RANGE[3], "--end", RANGE[1])
    assert "does not lie before" in bridge("verify", "BTC/USDT", *backwards, status=2)
    assert "never recorded" in bridge("verify", "DOGE/USDT", *RANGE, status=1)
    empty = ("--start", "2020-01-01T00:00:00Z", "--end", "2020-01-02T00:00:00Z")
    assert "nothing of" in bridge("verify", "BTC/USDT", *empty, status=1)
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("a,b\n1,2\n")
    assert "foreign.csv" in bridge("verify", "BTC/USDT", *RANGE, "--klines", str(foreign), status=1)


async def test_candles_are_compared_with_the_exchanges_own_and_holes_stay_open_for_it(tmp_path):
    async with venue(TRADES) as sandbox:
        bridge = at(sandbox, tmp_path)
        await off(bridge.ask, "backfill", "ETH/USDT", *PAST)
        good = await off(bridge.ask, "verify", "ETH/USDT", *PAST)
        compared = {check["name"]: check["compared"] for check in good["checks"]}
        assert good["holds"]
        assert compared["the exchange's candles 1m"] > 10
        await off(bridge.query, "delete from trades where trade_id = 22000")
        bad = json.loads((await off(bridge.complete, "verify", "ETH/USDT", *PAST, "--json")).stdout)
        assert [(gap["first_id"], gap["state"]) for gap in bad["entered"]] == [(22_000, "open")]
        assert "trades of the candle are missing" in {one["why"] for one in bad["unverifiable"]}
    away = await off(bridge.complete, "verify", "ETH/USDT", *PAST, "--json")
    assert any("exchange" in one["check"] for one in json.loads(away.stdout)["unverifiable"])
