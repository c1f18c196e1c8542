"""From captures that lack a message to what the command line says about the hole."""

import captured
from bridge_process import Bridge, capture_options

TAKEN = {"ETHUSDT": 41, "SOLUSDT": 77, "BTCUSDT": 120, "BNBUSDT": 202, "ADAUSDT": 203, "XRPUSDT": 1}
"""Which message of each capture is taken out; those at odd places are trades."""


def without(symbol, at):
    frames = [(stamp, frame) for stamp, frame in captured.session(400, symbol) if "stream" in frame]
    return frames[:at] + frames[at + 1 :]


def missing_of(at):
    """Trades are numbered from 100, updates have two ids each from 1000."""
    number = at // 2
    return (
        ("trades", 100 + number, 100 + number)
        if at % 2
        else ("orderbook", 1_000 + 2 * number, 1_001 + 2 * number)
    )


def test_a_message_that_is_taken_out_of_a_capture_is_in_the_ledger(tmp_path):
    paths = [captured.write(tmp_path / f"{symbol}.gz", without(symbol, at)) for symbol, at in TAKEN.items()]
    bridge = Bridge.ready(tmp_path / "var", *capture_options(*paths))
    bridge.ask("run")
    missing = {
        one["symbol"].replace("/", ""): (one["stream"], one["first_id"], one["last_id"])
        for one in bridge.ask("gaps", "--all")
        if one["state"] in {"lost", "open"}
    }
    expected = {symbol: missing_of(at) for symbol, at in TAKEN.items()}
    assert expected.pop("XRPUSDT") == ("trades", 100, 100)  # its first one: nothing says that it was there
    assert missing == expected

    streams = bridge.ask("gaps", "ETH/USDT", "--all")
    assert [(one["stream"], one["first_id"], one["last_id"], one["state"]) for one in streams] == [
        ("trades", 100, 119, "complete"),
        ("trades", 120, 120, "open"),
        ("trades", 121, 299, "complete"),
        ("orderbook", 1_000, 1_399, "complete"),
    ]
    assert [one["ids"] for one in streams] == [20, 1, 179, 400]
    assert "complete" in bridge("gaps", "ETH/USDT", "--all")

    shown = bridge.complete("trades", "ETH/USDT", "--limit", "0")
    assert "1 trade missing, open" in shown.stdout
    assert "1 trade is missing in this range: 120 (open)" in shown.stderr
    shown = bridge.complete("trades", "ETH/USDT", "--limit", "0", "--json")
    assert "1 trade is missing in this range: 120 (open)" in shown.stderr
    shown = bridge.complete("trades", "ETH/USDT", "--limit", "20")
    assert "missing" not in shown.stdout + shown.stderr
    shown = bridge.complete("candles", "ETH/USDT", "1s")
    assert "1 trade is missing in this range: 120 (open)" in shown.stderr
    assert shown.stdout.count("not complete") == 2  # the first one, and that with the hole


def test_between_two_sessions_both_streams_are_lost_and_the_same_again_adds_nothing(tmp_path):
    first = captured.write(tmp_path / "a.gz", captured.session(200))
    second = captured.write(tmp_path / "b.gz", captured.session(200, first=400))
    bridge = Bridge.ready(tmp_path / "var")
    for path in (first, second, first, second):
        Bridge(tmp_path / "var", *capture_options(path)).ask("run")
    ledger = [
        (one["stream"], one["first_id"], one["last_id"], one["state"]) for one in bridge.ask("gaps", "--all")
    ]
    assert ledger == [
        ("trades", 100, 199, "complete"),
        ("trades", 200, 299, "lost"),
        ("trades", 300, 399, "complete"),
        ("orderbook", 1_000, 1_199, "complete"),
        ("orderbook", 1_200, 1_399, "lost"),
        ("orderbook", 1_400, 1_599, "complete"),
    ]
    assert len(bridge.ask("gaps")) == 2
