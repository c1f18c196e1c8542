"""`just storm-store`: five million events into a store that everything happens to, and none may be missing.

The database is stopped and started twenty times, its connections are ended, commits are cut off before their
answer, the network swallows everything, the disk of the spool is filled, and the recorder is killed ten
times. Afterwards what is stored must be what was sent, each event once and in every field, and the candles
those of the sent trades. One seed, one order of things.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from storm.havoc import havoc
from storm.plan import Plan, table

TOLD = 10


def main() -> None:
    """Let one storm happen, and fail if anything is wrong."""
    standard = Plan()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("events", "seed", "stops", "kills", "cuts", "terminations", "holes", "full"):
        parser.add_argument(f"--{name}", type=int, default=getattr(standard, name))
    parser.add_argument(
        "--programs", type=Path, help="a folder of PostgreSQL's programs; else our own is used"
    )
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one if left out")
    given = vars(parser.parse_args())
    programs, folder = given.pop("programs"), given.pop("folder")
    plan = Plan(**given)
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="storm-", ignore_cleanup_errors=True) as temporary:
        outcome = asyncio.run(havoc(folder or Path(temporary), plan, programs=programs, say=say))
    print(table(plan, outcome))
    for line in outcome.wrong[:TOLD]:
        print(f"  WRONG: {line}")
    print("FAILED: what is stored is not what was sent, or not everything has happened" if outcome.wrong else
          "the stored set equals the sent set")  # fmt: skip
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
