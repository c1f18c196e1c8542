"""`bridge sandbox` as a user has it."""

import json
import signal
import urllib.request

import captured
from bridge_process import PATIENCE_S, Bridge, capture_options, free_port


def serving(bridge: Bridge, *arguments: str):
    """Start the command; return the process and where it answers REST."""
    process = bridge.start("sandbox", *arguments)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("stop"):
            break
    (rest,) = [line.split()[1] for line in said if line.startswith("REST")]
    return process, rest.removesuffix("/api/v3"), "".join(said)


def get(url: str):
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_a_simulated_market_says_that_it_is_made_up(tmp_path):
    bridge = Bridge(tmp_path / "var", "sandbox.port=0")
    process, rest, said = serving(bridge, "--pairs", "BTC/USDT,XRP/USDT")
    try:
        symbols = get(f"{rest}/api/v3/exchangeInfo")["symbols"]
        assert [(one["symbol"], one["venue"]) for one in symbols] == [
            ("BTCUSDT", "simulated"), ("XRPUSDT", "simulated"),
        ]  # fmt: skip
        assert "ws://127.0.0.1:" in said
        assert "feed.ccxt.rest_url" in said
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130


def test_a_capture_is_held_and_a_duration_ends_it(tmp_path):
    capture = captured.write(tmp_path / "a.gz", captured.session(20))
    bridge = Bridge(tmp_path / "var", "sandbox.port=0", *capture_options(capture))
    process, rest, said = serving(bridge)
    assert "held" in said
    assert get(f"{rest}/sandbox/status")["held"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert bridge.complete("sandbox", "--duration", "0.1").returncode == 0


def test_a_feed_that_ends_is_told_of_and_rest_goes_on(tmp_path):
    bridge = Bridge(
        tmp_path / "var", "sandbox.port=0", "feed.simulated.events=50", "feed.simulated.speed=max"
    )
    process, rest, _ = serving(bridge, "--pairs", "BTC/USDT")
    for line in process.stderr:
        if line.startswith("ended"):
            break
    status = get(f"{rest}/sandbox/status")
    assert status["ended"]
    assert (
        get(f"{rest}/api/v3/trades?symbol=BTCUSDT")[-1]["id"] == status["symbols"]["BTCUSDT"]["last_trade_id"]
    )
    process.terminate()
    process.communicate(timeout=PATIENCE_S)


def test_mistakes_are_told_in_one_sentence(tmp_path):
    port = free_port()
    bridge = Bridge(tmp_path / "var", f"sandbox.port={port}")
    process, _, _ = serving(bridge)
    try:
        assert f"sandbox.port = {port} cannot be used" in bridge("sandbox", status=2)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert "sandbox.faults.drop = 2" in bridge("sandbox", "-o", "sandbox.faults.drop=2", status=2)
    assert "sandbox.outbox" in bridge("sandbox", "-o", "sandbox.outbox=0", status=2)
    assert "nothing to serve" in bridge("sandbox", "--pairs", "nonesuch", status=1)
