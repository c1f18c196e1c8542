"""What is tracked in the tables is what a run records."""

from contextlib import contextmanager

import pytest

from bridge_process import PATIENCE_S, Bridge, eventually, free_port, subscribed


def test_pairs_and_streams_are_taken_from_the_tables(tmp_path):
    bridge = Bridge.ready(tmp_path / "var", "feed.simulated.speed=max", "feed.simulated.events=3000")
    bridge("migrate")
    bridge.query("insert into tracked_pairs (symbol) values ('BTC/USDT')")
    bridge.query("update tracked_pairs set enabled = false where symbol = 'ETH/USDT'")
    bridge.query("delete from tracked_pair_streams where symbol = 'SOL/USDT' and stream = 'trades'")
    bridge("run")
    recorded = {one["symbol"] for one in bridge.ask("pairs")["recorded"]}
    assert recorded == {"BTC/USDT", "SOL/USDT"}
    assert bridge.query("select distinct symbol from trades_decimal") == [["BTC/USDT"]]
    assert bridge.query(
        "select distinct symbol from quotes join instruments using (instrument_id) order by symbol"
    ) == [["BTC/USDT"], ["SOL/USDT"]]


def test_a_run_with_nothing_to_record_waits_for_a_pair(tmp_path):
    bridge = Bridge.ready(tmp_path / "var", "feed.simulated.rate=200")
    bridge("migrate")
    bridge.query("update tracked_pairs set enabled = false")
    with subscribed(bridge) as heard, running(bridge, tmp_path / "log") as log:
        eventually(lambda: "pairs add BTC/USDT" in log.read_text(), "it says what to do")
        assert "nothing yet" in log.read_text()
        bridge("pairs", "add", "BTC/USDT")
        eventually(lambda: has(heard, "trade", "BTC/USDT"), "a trade of the first pair")
        assert not has(heard, "trade", "ETH/USDT")


def has(heard, kind, symbol, behind=0):
    return any(body["type"] == kind and body["symbol"] == symbol for _, body in heard.messages[behind:])


@contextmanager
def running(bridge, log, *arguments):
    process = bridge.start("run", *arguments, log=log)
    try:
        yield log
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        process.kill()
        process.communicate()


@contextmanager
def the_feed(kind, tmp_path):
    """Yield the options of a run of ETH/USDT and SOL/USDT, which goes on beside BTC/USDT."""
    if kind == "simulated":
        yield ("feed.simulated.rate=200",)
        return
    port = free_port()
    venue = Bridge(tmp_path / "venue", f"sandbox.port={port}", "feed.simulated.rate=200")
    process = venue.start("sandbox", log=tmp_path / "venue.log")
    try:
        eventually(lambda: "stop" in (tmp_path / "venue.log").read_text(), "the sandbox is up")
        yield (
            f"feed.use={kind}", f"feed.{kind}.rest_url=http://127.0.0.1:{port}",
            f"feed.{kind}.stream_url=ws://127.0.0.1:{port}", "repair.patience_s=0.2",
        )  # fmt: skip
    finally:
        process.terminate()
        process.communicate()


def books(heard):
    """Return what the newest status says of the books, by the last word of their names."""
    said = heard.of_type("status")
    return {name.rpartition(".")[2]: state for name, state in said[-1]["instruments"].items()} if said else {}


