"""`bridge status` and `bridge ask` of a running bridge."""

import json
import signal
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import pytest

from bridge_process import PATIENCE_S, Bridge, eventually, free_port


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    folder = tmp_path_factory.mktemp("asked")
    serve = f"serve.bind=tcp://127.0.0.1:{free_port()}"
    running = Bridge(folder / "var", "feed.simulated.rate=100", "store.use=memory", serve)
    process = running.start("run", log=folder / "log")
    try:
        eventually(lambda: "answering" in (folder / "log").read_text(), "a start")
        eventually(lambda: running.complete("status").returncode == 0, "books in step")
        eventually(
            lambda: running.complete("ask", "stats.spread", "symbol=ETH/USDT").returncode == 0, "a book"
        )
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


def asking(bridge: Bridge, option: str) -> Bridge:
    """Return what runs commands for the same bridge with one setting more."""
    same = copy(bridge)
    same.options = [*bridge.options, "-o", option]
    return same


def test_status_shows_who_answers_who_listens_and_what_is_kept(bridge: Bridge) -> None:
    shown = bridge("status")
    assert f"the bridge on {bridge.json}, " in shown
    assert "requests answered by 1 worker" in shown
    assert "connections that listen" in shown
    assert "answers are kept for a moment in valkey" in shown


def test_status_is_asked_of_the_control_socket_or_heard_on_the_topic(bridge: Bridge) -> None:
    asked = bridge.ask("status")
    heard = bridge.ask("status", "--address", bridge.json)
    older = asking(bridge, "control.bind=").ask("status")
    elsewhere = asking(bridge, f"control.bind=tcp://127.0.0.1:{free_port()}").ask("status")
    assert "sequence" not in asked
    assert all("sequence" in one for one in (heard, older, elsewhere))
    assert asked["epoch"] == heard["epoch"] == older["epoch"] == elsewhere["epoch"]
    assert heard.keys() - asked.keys() == {"sequence"}


def test_a_question_is_answered_as_text_and_as_json(bridge: Bridge) -> None:
    shown = bridge("ask", "trades.list", "symbol=ETH/USDT", "limit=2")
    assert "trade_id" in shown
    assert shown.count("ETH/USDT") == 2
    answer = json.loads(bridge("ask", "trades.list", "symbol=ETH/USDT", "limit=2", "--json"))
    assert len(answer["rows"]) == 2
    assert bridge.ask("ask", "stats.slippage", "symbol=ETH/USDT", "side=buy", "size=0.5")["filled"] == "0.5"


def test_without_a_method_it_lists_what_can_be_asked(bridge: Bridge) -> None:
    shown = bridge("ask")
    assert "trades.list       symbol [venue] [market] [start] [end]" in shown
    assert bridge.ask("ask")["openrpc"]


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["stats.moon"], 1, "there is no method stats.moon; `bridge ask` lists them"),
        (["trades.list"], 1, "symbol"),
        (["trades.list", "symbol=ETH/USDT", "limit=x"], 1, "limit: expected `int`, got `str`"),
        (["trades.list", "symbol=XRP/USDT"], 1, "XRP/USDT was never recorded"),
        (["trades.list", "ETH/USDT"], 2, "'ETH/USDT' is not a parameter such as symbol=ETH/USDT"),
        (["pairs.list", "--address", "nowhere"], 2, "'nowhere' is not an address"),
    ],
)
def test_an_error_says_what_to_change(bridge: Bridge, words: list[str], status: int, complaint: str) -> None:
    assert complaint in bridge("ask", *words, status=status)


@pytest.mark.parametrize("command", ["ask", "status"])
def test_that_no_bridge_answers_says_how_to_start_one(tmp_path: Path, command: str) -> None:
    nobody = Bridge(tmp_path / "var", f"serve.bind=tcp://127.0.0.1:{free_port()}")
    assert "start one with `bridge run`" in nobody(command, status=1)
