"""A few things that are remembered, the newest of them."""

from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Thing = TypeVar("Thing")


class Remembered(Generic[Key, Thing]):
    """A map that holds ``most`` things; of more, those that were put first are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: dict[Key, Thing] = {}

    def __len__(self) -> int:
        return len(self._things)

    def get(self, key: Key) -> Thing | None:
        """Return what is remembered there; `None` if nothing is."""
        return self._things.get(key)

    def put(self, key: Key, thing: Thing) -> None:
        """Remember a thing as the newest, in place of what was there."""
        self._things.pop(key, None)
        self._things[key] = thing
        if len(self._things) > self._most:
            del self._things[next(iter(self._things))]

    def forget(self, which: Callable[[Key], bool]) -> None:
        """Remember nothing any more of such keys."""
        self._things = {key: thing for key, thing in self._things.items() if not which(key)}