@pytest.mark.parametrize("kind", ["simulated", "binance"])
def test_a_running_bridge_follows_plain_sql_and_the_other_pairs_lose_nothing(tmp_path, kind):
    with the_feed(kind, tmp_path) as options:
        bridge = Bridge.ready(tmp_path / "var", *options)
        with subscribed(bridge) as heard, running(bridge, tmp_path / "log") as log:
            both = {"ethusdt": "in step", "solusdt": "in step"}
            eventually(lambda: books(heard) == both, "two books in step")

            bridge.query("insert into tracked_pairs (symbol) values ('BTC/USDT')")
            eventually(lambda: books(heard) == {**both, "btcusdt": "in step"}, "BTC/USDT is followed")
            eventually(lambda: has(heard, "trade", "BTC/USDT"), "a trade of it")

            bridge.query(
                "delete from tracked_pair_streams where symbol = 'BTC/USDT' and stream = 'orderbook'"
            )
            eventually(lambda: books(heard) == {**both, "btcusdt": "not tracked"}, "its book is paused")
            assert [body["type"] for topic, body in heard.messages if topic.endswith("btcusdt.orderbook")][
                -1
            ] == "stale"
            behind = len(heard.messages)
            eventually(lambda: has(heard, "trade", "BTC/USDT", behind), "its trades go on")

            bridge("pairs", "resume", "BTC/USDT", "orderbook")
            bridge("pairs", "pause", "BTC/USDT", "trades")
            eventually(lambda: books(heard) == {**both, "btcusdt": "in step"}, "its book is back")
            paused = "no longer recording trades of BTC/USDT"
            eventually(lambda: paused in log.read_text(), "its trades are paused")
            told = len(heard.of_type("status"))
            eventually(lambda: len(heard.of_type("status")) > told + 1, "what was on its way has come")
            behind = len(heard.messages)
            eventually(lambda: has(heard, "quote", "BTC/USDT", behind), "its book goes on")
            assert not has(heard, "trade", "BTC/USDT", behind)
            bridge("pairs", "resume", "BTC/USDT", "trades")
            eventually(lambda: has(heard, "trade", "BTC/USDT", behind), "its trades are back")
            if kind == "binance":
                eventually(lambda: heard.of_type("status")[-1]["repaired"] > 0, "the pause is repaired")

            bridge("pairs", "remove", "BTC/USDT")
            eventually(lambda: books(heard) == both, "BTC/USDT is followed no more")
            assert bridge("pairs", "remove", "BTC/USDT", status=1).startswith(
                "bridge: BTC/USDT is not tracked"
            )
            behind = len(heard.messages)
            eventually(lambda: has(heard, "trade", "ETH/USDT", behind), "the others go on")
            assert not has(heard, "trade", "BTC/USDT", behind)
        for symbol in ("ETH/USDT", "SOL/USDT", *(["BTC/USDT"] if kind == "binance" else [])):
            [[first, last, count]] = bridge.query(
                f"select min(trade_id), max(trade_id), count(*) from trades_decimal where symbol = '{symbol}'"
            )
            assert int(last) - int(first) + 1 == int(count) > 0
        others = [gap for gap in bridge.ask("gaps") if gap["symbol"] != "BTC/USDT"]
        assert others == []
        stale = [body["symbol"] for _, body in heard.messages if body["type"] == "stale"]
        assert set(stale) <= {"BTC/USDT"}


def test_mistakes_are_named(tmp_path):
    bridge = Bridge.ready(tmp_path / "var")
    for arguments, status, says in (
        (("remove", "X/Y"), 1, "X/Y is not tracked; tracked: ETH/USDT (spot), SOL/USDT (spot)"),
        (("pause", "ETH/USDT", "quotes"), 2, "'quotes' is no stream: it is one of trades, orderbook"),
        (("add", "btcusdt"), 2, "'btcusdt' is not a pair such as BTC/USDT"),
        (("add", "BTC/USDT", "--market", "moon"), 2, "--market 'moon' is no market: it is one of spot, usdm"),
        (("add", "BTC/USDT", "--streams", "trades,"), 2, "'' is no stream"),
        (("enable", "ETH/USDT", "-o", "store.use=memory"), 2, "keeps no pairs after the end"),
    ):
        assert says in bridge("pairs", *arguments, status=status)
    bridge("pairs", "add", "eth/usdt", "--market", "usdm", "--streams", "trades")
    assert "say which: --market spot or --market usdm" in bridge("pairs", "disable", "ethusdt", status=2)
    assert bridge.ask("pairs", "disable", "ethusdt", "--market", "usdm") == {
        "symbol": "ETH/USDT", "market": "usdm", "enabled": False, "streams": ["trades"],
    }  # fmt: skip
