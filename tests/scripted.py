"""A transport to Binance that answers from a script, and writes down what it was asked."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from binance_proxy.adapters.binance.transport import Answer, Link, Listing, OnClose, OnFrame, Weighed

Say = Callable[[str, Mapping[str, str]], Answer]

ETH = Listing(symbol="ETH/USDT", code="ETHUSDT", trading=True, tick_size="0.01000000", step_size="0.00010000")


def ok(value: object, **headers: str) -> Answer:
    """Answer 200 with a JSON body; ``x_mbx_used_weight_1m="5"`` is a header."""
    return answer(200, value, **headers)


def answer(status: int, value: object, **headers: str) -> Answer:
    """Answer with a status, and JSON or raw bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Answer(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


class ScriptedTransport:
    """A `Transport` for tests: each request takes one turn of the loop, or until `hold` is set."""

    def __init__(
        self, say: Say | Sequence[Answer | Exception] = (), listings: Sequence[Any] = ([ETH],)
    ) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.times: list[float] = []
        self.listed = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self._say = say if callable(say) else None
        self._script = [] if callable(say) else list(say)
        self._listings = list(listings)

    async def connect(self, path: str, on_frame: OnFrame, on_close: OnClose) -> Link:
        raise NotImplementedError

    async def get(self, path: str, parameters: Mapping[str, str]) -> Answer:
        self.asked.append((path, dict(parameters)))
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        await self.hold.wait()
        said = self._say(path, parameters) if self._say else self._script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def listings(self, weighed: Weighed) -> Sequence[Listing]:
        self.listed += 1
        await asyncio.sleep(0)
        said = self._listings[0] if len(self._listings) == 1 else self._listings.pop(0)
        if isinstance(said, Exception):
            raise said
        return said
