"""The publishing side: one SUB socket for everything that is followed, and what keeps it honest."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
import zmq
import zmq.asyncio
from msgspec import Struct
from msgspec.structs import replace

from binance_proxy.client.answers import Recalled
from binance_proxy.client.errors import BridgeAway, RequestFailed
from binance_proxy.client.follow import Ask, Failure, Follower, Resubscribe
from binance_proxy.client.link import arrivals, watched
from binance_proxy.client.messages import STATUS, WELCOME, Status, read_own
from binance_proxy.client.requests import Requests

HIGH_WATER = 100_000
"""Messages that may wait in the socket; ZeroMQ drops what is beyond, which shows in the sequence."""
REPAIR_S = 5.0
"""How long one answer to a repair may take."""
NEVER_UP_S = 2.0
"""Likewise, where nothing ever answered."""
LOOK_S = 0.25
"""How often silence is looked for."""
QUIET_S = 3.0
"""Of a topic that nothing has come of for so long the bridge is asked where it is; of one topic at a time,
one request in as many seconds. The last message before a pause may be lost, and no later one shows it."""
LATE_S = 0.5
"""So much later than such an answer a message may come that was published before."""

AnyFollower = TypeVar("AnyFollower", bound=Follower)


@dataclass(eq=False)
class Followed(Generic[AnyFollower]):
    """A follower of a topic, and what wakes those who wait for it."""

    follower: AnyFollower
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    wakes: list[asyncio.Event] = field(default_factory=list)
    """Further ones, of others who wait for the same."""
    heard: float = 0.0
    """When the last message came, or the bridge was last asked for one."""


class Traffic(Struct, frozen=True, kw_only=True):
    """What has come from a bridge so far, of all that is or was followed."""

    messages: int = 0
    holes: int = 0
    """How often messages were missing, whether or not they could be had afterwards."""
    missed: int = 0
    """How many messages that were."""
    unreadable: int = 0
    """Messages that could not be read."""


class Wire:
    """Subscribes, hands each message to those who follow its topic, and sends what they ask for.

    When the connection breaks, or nothing is heard for ``silence_s``, all followers are told to doubt. A
    subscription counts once the bridge has welcomed a subscription that was made behind it.
    """

    def __init__(self, socket: zmq.asyncio.Socket, requests: Requests | None, silence_s: float) -> None:
        """Take a SUB socket; `open_wire` makes it."""
        self.status: Status | None = None
        """What the bridge said of itself last."""
        self.news = asyncio.Event()
        """Set whenever the bridge has said something of itself."""
        self.said = b""
        """The same, as it came."""
        self._messages = self._unreadable = 0
        self._left = Traffic()
        """Of those who follow nothing any more."""
        self.breaks = 0
        """How often the connection was lost, or nothing was heard for too long."""
        self.is_closed = False
        self._socket = socket
        self._requests = requests
        self._silence_s = silence_s
        self._followed: dict[str, list[Followed[Follower]]] = {}
        self._to_join: list[Followed[Follower]] = []
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._is_up = False
        self._tried = 0.0
        """When a connection was last made anew because nothing was heard over it."""
        self.connect_again: Callable[[], None] = lambda: None
        """Makes another connection; `open_wire` says how."""
        self._join_wanted = asyncio.Event()
        self._welcomed = asyncio.Event()
        self._connection = 0
        self._tasks: set[asyncio.Task[None]] = set()
        socket.subscribe(STATUS)

    def silence(self) -> str | None:
        """Say that nothing was heard for too long; `None` if something was."""
        silent_s = self._loop.time() - self._heard
        return f"nothing heard for {silent_s:.0f} s" if silent_s > self._silence_s else None

    def join(self, followed: Followed[AnyFollower]) -> None:
        """Have a follower given its topic from now on."""
        topic = followed.follower.topic
        self._followed.setdefault(topic, []).append(followed)  # type: ignore[arg-type]
        self._socket.subscribe(topic)
        self._join_again([followed])  # type: ignore[list-item]

    def leave(self, followed: Followed[AnyFollower]) -> None:
        """Give a follower nothing any more. Does nothing if it had left before."""
        topic = followed.follower.topic
        others = self._followed.get(topic, [])
        if followed in others:
            others.remove(followed)  # type: ignore[arg-type]
            self._left = _with(self._left, followed.follower)
            if not self._socket.closed:
                self._socket.unsubscribe(topic)
        if not others:
            self._followed.pop(topic, None)

    def followers(self) -> list[Follower]:
        """Return all that follow a topic."""
        return [one.follower for several in self._followed.values() for one in several]

    def traffic(self) -> Traffic:
        """Say what has come so far."""
        so_far = self._left
        for follower in self.followers():
            so_far = _with(so_far, follower)
        unreadable = so_far.unreadable + self._unreadable
        return replace(so_far, messages=self._messages, unreadable=unreadable)

    def pump(self, followed: Followed[AnyFollower]) -> None:
        """Send what a follower wants sent, and wake those who wait for it."""
        self.send(followed)
        followed.wake.set()
        for wake in followed.wakes:
            wake.set()

    def send(self, followed: Followed[AnyFollower]) -> None:
        """Send what a follower wants sent."""
        for wanted in followed.follower.to_send():
            doing = (
                self._ask(followed, wanted)
                if isinstance(wanted, Ask)
                else self._resubscribe(followed, wanted)
            )
            task = asyncio.create_task(doing)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def take(self, frames: list[bytes]) -> None:
        """Hand a message to those who follow its topic. A subscription is a prefix: others come too."""
        self._heard = self._loop.time()
        if len(frames) != 2:
            self._unreadable += 1
            return
        topic = frames[0].decode(errors="replace")
        several = self._followed.get(topic, ())
        self._messages += bool(several)
        for followed in several:
            followed.heard = self._heard
            followed.follower.feed(frames[1])
            self.pump(followed)
        if topic in {STATUS, WELCOME}:
            self._own(frames[1])

    def _own(self, body: bytes) -> None:
        try:
            said = read_own(body)
        except (msgspec.MsgspecError, ValueError):
            self._unreadable += 1
            return
        if isinstance(said, Status):
            self.status, self.said = said, body
            self.news.set()
        else:
            self._welcomed.set()

    def up(self) -> None:
        """Learn that there is a connection."""
        self._is_up = True
        self._join_again(self._all())

    def down(self, reason: str = "the connection to the bridge broke") -> None:
        """Learn that the connection broke. ZeroMQ makes a new one, and subscribes there again."""
        self._is_up = False
        self._connection += 1
        self._welcomed.set()
        self._doubt(reason)

    def _all(self) -> list[Followed[Follower]]:
        return [one for several in self._followed.values() for one in several]

    def _doubt(self, reason: str) -> None:
        self.breaks += 1
        for followed in self._all():
            followed.follower.doubt(reason)
            self.pump(followed)

    def _join_again(self, followed: list[Followed[Follower]]) -> None:
        self._to_join += [one for one in followed if one not in self._to_join]
        self._join_wanted.set()

    async def welcome(self) -> None:
        """Make subscriptions count, whenever there are new ones, for ever.

        The subscription to the welcome is sent behind all others, so its answer is an answer to them too.
        What ZeroMQ subscribes to by itself on a new connection comes in no such order, so the welcome is
        never among it.
        """
        while True:
            await self._join_wanted.wait()
            self._join_wanted.clear()
            if not (self._is_up and self._to_join):
                continue
            joining, connection = list(self._to_join), self._connection
            self._welcomed.clear()
            self._socket.subscribe(WELCOME)
            try:
                async with asyncio.timeout(self._silence_s):
                    await self._welcomed.wait()
            except TimeoutError:
                self._join_wanted.set()
                continue
            finally:
                self._socket.unsubscribe(WELCOME)
            if connection != self._connection:
                continue
            for followed in joining:
                self._to_join.remove(followed)
                followed.follower.joined()
                self.pump(followed)
            if self._to_join:
                self._join_wanted.set()

    async def watch_silence(self) -> None:
        """Doubt everything when nothing is heard: a link can be dead and look alive. For ever.

        Such a link is let go, and another one made in its place; that has as long to be heard.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            reason, now = self.silence(), self._loop.time()
            if reason is None or not self._is_up or now - self._tried <= self._silence_s:
                continue
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self._tried = now
                self.down(reason)
                self.connect_again()

    async def watch_quiet(self) -> None:
        """Find out whether a last message was lost, of topics on which nothing comes. For ever."""
        while True:
            await asyncio.sleep(QUIET_S)
            requests, followed = self._requests, min(self._all(), key=lambda one: one.heard, default=None)
            if requests is None or followed is None or not (self._is_up and requests.was_up):
                continue
            if self.silence() is not None or self._loop.time() - followed.heard < QUIET_S:
                continue
            followed.heard = self._loop.time()
            try:
                params = {"topic": followed.follower.topic, "epoch": "none", "sequence": 0}
                answer = await requests.call("topics.since", params, timeout_s=REPAIR_S, again=False)
                now = answer.read(Recalled)
            except (RequestFailed, BridgeAway):
                continue
            await asyncio.sleep(LATE_S)
            if followed in self._all():
                followed.follower.is_at(now.epoch, now.sequence)
                self.pump(followed)

    async def _ask(self, followed: Followed[AnyFollower], ask: Ask) -> None:
        if ask.pause_s:
            await asyncio.sleep(ask.pause_s)
        requests, follower = self._requests, followed.follower
        if requests is None:
            return
        timeout_s = REPAIR_S if requests.was_up else NEVER_UP_S
        try:
            answer = await requests.call(ask.method, ask.params, timeout_s=timeout_s, again=False)
        except RequestFailed as error:
            follower.failed(ask, Failure(reason=str(error), retry=error.retry))
        except BridgeAway as error:
            follower.failed(ask, Failure(reason=str(error), hopeless=not requests.was_up))
        else:
            follower.answer(ask, answer.result)
        self.pump(followed)

    async def _resubscribe(self, followed: Followed[AnyFollower], wanted: Resubscribe) -> None:
        """Subscribe once more. Subscriptions are counted, so that taking it back leaves the first."""
        if wanted.pause_s:
            await asyncio.sleep(wanted.pause_s)
        if wanted.topic in self._followed:
            self._socket.subscribe(wanted.topic)
            self._socket.unsubscribe(wanted.topic)
        followed.follower.resubscribed()

    async def end(self) -> None:
        """Send nothing any more, and let all who wait know."""
        self.is_closed = True
        for followed in self._all():
            for wake in (followed.wake, *followed.wakes):
                wake.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _with(so_far: Traffic, follower: Follower) -> Traffic:
    return replace(
        so_far,
        holes=so_far.holes + follower.holes,
        missed=so_far.missed + follower.lost,
        unreadable=so_far.unreadable + follower.unreadable,
    )


@asynccontextmanager
async def open_wire(
    context: zmq.asyncio.Context, address: str, requests: Requests | None, silence_s: float
) -> AsyncIterator[Wire]:
    """Connect to a publishing endpoint until the block is left. It need not be there yet.

    Raises:
        WrongAddress: It is none.
    """
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
    try:
        wire = Wire(socket, requests, silence_s)
        async with watched(socket, address, wire.up, wire.down) as wire.connect_again:
            tasks = [
                asyncio.create_task(doing)
                for doing in (
                    arrivals(socket, wire.take),
                    wire.welcome(),
                    wire.watch_silence(),
                    wire.watch_quiet(),
                )
            ]
            try:
                yield wire
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError):
                        await task
                await wire.end()
    finally:
        socket.close(linger=0)
