"""`bridge run` on capture files: the figures of the files in rows, topics, candles and book."""

import csv
from collections import Counter, defaultdict
from decimal import Decimal

import pytest

import captured
import recorded
from bridge_process import Bridge, capture_options, subscribed


def rebuilt_book(messages):
    """The book of a subscriber: from the first snapshot on, each quote that follows."""
    book, last_update_id = None, None
    for topic, body in messages:
        if not topic.endswith(".orderbook"):
            continue
        if body["type"] == "snapshot":
            fresh = {
                side: {Decimal(price): Decimal(size) for price, size in body[side]}
                for side in ("bids", "asks")
            }
            if book is not None and body["last_update_id"] == last_update_id:
                assert fresh == book, f"the rebuilt book differs at update {last_update_id}"
            book, last_update_id = fresh, body["last_update_id"]
        elif book is not None and body["last_update_id"] > last_update_id:
            for side in ("bids", "asks"):
                for price, size in body[side]:
                    book[side][Decimal(price)] = Decimal(size)
                    if Decimal(size) == 0:
                        del book[side][Decimal(price)]
            last_update_id = body["last_update_id"]
    return book, last_update_id


def check_sequences(messages):
    """Each topic counts from its own start, without a hole."""
    sequences = defaultdict(list)
    for topic, body in messages:
        sequences[topic].append(body["sequence"])
    for topic, numbers in sequences.items():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), topic


@pytest.fixture
def two_files(tmp_path):
    frames = captured.session(3_000)
    half = len(frames) // 2
    return [
        captured.write(tmp_path / "a.gz", frames[:half]),
        captured.write(tmp_path / "b.gz", frames[half:]),
    ]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_what_is_in_the_files_is_in_rows_and_topics(tmp_path, two_files, encoding):
    bridge = Bridge.ready(tmp_path / "var", *capture_options(*two_files))
    with subscribed(bridge, encoding) as subscriber:
        report = bridge.ask("run")
    assert (report["trades"], report["quotes"], report["gaps"], report["bad"]) == (1_500, 1_500, 0, {})
    assert report["new"] == report["stored"]

    trades = subscriber.of_type("trade")
    assert [trade["trade_id"] for trade in trades] == list(range(100, 1_600))
    check_sequences(subscriber.messages)
    rows = bridge.query("select trade_id, price, size, aggressor from trades_decimal order by trade_id")
    assert rows == [
        [str(trade["trade_id"]), trade["price"], trade["size"], trade["aggressor"]] for trade in trades
    ]

    book, last_update_id = rebuilt_book(subscriber.messages)
    stored = bridge.ask("book", "BTC/USDT", "--levels", "0")
    assert stored["last_update_id"] == last_update_id == 1_001 + 2 * 1_499
    for side in ("bids", "asks"):
        assert {Decimal(price): Decimal(size) for price, size in stored[side]} == book[side]


def test_a_second_run_adds_not_one_row(tmp_path, two_files):
    bridge = Bridge.ready(tmp_path / "var", *capture_options(*two_files))
    first = bridge.ask("run")
    assert first["new"] > 3_000
    second = bridge.ask("run")
    assert (second["stored"], second["new"]) == (first["stored"], 0)


