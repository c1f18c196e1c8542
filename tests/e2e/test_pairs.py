"""What is tracked in the tables is what a run records."""

from bridge_process import Bridge


def test_pairs_and_streams_are_taken_from_the_tables(tmp_path):
    bridge = Bridge(tmp_path / "var", "feed.simulated.speed=max", "feed.simulated.events=3000")
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


def test_a_run_with_nothing_to_record_says_so(tmp_path):
    bridge = Bridge(tmp_path / "var")
    bridge("migrate")
    bridge.query("update tracked_pairs set enabled = false")
    assert "no pair in the table tracked_pairs is enabled" in bridge("run", status=1)
