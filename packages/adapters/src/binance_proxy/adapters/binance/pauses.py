"""How long to wait before the next attempt."""

from collections.abc import Iterator

import backoff

FIRST_PAUSE_S = 0.25


def growing_pauses(longest_s: float) -> Iterator[float]:
    """Yield pauses in seconds without end, each drawn at random, so that nobody comes in step.

    Their limits double from `FIRST_PAUSE_S` to ``longest_s``.
    """
    limits = backoff.expo(base=2, factor=FIRST_PAUSE_S, max_value=longest_s)
    next(limits)  # the generator waits to be started
    while True:
        yield backoff.full_jitter(next(limits))
