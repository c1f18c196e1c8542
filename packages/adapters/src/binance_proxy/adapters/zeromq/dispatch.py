"""Which worker answers whom, and when: the core of the front. No I/O and no clock.

It is told what clients ask, and what workers say or that they died; `Dispatch.take` returns what is to be
done about it. Times are seconds on a clock that never goes back, and are handed in.

What it promises:
- Every request is answered once, by its deadline: by a worker, or by a fault.
- Clients take turns. While others wait, one holds at most half of all slots; and of four slots or more, the
  last free one is for a client that holds none. So it hardly matters to one how much another asks for.
- A request whose worker dies goes to another one, before everything else that its client asked for. If that
  one dies too, the request may be why, and fails.
- What waits is bounded, for each client and for all of them; beyond that a request is refused at once.
- Nothing is remembered of a client that has nothing here any more.
- While there is no worker, requests wait until their deadline.
"""

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from binance_proxy.adapters.zeromq.asks import (
    Ask,
    Cancel,
    Client,
    Counts,
    Deed,
    Dismiss,
    Frame,
    Hand,
    Reply,
    Ticket,
    Worker,
)
from binance_proxy.adapters.zeromq.rpc import Fault, deadline_passed, our_fault, too_many, workers_died

SILENT_S = 15.0
"""A worker that says nothing for so long is dead, and so is one that takes so long to stop when told to."""
DEATHS = 2
"""So many workers may die while they work on a request; then it fails."""
ROOMY = 4
"""With so many slots or more, the last free one is kept for a client that holds none."""
CLIENT_BYTES = 8 * 2**20
"""What may wait of one client."""
ALL_BYTES = 256 * 2**20
"""What may wait of all of them."""