def test_candles_of_the_fold_the_view_and_the_topic_are_the_same(tmp_path, two_files):
    bridge = Bridge.ready(tmp_path / "var", *capture_options(*two_files))
    with subscribed(bridge) as subscriber:
        bridge("run")
    candles = bridge.ask("candles", "BTC/USDT", "1m")
    view = bridge.query(
        "select extract(epoch from start)::bigint, open, high, low, close, volume, quote_volume, vwap, trades"
        " from candles_1m order by start"
    )
    names = ("open", "high", "low", "close", "volume", "quote_volume", "vwap", "trades")
    assert view == [[str(one["start"] // 10**9), *(str(one[name]) for name in names)] for one in candles]
    published = {one["start"]: one for one in subscriber.of_type("candle") if one["timeframe"] == "1m"}
    for candle in candles:
        assert {name: published[candle["start"]][name] for name in names} == {
            name: candle[name] for name in names
        }
    assert len(candles) >= 2
    assert [one["closed"] for one in candles] == [True] * (len(candles) - 1) + [False]


RECORDED = [
    pytest.param(
        ["spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"], "spot", "BTC/USDT", 6_495, 6_493,
        (19_904, 3735683259, 3735703162), "437.91552", "27006929.5910348", 50093696318,
        (["61602.01", "1.67177"], ["61602.02", "2.66795"]), id="spot 2024",
    ),
    pytest.param(
        ["usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz"], "usdm", "BTC/USDT", 9_022, 9_017,
        (10_701, 5182005737, 5182016437), "1122.459", "71736926.2284", 4984057064916,
        (["63867.4", "0.002"], ["63867.5", "5.045"]), id="usdm 2024",
    ),
    pytest.param(
        ["spot_btcusdt_20210404.gz"], "spot", "BTC/USDT", 899, 889,
        (1_227, 665076760, 665077986), "26.388118", "1530495.10963384", 9893046554,
        (["58005.11", "1.486376"], ["58005.12", "0.110252"]), id="spot btcusdt 2021",
    ),
    pytest.param(
        ["spot_ethusdt_20210404.gz"], "spot", "ETH/USDT", 909, 896,
        (506, 291477091, 291477596), "307.8614", "635842.3982353", 6591613076,
        (["2066.02", "13.35198"], ["2066.03", "0.00194"]), id="spot ethusdt 2021",
    ),
    pytest.param(
        ["spot_dotusdt_20210404.gz"], "spot", "DOT/USDT", 880, 871,
        (177, 54605678, 54605854), "2168.8", "94373.214067", 1513946719,
        (["43.4951", "0.23"], ["43.4986", "0.04"]), id="spot dotusdt 2021",
    ),
]  # fmt: skip


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("names", "market", "pair", "quotes", "applied", "trades", "volume", "quote_volume", "update_id", "best"),
    RECORDED,
)
def test_recorded_sessions_give_the_figures_of_their_manifest(
    tmp_path, names, market, pair, quotes, applied, trades, volume, quote_volume, update_id, best
):
    files = recorded.captures(*names)
    bridge = Bridge.ready(tmp_path / "var", *capture_options(*files, market=market))
    with subscribed(bridge) as subscriber:
        report = bridge.ask("run")
    count, first, last = trades
    assert (report["trades"], report["quotes"], report["applied"]) == (count, quotes, applied)
    assert (report["gaps"], report["resyncs"], report["bad"]) == (0, 0, {})

    [row] = bridge.query(
        "select count(*), count(distinct trade_id), min(trade_id), max(trade_id), trim_scale(sum(size)),"
        " trim_scale(sum(price * size)) from trades_decimal"
    )
    assert row == [str(count), str(count), str(first), str(last), volume, quote_volume]
    assert bridge.query("select count(*) from quotes") == [[str(quotes)]]

    stored = bridge.ask("book", pair, "--levels", "1")
    assert (stored["last_update_id"], stored["bids"][0], stored["asks"][0]) == (update_id, *best)

    assert Counter(one["trade_id"] for one in subscriber.of_type("trade")) == Counter(range(first, last + 1))
    check_sequences(subscriber.messages)
    book, last_update_id = rebuilt_book(subscriber.messages)
    assert last_update_id == update_id
    for side, edge, level in (("bids", max, best[0]), ("asks", min, best[1])):
        price = edge(book[side])
        assert [price, book[side][price]] == [Decimal(number) for number in level]
    assert bridge.ask("run")["new"] == 0


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("names", "market", "timeframe", "klines", "whole"),
    [
        pytest.param(
            ["spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"], "spot", "5m",
            "klines/spot_btcusdt_5m_20240808.csv", (1723161300000, 1723161600000), id="spot 5m",
        ),
        pytest.param(
            ["usdm_btcusdt_20240718.gz", "usdm_btcusdt_20240719.gz"], "usdm", "1m",
            "klines/usdm_btcusdt_1m_20240718.csv", tuple(range(1721347080000, 1721347440001, 60000)),
            id="usdm 1m",
        ),
    ],
)  # fmt: skip
def test_candles_equal_those_of_the_exchange(tmp_path, names, market, timeframe, klines, whole):
    files = recorded.captures(*names)
    [theirs] = recorded.recorded(klines)
    bridge = Bridge.ready(tmp_path / "var", *capture_options(*files, market=market))
    bridge("run")
    ours = {one["start"] // 10**6: one for one in bridge.ask("candles", "BTC/USDT", timeframe)}
    rows = {int(row.get("open_time") or row["open_time_ms"]): row for row in csv.DictReader(theirs.open())}
    for start in whole:
        for name in ("open", "high", "low", "close", "volume", "quote_volume", "count"):
            if name in rows[start]:
                our_name = "trades" if name == "count" else name
                assert Decimal(str(ours[start][our_name])) == Decimal(rows[start][name]), (start, name)
    complete = bridge.query(
        "select extract(epoch from start)::bigint * 1000"
        f" from candles_{timeframe} where complete order by start"
    )
    assert [int(start) for [start] in complete] == list(whole)


def test_aggregated_trades_are_not_added_to_the_single_trades_of_an_earlier_run(tmp_path, two_files):
    singles = Bridge.ready(tmp_path / "var", *capture_options(*two_files))
    singles("run")
    aggregated = [
        (
            stamp,
            captured.combined(
                "BTCUSDT", "aggTrade", a=number, p="1.0", q="1.0", f=number, l=number, T=1, m=True
            ),
        )
        for number, (stamp, _) in enumerate(captured.session(50), 1)
    ]
    other = captured.write(tmp_path / "aggregated.gz", aggregated)
    again = Bridge(tmp_path / "var", *capture_options(other))
    report = again.ask("run")
    assert report["bad"] == {"second trade stream": len(aggregated)}
    assert report["new"] == 0
