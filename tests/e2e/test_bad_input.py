"""Bad input is normal: counted, reported once with its line, skipped; everything else is stored."""

import gzip
import json

import pytest

import captured
from bridge_process import Bridge, capture_options

STAMP = captured.START

BAD_LINES = {
    "broken JSON": '{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT",',
    "missing or wrong field": captured.combined("BTCUSDT", "trade", t=1, p="1.0", q="1.0", m=True),
    "unknown symbol": captured.trade(1, "DOGEUSDT"),
    "not a frame of Binance": '{"channel":"trades","data":[{"px":"1","sz":"2"}]}',
}
IMPOSSIBLE = {
    "a price of zero": captured.trade(1, p="0.00000000"),
    "a price below zero": captured.trade(1, p="-1.00000000"),
    "a size of zero": captured.trade(1, q="0.00000000"),
    "a size with too many digits": captured.trade(1, q="0.123456789"),
    "a size that is too large": captured.trade(1, q="99999999999999999999.0"),
    "a level with a price of zero": captured.depth(1, b=[["0.00000000", "1.0"]]),
    "a level with too many digits": captured.depth(1, a=[["61000.123456789", "1.0"]]),
    "ids that run backwards": captured.depth(1, U=9, u=8),
}


def with_bad(frames, bad):
    """Put each bad line twice between good ones."""
    mixed = list(frames)
    for number, line in enumerate([*bad, *bad]):
        at = 10 + 3 * number
        mixed.insert(at, (mixed[at][0], line))
    return mixed


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_frame_is_counted_reported_once_and_skipped(tmp_path, kind):
    capture = captured.write(tmp_path / "a.gz", with_bad(captured.session(200), [BAD_LINES[kind]]))
    done = Bridge.ready(tmp_path / "var", *capture_options(capture)).complete("run", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bad"] == {kind: 2}
    assert (report["trades"], report["quotes"], report["gaps"]) == (100, 100, 0)
    said = [line for line in done.stderr.splitlines() if "skipped a frame" in line]
    assert len(said) == 1
    assert kind in said[0]
    assert "a.gz line 11" in said[0]


def test_numbers_that_cannot_be_are_skipped_and_the_rest_is_stored(tmp_path):
    capture = captured.write(tmp_path / "a.gz", with_bad(captured.session(200), IMPOSSIBLE.values()))
    bridge = Bridge.ready(tmp_path / "var", *capture_options(capture))
    report = bridge.ask("run")
    assert report["bad"] == {"impossible number": 2 * len(IMPOSSIBLE)}
    assert (report["trades"], report["quotes"], report["gaps"]) == (100, 100, 0)
    assert bridge.query("select count(*), min(trade_id), max(trade_id) from trades") == [
        ["100", "100", "199"]
    ]


def test_a_frame_that_is_missing_shows_as_a_gap_with_its_ids(tmp_path):
    frames = captured.session(200)
    lost_trade = next(at for at, (_, frame) in enumerate(frames) if '"t":150' in frame)
    del frames[lost_trade]
    bridge = Bridge.ready(tmp_path / "var", *capture_options(captured.write(tmp_path / "a.gz", frames)))
    report = bridge.ask("run")
    assert report["gaps"] == 1
    [gap] = bridge.ask("gaps", "BTC/USDT")
    assert (gap["stream"], gap["first_id"], gap["last_id"], gap["state"]) == ("trades", 150, 150, "open")
    [[row]] = bridge.query("select first_id from gaps")
    assert row == "150"


def test_a_book_that_missed_an_update_is_not_served(tmp_path):
    frames = captured.session(200)
    lost_update = next(at for at, (_, frame) in enumerate(frames) if '"U":1100' in frame)
    del frames[lost_update]
    bridge = Bridge.ready(tmp_path / "var", *capture_options(captured.write(tmp_path / "a.gz", frames)))
    report = bridge.ask("run")
    assert (report["gaps"], report["resyncs"]) == (1, 1)
    assert report["quotes"] == 99
    assert "updates 1100 to 1101 of binance.spot.btcusdt are missing" in bridge("book", "BTC/USDT", status=1)


def test_a_snapshot_of_another_stream_changes_nothing(tmp_path):
    frames = captured.session(200)
    other = '{"lastUpdateId":9000000,"bids":[["1.00","7"]],"asks":[["2.00","7"]]}'
    mixed = [*frames[:101], (frames[100][0], other), *frames[101:]]
    books = []
    for name, lines in (("without", frames), ("with", mixed)):
        capture = captured.write(tmp_path / f"{name}.gz", lines)
        bridge = Bridge.ready(tmp_path / name, *capture_options(capture))
        report = bridge.ask("run")
        assert (report["quotes"], report["applied"], report["snapshots"]) == (100, 99, 1)
        assert (report["gaps"], report["resyncs"], report["bad"]) == (0, 0, {})
        books.append(bridge.ask("book", "BTC/USDT", "--levels", "0"))
    assert books[0] == books[1]
    assert books[0]["last_update_id"] == 1_199


def test_broken_files_harm_no_other_file(tmp_path):
    good = captured.write(tmp_path / "good.gz", captured.session(200))
    cut = captured.write(tmp_path / "cut.gz", captured.session(200, "ETHUSDT"))
    cut.write_bytes(cut.read_bytes()[:-400])
    empty = tmp_path / "empty.gz"
    empty.touch()
    packed_nothing = tmp_path / "nothing.gz"
    packed_nothing.write_bytes(gzip.compress(b""))
    bridge = Bridge.ready(tmp_path / "var", *capture_options(good, cut, empty, packed_nothing))
    report = bridge.ask("run")
    assert report["bad"]["truncated gzip"] == 1
    assert report["bad"]["empty file"] == 2
    assert bridge.query("select count(*) from trades_decimal where symbol = 'BTC/USDT'") == [["100"]]
    [[some]] = bridge.query("select count(*) from trades_decimal where symbol = 'ETH/USDT'")
    assert 0 < int(some) < 100
