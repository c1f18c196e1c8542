"""`bridge run` without a word of configuration: the simulated venue on the embedded default."""

from bridge_process import Bridge, eventually, subscribed


def test_it_says_what_it_records_and_where_to_connect(tmp_path):
    bridge = Bridge(tmp_path / "var")
    done = bridge.complete("run", "--duration", "2")
    assert done.returncode == 0, done.stderr
    for said in ("ETH/USDT", "SOL/USDT", "simulated", bridge.json, bridge.msgpack, str(bridge.data_dir)):
        assert said in done.stderr
    assert {venue for [venue] in bridge.query("select distinct venue from trades_decimal")} == {"simulated"}
    assert [pair["symbol"] for pair in bridge.ask("pairs")["tracked"]] == ["ETH/USDT", "SOL/USDT"]


def test_faults_are_found_counted_and_stored(tmp_path):
    faults = ("gap", "duplicate", "reorder", "disconnect")
    bridge = Bridge(
        tmp_path / "var",
        "feed.simulated.speed=max",
        "feed.simulated.events=20000",
        "feed.simulated.seed=7",
        *(f"feed.simulated.faults.{fault}=0.002" for fault in faults),
    )
    with subscribed(bridge) as subscriber:
        report = bridge.ask("run")
    assert min(report[name] for name in ("gaps", "duplicates", "repaired", "resyncs", "disconnects")) > 0
    stored = bridge.query("select symbol, trade_id from trades_decimal")
    published = [(trade["symbol"], str(trade["trade_id"])) for trade in subscriber.of_type("trade")]
    assert len(published) == len(set(published)) == len(stored)
    missing = {
        (gap["symbol"], number)
        for gap in bridge.ask("gaps")
        if gap["stream"] == "trades" and gap["state"] == "open"
        for number in range(gap["first_id"], gap["last_id"] + 1)
    }
    for symbol in ("ETH/USDT", "SOL/USDT"):
        ids = {int(number) for one, number in stored if one == symbol}
        assert {number for one, number in missing if one == symbol} >= set(range(min(ids), max(ids))) - ids
    # A book gap is lost once the book is in step again; only one at the very end may still be open.
    open_books = [
        gap for gap in bridge.ask("gaps") if gap["stream"] == "orderbook" and gap["state"] == "open"
    ]
    assert len(open_books) <= 2


def test_the_same_seed_gives_the_same_rows(tmp_path):
    rows = []
    for name in ("one", "two"):
        bridge = Bridge(
            tmp_path / name,
            "feed.simulated.speed=max",
            "feed.simulated.events=2000",
            "feed.simulated.start=1700000000000000000",
        )
        bridge("run")
        rows.append(bridge.query("select * from trades order by instrument_id, ts_event, trade_id"))
    assert rows[0] == rows[1] != []


def test_watch_shows_the_tape_of_a_running_bridge_in_a_pipe(tmp_path):
    bridge = Bridge(tmp_path / "var", "feed.simulated.rate=100")
    running = bridge.start("run")
    with subscribed(bridge) as subscriber:
        eventually(lambda: subscriber.of_type("trade"), "trades on PUB")
    watching = bridge.start("watch", "SOL/USDT")
    lines = [watching.stdout.readline() for _ in range(5)]
    watching.terminate()
    watching.communicate()
    running.terminate()
    running.communicate()
    assert all("simulated.spot.solusdt" in line for line in lines)


def test_cloudevents_are_an_envelope_around_the_same_bodies(tmp_path):
    bridge = Bridge(
        tmp_path / "var",
        "publish.cloudevents=true",
        "feed.simulated.speed=max",
        "feed.simulated.events=500",
    )
    with subscribed(bridge) as subscriber:
        report = bridge.ask("run")
    trades = [event for _, event in subscriber.messages if event["type"] == "binance-proxy.trade"]
    assert len(trades) == report["trades"] > 0
    assert {event["specversion"] for event in trades} == {"1.0"}
    assert len({(event["source"], event["id"]) for event in trades}) == len(trades)
    assert next(event["data"]["sequence"] for event in trades if "eth" in event["source"]) == 1
