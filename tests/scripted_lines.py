"""A venue without sockets: links that do what a test says, and frames as Binance prints them."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable

from binance_proxy.adapters.binance.transport import OnClose, OnFrame
from binance_proxy.application.ports import FeedError
from scripted import ScriptedTransport, ok

T0 = 1_760_000_000_000


class LoopClock:
    """The time of the loop as ns, so that it moves with virtual time."""

    def now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e9)

    async def sleep_until(self, ts: int) -> None:
        await asyncio.sleep(max(0.0, (ts - self.now()) / 1e9))


class ScriptedLink:
    """One link: it subscribes as it is told, and answers unless it is to be silent."""

    def __init__(self, venue: "ScriptedVenue", on_frame: OnFrame, on_close: OnClose) -> None:
        self.said: list[tuple[float, str, list[str]]] = []
        self.names: set[str] = set()
        self.is_paused = self.is_closed = False
        self.is_mute = venue.is_mute
        self.delay_s = venue.delays.pop(0) if venue.delays else 0.01
        self._venue = venue
        self._on_frame = on_frame
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._under_way: deque[bytes] = deque()  # timers of the same time may go off in any order

    def send(self, text: str) -> None:
        if self.is_closed:
            return
        message = json.loads(text)
        method, names = message["method"], message.get("params", [])
        self.said.append((self._loop.time(), method, names))
        if self._venue.loses_message[method]:
            self._venue.loses_message[method] -= 1
            return
        self._loop.call_later(self.delay_s / 2, self._obey, method, names, message["id"])

    def _obey(self, method: str, names: list[str], number: int) -> None:
        if self.is_mute:
            return
        if method == "SUBSCRIBE":
            self.names.update(names)
            assert len(self.names) <= 1_024, "too many streams"
        elif method == "UNSUBSCRIBE":
            self.names.difference_update(names)
        if self._venue.loses_answer[method]:
            self._venue.loses_answer[method] -= 1
            return
        result = sorted(self.names) if method == "LIST_SUBSCRIPTIONS" else None
        answer = self._venue.answers.pop(0) if self._venue.answers else {"result": result}
        self.push(json.dumps(answer | {"id": number}).encode())

    def push(self, raw: bytes) -> None:
        """Have a message arrive after the delay of the link, in order."""
        if not self.is_mute:
            self._under_way.append(raw)
            self._loop.call_later(self.delay_s, lambda: self._arrive(self._under_way.popleft()))

    def _arrive(self, raw: bytes) -> None:
        if self.is_paused:
            self._held.append(raw)
        elif not self.is_closed:
            self._on_frame(raw)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        held, self._held = self._held, []
        for raw in held:
            self._arrive(raw)

    def close(self) -> None:
        self.is_closed = True

    def end(self, reason: str = "cut") -> None:
        """Have the venue end the link."""
        if not self.is_closed:
            self.is_closed = True
            self._on_close(reason)


class ScriptedVenue(ScriptedTransport):
    """Hands out links, or refuses to; its books are always up to date."""

    def __init__(self) -> None:
        super().__init__(lambda _path, _parameters: ok(self.book()))
        self.links: list[ScriptedLink] = []
        self.attempts: list[float] = []
        self.refusals: list[FeedError] = []
        """What the next attempts to connect are answered."""
        self.is_refusing: FeedError | None = None
        self.loses_message: Counter[str] = Counter()
        self.loses_answer: Counter[str] = Counter()
        self.answers: list[dict[str, object]] = []
        """What the next messages are answered, in place of success."""
        self.delays: list[float] = []
        """Of the next links."""
        self.is_mute = False
        self.last_update_id = 0

    @property
    def open_links(self) -> list[ScriptedLink]:
        return [link for link in self.links if not link.is_closed]

    def book(self) -> dict[str, object]:
        return {"lastUpdateId": self.last_update_id, "bids": [["1.00", "1.0"]], "asks": [["2.00", "1.0"]]}

    async def connect(self, path: str, on_frame: OnFrame, on_close: OnClose) -> ScriptedLink:
        assert path == "/stream"
        self.attempts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.01)
        if self.refusals or self.is_refusing:
            raise self.refusals.pop(0) if self.refusals else self.is_refusing  # type: ignore[misc]
        self.links.append(ScriptedLink(self, on_frame, on_close))
        return self.links[-1]

    def say(self, *frames: tuple[str, bytes]) -> None:
        """Print frames to whoever has subscribed to their streams."""
        for name, raw in frames:
            for link in self.open_links:
                if name in link.names:
                    link.push(raw)


def trade(number: int, code: str = "ETHUSDT") -> tuple[str, bytes]:
    """Return a trade as a stream prints it, with the name of the stream."""
    data = {
        "e": "trade", "E": T0 + number, "s": code, "t": number, "p": "1.50", "q": "1.0", "T": T0 + number,
        "m": False, "M": True,
    }  # fmt: skip
    return framed(f"{code.lower()}@trade", data)


def update(number: int, code: str = "ETHUSDT") -> tuple[str, bytes]:
    """Return an update that covers one id."""
    data = {
        "e": "depthUpdate", "E": T0 + number, "s": code, "U": number, "u": number,
        "b": [["1.00", str(number)]], "a": [],
    }  # fmt: skip
    return framed(f"{code.lower()}@depth@100ms", data)


def framed(name: str, data: object) -> tuple[str, bytes]:
    return name, json.dumps({"stream": name, "data": data}, separators=(",", ":")).encode()


def most_in_a_second(times: Iterable[float]) -> int:
    """Return how many of these came within any second, its end not counted."""
    ordered = sorted(times)
    return max(sum(1 for at in ordered if start <= at < start + 1 - 1e-6) for start in ordered)
