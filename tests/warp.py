"""An event loop whose time moves by itself: whoever sleeps wakes at once, and the time is then as it said."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Warping(selectors.SelectSelector):
    """Never waits, but counts how long it was asked to."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for something that will never happen"
        self.now += max(timeout, 0.0)
        return super().select(0)


class WarpLoop(asyncio.SelectorEventLoop):
    """Starts at 1000 s. Only for code without I/O."""

    def __init__(self) -> None:
        self._warping = _Warping()
        super().__init__(self._warping)
        # The plain loop rounds to the resolution of its clock; ours is exact.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._warping.now


def warp(work: Coroutine[Any, Any, Result]) -> Result:
    """Run something on a loop of its own that never waits."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(work)
