"""`just storm`: ten minutes of every fault at once, at fifty times the rate of the recorded session."""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from storm.ordeal import print_outcome, storm

RECORDED_RATE = 40.0
"""Trades and updates a second in the recorded session of spot BTC/USDT."""


def main() -> None:
    """Run one storm, and fail if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feed", choices=["binance", "ccxt"], default="binance")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=float, default=50.0, help="multiple of the recorded rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--history", type=int, default=1_000_000, help="trades that the venue keeps")
    parser.add_argument("--kills", type=int, default=0, help="how often the bridge is killed meanwhile")
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one if left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as temporary:
        outcome = storm(
            given.folder or Path(temporary),
            feed=given.feed,
            seconds=given.minutes * 60,
            rate=given.times * RECORDED_RATE / 2,
            seed=given.seed,
            history=given.history,
            kills=given.kills,
        )
    print_outcome(outcome)
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
