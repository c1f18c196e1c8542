"""`just bench`: our own speed against bare loops of the same libraries, side by side in one run.

Each line is a ratio between two things that took turns on the same machine in the same minute. A bare time
says more about the machine than about the program, so none is printed alone.
"""

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench import archive, cache, candles, fanout, feeds, filling, latency, path, requests, rows, sizes, spool

BENCHES = {
    "path": lambda given: path.bench(given.rounds),
    "rows": lambda given: rows.bench(given.rounds),
    "filling": lambda given: filling.bench(given.rows or filling.ROWS),
    "archive": lambda given: archive.bench(given.rows or archive.ROWS),
    "candles": lambda given: candles.bench(given.rounds),
    "sizes": lambda _: sizes.bench(),
    "spool": lambda given: spool.bench(given.rounds),
    "cache": lambda given: cache.bench(given.rounds),
    "feeds": lambda given: feeds.bench(given.rounds),
    "fanout": lambda given: fanout.bench(given.rounds),
    "requests": lambda given: requests.bench(given.rounds),
    "latency": lambda given: latency.bench(given.rounds),
}


def main() -> None:
    """Run the benches that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*BENCHES, []], help="which ones; all if left out")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each side takes")
    parser.add_argument("--rows", type=int, help="how many trades `filling` and `archive` take")
    arguments = parser.parse_args()
    for name in arguments.only or BENCHES:
        asyncio.run(BENCHES[name](arguments))


if __name__ == "__main__":
    main()