class Dispatch:
    """Requests on one side, workers on the other."""

    def __init__(self, queue: int, first_number: int = 0) -> None:
        """Begin with nobody.

        Args:
            queue: Requests of one client that may wait.
            first_number: Workers know requests by numbers from here on.
        """
        self._queue = queue
        self._numbers = count(first_number)
        self._clients: dict[bytes, Client] = {}
        self._turns: OrderedDict[bytes, Client] = OrderedDict()
        """Those who wait for something and are not paused, the next one first."""
        self._workers: dict[bytes, Worker] = {}
        self._dues: list[tuple[float, int, Ask]] = []
        """A heap of what has to be looked at when. What is over is dropped when it comes up."""
        self._deeds: list[Deed] = []
        self._open = 0
        self._waiting = 0
        self._bytes = 0
        self.counts = Counts()

    @property
    def waiting(self) -> int:
        """Requests that no worker is at."""
        return self._waiting

    @property
    def in_progress(self) -> int:
        """Requests that workers are at."""
        return sum(len(worker.at) for worker in self._workers.values())

    @property
    def workers(self) -> int:
        """Workers that are there."""
        return len(self._workers)

    @property
    def clients(self) -> int:
        """Clients that have something here."""
        return len(self._clients)

    def take(self) -> list[Deed]:
        """Return what is to be done, in order, and forget it."""
        deeds, self._deeds = self._deeds, []
        return deeds

    def wake_at(self) -> float | None:
        """Return when `tick` is due; `None` if there is nothing to wait for."""
        dues = [worker.heard + SILENT_S for worker in self._workers.values()]
        if self._dues:
            dues.append(self._dues[0][0])
        return min(dues, default=None)

    def ask(
        self,
        now: float,
        client: bytes,
        ticket: Ticket,
        body: bytes,
        timeout_ms: int,
        *,
        wants_answer: bool = True,
    ) -> None:
        """Take a request."""
        one = self._clients.get(client)
        if one is None:
            one = self._clients[client] = Client(client)
        ask = Ask(one, ticket, body, timeout_ms, now + timeout_ms / 1_000, wants_answer)
        self._open += 1
        if (
            len(one.waiting) >= self._queue
            or one.bytes + ask.size > CLIENT_BYTES
            or self._bytes + ask.size > ALL_BYTES
        ):
            self.counts.refused += 1
            self._answer(ask, too_many(self._queue))
            self._end(ask)
            return
        self._look_at(ask)
        self._wait(ask)
        self._hand_out(now)

    def hello(self, now: float, worker: bytes, slots: int) -> bool:
        """Hear that a worker is there; return whether that is new. It says so again and again."""
        known = self._workers.get(worker)
        if known is not None:
            known.heard = now
            return False
        self._workers[worker] = Worker(worker, slots, now)
        self._hand_out(now)
        return True

    def answered(
        self, now: float, worker: bytes, number: int, answer: Sequence[Frame], *, failed: bool = False
    ) -> None:
        """Take an answer. An empty one says that the worker has stopped, or that nobody wanted one."""
        known = self._workers.get(worker)
        if known is None or (ask := known.at.pop(number, None)) is None:
            return  # it was thought dead, and somebody else is at it
        known.heard = now
        ask.client.holds -= 1
        if not ask.given_up:
            self._answer(ask, answer, failed=failed)
        self._end(ask)
        self._hand_out(now)

    def died(self, now: float, worker: bytes) -> None:
        """Hear that a worker is no more. What it was at goes to others."""
        self._bury(worker)
        self._hand_out(now)

    def left(self, now: float, client: bytes) -> None:
        """Hear that a client is gone. Nothing is worked out for it any more."""
        one = self._clients.get(client)
        if one is None:
            return
        one.paused = False
        for ask in list(one.waiting):
            self._unwait(ask)
            self._end(ask)
        for worker in self._workers.values():
            for ask in worker.at.values():
                if ask.client is one and not ask.given_up:
                    self._give_up(now, worker, ask)
        self._forget(one)
        self._hand_out(now)

    def pause(self, client: bytes) -> None:
        """Work nothing out for a client that does not take its answers."""
        one = self._clients.get(client)
        if one is None:
            one = self._clients[client] = Client(client)
        one.paused = True
        self._turns.pop(client, None)

    def resume(self, now: float, client: bytes) -> None:
        """Go on working for it."""
        one = self._clients.get(client)
        if one is None:
            return
        one.paused = False
        if one.waiting:
            self._turns[client] = one
        self._forget(one)
        self._hand_out(now)

    def tick(self, now: float) -> None:
        """Let time pass: fail what is due, and give up workers that are silent."""
        for worker in [one for one in self._workers.values() if one.heard + SILENT_S <= now]:
            self._dismiss(worker)
        while self._dues and self._dues[0][0] <= now:
            due, _, ask = heappop(self._dues)
            if ask.over or ask.due != due:
                continue
            if ask.given_up and ask.worker is not None:
                self._dismiss(ask.worker)
                continue
            self.counts.timed_out += 1
            self._answer(ask, deadline_passed(ask.timeout_ms))
            if ask.worker is not None:
                self._give_up(now, ask.worker, ask)
            else:
                self._unwait(ask)
                self._end(ask)
        self._hand_out(now)

    def close(self, why: Fault) -> None:
        """Fail whatever is left. Nothing may come in afterwards."""
        for client in list(self._clients.values()):
            for ask in list(client.waiting):
                self._unwait(ask)
                self._answer(ask, why)
                self._end(ask)
        for worker in self._workers.values():
            for ask in worker.at.values():
                if not ask.given_up:
                    ask.given_up = True
                    self._answer(ask, why)

    def _hand_out(self, now: float) -> None:
        """Give waiting requests to free slots."""
        while self._turns:
            worker = max(self._workers.values(), key=lambda one: one.free, default=None)
            if worker is None or worker.free <= 0 or (client := self._next()) is None:
                return
            ask = next(iter(client.waiting))
            self._unwait(ask)
            if client.waiting:
                self._turns[client.name] = client  # behind the others
            client.holds += 1
            ask.worker, ask.number = worker, next(self._numbers)
            worker.at[ask.number] = ask
            self._deeds.append(Hand(worker.name, ask.number, max(ask.due - now, 0.0), ask.body))

    def _next(self) -> Client | None:
        """Return whose turn it is; `None` if nobody may have one of the free slots.

        Those who are passed over hold slots, so there are no more of them than slots.
        """
        slots = sum(worker.slots for worker in self._workers.values())
        free = sum(worker.free for worker in self._workers.values())
        last = free == 1 and slots >= ROOMY
        most = max(slots // 2, 1) if len(self._turns) > 1 else slots
        for client in self._turns.values():
            if not client.holds or (client.holds < most and not last):
                del self._turns[client.name]
                return client
        return None

    def _wait(self, ask: Ask, *, first: bool = False) -> None:
        client = ask.client
        client.waiting[ask] = None
        client.bytes += ask.size
        self._waiting += 1
        self._bytes += ask.size
        if not client.paused:
            self._turns.setdefault(client.name, client)
        if first:
            client.waiting.move_to_end(ask, last=False)
            if not client.paused:
                self._turns.move_to_end(client.name, last=False)

    def _unwait(self, ask: Ask) -> None:
        client = ask.client
        del client.waiting[ask]
        client.bytes -= ask.size
        self._waiting -= 1
        self._bytes -= ask.size
        if not client.waiting:
            self._turns.pop(client.name, None)

    def _answer(self, ask: Ask, answer: Sequence[Frame] | Fault, *, failed: bool = False) -> None:
        """Send the one answer of a request."""
        if ask.wants_answer and not answer:
            answer = our_fault()
        if failed or isinstance(answer, Fault):
            self.counts.failed += 1
        else:
            self.counts.answered += 1
        if ask.wants_answer:
            self._deeds.append(Reply(ask.client.name, ask.ticket, answer))

    def _give_up(self, now: float, worker: Worker, ask: Ask) -> None:
        """Tell a worker to stop. Its slot is free once it has."""
        ask.given_up = True
        ask.due = now + SILENT_S
        self._look_at(ask)
        self._deeds.append(Cancel(worker.name, ask.number))

    def _dismiss(self, worker: Worker) -> None:
        self._deeds.append(Dismiss(worker.name))
        self._bury(worker.name)

    def _bury(self, worker: bytes) -> None:
        """Forget a worker; what it was at waits again, or fails."""
        known = self._workers.pop(worker, None)
        if known is None:
            return
        for ask in reversed(known.at.values()):
            ask.client.holds -= 1
            ask.worker = None
            ask.deaths += 1
            if ask.given_up:
                self._end(ask)
            elif ask.deaths >= DEATHS:
                self._answer(ask, workers_died())
                self._end(ask)
            else:
                self._wait(ask, first=True)

    def _look_at(self, ask: Ask) -> None:
        if len(self._dues) > 2 * self._open + 1_000:
            self._dues = [entry for entry in self._dues if not entry[2].over and entry[2].due == entry[0]]
            heapify(self._dues)
        heappush(self._dues, (ask.due, next(self._numbers), ask))

    def _end(self, ask: Ask) -> None:
        ask.over = True
        self._open -= 1
        self._forget(ask.client)

    def _forget(self, client: Client) -> None:
        """Know a client no more if it has nothing here."""
        if not (client.waiting or client.holds or client.paused):
            self._clients.pop(client.name, None)
