"""One side of a simulated order book, which remembers what changed."""

from bisect import bisect_left, bisect_right, insort
from typing import Literal

from binance_proxy.domain.tick import Level, Levels


class Ladder:
    """Resting sizes by rank: the higher the rank, the better the price.

    A bid ranks as its price and an ask as minus its price, so that one set of rules does for both sides.
    Sizes are in the size units of the instrument.
    """

    __slots__ = ("_before", "_ranks", "_sizes", "sign")

    def __init__(self, sign: Literal[1, -1]) -> None:
        self.sign = sign
        """Price times sign is rank, rank times sign is price: 1 for bids, -1 for asks."""
        self._sizes: dict[int, int] = {}
        self._ranks: list[int] = []  # sorted, best last: the busy end of a list is the cheap one
        self._before: dict[int, int] = {}  # sizes at the last update, of all that was touched since

    def __len__(self) -> int:
        return len(self._ranks)

    def best(self) -> Level:
        """Return rank and size of the best level; there must be one."""
        rank = self._ranks[-1]
        return rank, self._sizes[rank]

    def rank(self, at: int) -> int:
        """Return the rank of one level; 0 is the worst."""
        return self._ranks[at]

    def size(self, rank: int) -> int:
        """Return what rests at a rank, 0 if nothing does."""
        return self._sizes.get(rank, 0)

    def place(self, rank: int, size: int) -> None:
        """Add an order."""
        before = self._sizes.get(rank, 0)
        self._before.setdefault(rank, before)
        if not before:
            insort(self._ranks, rank)
        self._sizes[rank] = before + size

    def take(self, rank: int, size: int) -> None:
        """Remove so much from a level, or all of it if it has no more."""
        before = self._sizes[rank]
        self._before.setdefault(rank, before)
        if size < before:
            self._sizes[rank] = before - size
        else:
            del self._sizes[rank]
            del self._ranks[bisect_left(self._ranks, rank)]

    def pull(self, rank: int) -> None:
        """Cancel everything that is better than a rank."""
        self._drop(bisect_right(self._ranks, rank), len(self._ranks))

    def prune(self, levels: int) -> None:
        """Cancel the worst levels until no more than so many are left."""
        self._drop(0, max(0, len(self._ranks) - levels))

    def _drop(self, start: int, end: int) -> None:
        for rank in self._ranks[start:end]:
            size = self._sizes.pop(rank)
            self._before.setdefault(rank, size)
        del self._ranks[start:end]

    def levels(self) -> Levels:
        """Return prices and sizes, best first."""
        return tuple((rank * self.sign, self._sizes[rank]) for rank in reversed(self._ranks))

    def changes(self) -> Levels:
        """Return prices and new sizes of what differs from the last call, best first; size 0: it is gone."""
        sizes, before = self._sizes, self._before
        changed = tuple(
            (rank * self.sign, size)
            for rank in sorted(before, reverse=True)
            if (size := sizes.get(rank, 0)) != before[rank]
        )
        before.clear()
        return changed
