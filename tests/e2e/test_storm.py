"""A short storm: every fault once, over each way to the venue, and a bridge that is killed in the middle.

`just storm` is the long one.
"""

from pathlib import Path

import pytest

from storm.ordeal import storm

ORDERS = (
    {"fault": "drop", "count": 5},
    {"fault": "server_error", "count": 2},
    {"fault": "duplicate", "count": 20},
    {"fault": "offline", "count": 2},
    {"fault": "cut"},
    {"fault": "stale_snapshot", "count": 1, "endpoint": "depth"},
    {"fault": "reorder", "count": 5},
    {"fault": "slow", "count": 1},
    {"fault": "corrupt", "count": 5},
    {"fault": "throttle", "count": 1},
    {"fault": "shutdown"},
    {"fault": "delay", "count": 5},
    {"fault": "freeze"},
    {"fault": "ban", "seconds": 4},
    {"fault": "cut"},
    {"fault": "drop", "count": 5},
    {"fault": "refuse", "seconds": 3},
    {"fault": "cut"},
    {"fault": "drop", "count": 5},
    {"fault": "duplicate", "count": 5},
)


@pytest.mark.parametrize(("feed", "kills"), [("binance", 1), ("ccxt", 0)])
def test_whatever_a_venue_does_every_trade_is_stored_once_and_every_book_is_the_venues(
    tmp_path: Path, feed: str, kills: int
) -> None:
    outcome = storm(tmp_path, feed=feed, seconds=22, rate=100, seed=1, faults={}, orders=ORDERS, kills=kills)
    assert outcome.wrong == []
    assert outcome.stored_trades == outcome.venue_trades > 200
    assert outcome.books_compared > 200
    assert outcome.stale_times > 2
    assert outcome.gaps["trades repaired"] > 2
