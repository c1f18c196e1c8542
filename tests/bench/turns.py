"""Let several things take turns, and compare their best times."""

import gc
import time
from collections.abc import Awaitable, Callable, Mapping


async def best_of(rounds: int, sides: Mapping[str, Callable[[], Awaitable[float]]]) -> dict[str, float]:
    """Run every side once a round, in turn, and return the shortest time of each, in seconds.

    A side returns the seconds that it took, or 0 to be timed as a whole.
    """
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, side in sides.items():
            gc.collect()
            began = time.perf_counter()
            took = await side() or time.perf_counter() - began
            best[name] = min(best[name], took)
    return best
