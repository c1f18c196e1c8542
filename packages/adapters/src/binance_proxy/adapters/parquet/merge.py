"""New rows between old ones, part by part."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import lt
from typing import Any


class Merge:
    """Joins rows that come in order with rows that are there, each once. Of a double the old one stays."""

    def __init__(self, old: Iterator[Sequence[Any]], key: Callable[[Any], tuple[Any, ...]]) -> None:
        self._old = old
        self._key = key
        self._waiting: list[Any] = []  # old ones that lie behind all that was joined
        self._last: tuple[Any, ...] | None = None

    def join(self, new: Sequence[Any]) -> list[Any]:
        """Return the next rows up to the last of the new ones, which lie behind all that were joined before.

        Raises:
            ValueError: They do not.
        """
        keys: Sequence[tuple[Any, ...]] = list(map(self._key, new))
        if not (self._last is None or self._last < keys[0]) or not all(map(lt, keys, islice(keys, 1, None))):
            new, keys = self._once(new, keys)
        if not keys:
            return []
        self._last = keys[-1]
        taken = self._up_to(keys[-1])
        if not taken:
            return list(new)
        rows = dict(zip(keys, new, strict=True))
        rows.update((self._key(one), one) for one in taken)
        return [rows[at] for at in sorted(rows)]

    def goes_on(self, first: tuple[Any, ...], last: tuple[Any, ...]) -> bool:
        """Say whether rows lie behind all that were joined before, by their outer keys; then they are too.

        It is for rows of a day of which there are no old ones.
        """
        if self._last is not None and first <= self._last:
            return False
        self._last = last
        return True

    def _once(
        self, new: Sequence[Any], keys: Sequence[tuple[Any, ...]]
    ) -> tuple[Sequence[Any], Sequence[tuple[Any, ...]]]:
        """Leave out what was given already."""
        rows = {at: one for at, one in zip(keys, new, strict=True) if at != self._last}
        if list(rows) != sorted(rows) or (rows and self._last is not None and next(iter(rows)) < self._last):
            raise ValueError("rows were not given in their order")
        return list(rows.values()), list(rows)

    def _up_to(self, bound: tuple[Any, ...]) -> list[Any]:
        """Take the old rows that lie before a key, or at it."""
        key = self._key
        while not self._waiting or key(self._waiting[-1]) <= bound:
            part = next(self._old, None)
            if part is None:
                break
            self._waiting += part
        count = bisect_right(self._waiting, bound, key=key)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def rest(self) -> Iterator[Sequence[Any]]:
        """Yield the old rows that lie behind all new ones."""
        if self._waiting:
            yield self._waiting
        yield from self._old
