"""However a bridge ends, what was accepted is stored and no process of ours is left."""

import signal
import subprocess

import pytest

import captured
from bridge_process import PATIENCE_S, Bridge, capture_options, eventually, subscribed

pytestmark = pytest.mark.skipif(
    not __import__("pathlib").Path("/proc/self").exists(), reason="looks into /proc"
)

SLOW = ("feed.simulated.rate=200", "record.snapshot_interval_s=5")


def wait_until_recording(bridge, subscriber, trades=20):
    eventually(lambda: len(subscriber.of_type("trade")) >= trades, "trades on PUB")


@pytest.mark.parametrize(
    ("sign", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)],
    ids=str,
)
def test_a_signal_stores_everything_that_was_published(tmp_path, sign, status):
    bridge = Bridge(tmp_path / "var", *SLOW)
    with subscribed(bridge) as subscriber:
        process = bridge.start("run")
        wait_until_recording(bridge, subscriber)
        process.send_signal(sign)
        printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status
    assert "recorded" in printed
    assert "stored" in printed
    eventually(lambda: not bridge.processes(), "all processes gone")
    stored = {
        (symbol, int(trade_id))
        for symbol, trade_id in bridge.query("select symbol, trade_id from trades_decimal")
    }
    assert stored == {(trade["symbol"], trade["trade_id"]) for trade in subscriber.of_type("trade")}


def test_a_duration_ends_by_itself(tmp_path):
    bridge = Bridge.ready(tmp_path / "var", *SLOW)
    report = bridge.ask("run", "--duration", "2")
    assert report["trades"] > 0
    assert report["stored"] == report["new"] == report["trades"] + report["quotes"] + report["snapshots"]
    assert bridge.processes() == []


def test_kill_9_leaves_no_process_and_the_next_run_completes_the_rows(tmp_path):
    frames = captured.session(8_000)
    capture = captured.write(tmp_path / "a.gz", frames)
    undisturbed = Bridge(tmp_path / "undisturbed", *capture_options(capture))
    undisturbed("run")
    # Paced, so that the kill comes in the middle: 8,000 frames of 400 s of market time.
    killed = Bridge(tmp_path / "killed", *capture_options(capture, speed="80x"))
    with subscribed(killed) as subscriber:
        process = killed.start("run")
        wait_until_recording(killed, subscriber, trades=1_000)
        process.kill()
        process.communicate()
    eventually(lambda: not killed.processes(), "all processes gone")
    again = Bridge(tmp_path / "killed", *capture_options(capture))
    before = int(again.query("select count(*) from trades")[0][0])
    assert 0 < before < 4_000
    again("run")
    for table in ("trades", "quotes", "book_snapshots", "gaps"):
        everything = f"select * from {table} order by ts_event, ts_recv"
        assert again.query(everything) == undisturbed.query(everything), table


def test_ctrl_c_in_a_terminal_reaches_the_group_and_still_stores_everything(tmp_path):
    bridge = Bridge.ready(tmp_path / "var", *SLOW)
    with subscribed(bridge) as subscriber:
        line = bridge._line("run", ())
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        wait_until_recording(bridge, subscriber)
        __import__("os").killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    [[count]] = bridge.query("select count(*) from trades")
    assert int(count) == len(subscriber.of_type("trade"))
    eventually(lambda: not bridge.processes(), "all processes gone")


def test_commands_that_only_ask_leave_a_running_bridge_alone(tmp_path):
    bridge = Bridge.ready(tmp_path / "var", *SLOW)
    with subscribed(bridge) as subscriber:
        process = bridge.start("run")
        wait_until_recording(bridge, subscriber)
        assert bridge.ask("trades", "ETH/USDT", "--limit", "1")
        assert bridge.query("select 1") == [["1"]]
        before = len(subscriber.messages)
        eventually(lambda: len(subscriber.messages) > before + 100, "more messages after the questions")
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    eventually(lambda: not bridge.processes(), "all processes gone")
