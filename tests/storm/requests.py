"""`just storm-requests`: clients and requests while links are cut and processes killed, scene by scene."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from storm import following, serving
from storm.scenes import SCENES


def main() -> None:
    """Play scenes, and fail if anything was wrong in one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="scene", help=f"of {', '.join(SCENES)}; all if left out")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long things happen in a scene")
    parser.add_argument("--times", type=int, default=40, help="how often something happens in a scene")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one if left out")
    given = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="storm-") as temporary:
        for name in given.scenes or SCENES:
            times = max(given.times // 8, 1) if name == "database" else given.times
            began = time.monotonic()
            print(f"== {name}, seed {given.seed}", flush=True)
            folder = (given.folder or Path(temporary)) / name
            outcome = asyncio.run(SCENES[name](folder, given.seconds, times, given.seed))
            if isinstance(outcome, following.Outcome):
                following.print_outcome(outcome)
            else:
                serving.print_outcome(outcome)
            print(f"it took {time.monotonic() - began:.0f} s", flush=True)
            wrong += len(outcome.wrong)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
