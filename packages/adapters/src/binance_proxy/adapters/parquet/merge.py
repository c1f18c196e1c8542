"""New rows between old ones, part by part."""

from collections.abc import Callable, Iterator, Sequence
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
        key = self._key
        bound = key(new[-1])
        while not self._waiting or key(self._waiting[-1]) <= bound:
            part = next(self._old, None)
            if part is None:
                break
            self._waiting += part
        count = sum(1 for one in self._waiting if key(one) <= bound) if self._waiting else 0
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        rows = {key(one): one for one in new}
        if list(rows) != sorted(rows) or (self._last is not None and next(iter(rows)) < self._last):
            raise ValueError("rows were not given in their order")
        rows.pop(self._last or (), None)
        self._last = bound
        if not taken:
            return list(rows.values())
        rows.update((key(one), one) for one in taken)
        return [rows[at] for at in sorted(rows)]

    def rest(self) -> Iterator[Sequence[Any]]:
        """Yield the old rows that lie behind all new ones."""
        if self._waiting:
            yield self._waiting
        yield from self._old
