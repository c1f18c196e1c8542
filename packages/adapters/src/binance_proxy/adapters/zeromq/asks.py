"""What a `Dispatch` knows of requests, clients and workers, and what it wants done."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from binance_proxy.adapters.zeromq.rpc import Fault

EACH_BYTES = 1_000
"""What a request takes beside its body."""

Frame: TypeAlias = bytes | memoryview
"""A large one is not copied on its way through the front."""
Ticket: TypeAlias = Any
"""What is needed to send an answer; only handed through."""


@dataclass(slots=True, eq=False)
class Ask:
    """A request that is not over: somebody waits for its answer, or a worker is still at it."""

    client: "Client"
    ticket: Ticket
    body: bytes
    timeout_ms: int
    due: float
    """Its deadline; once it is given up, when its worker must have stopped."""
    wants_answer: bool
    worker: "Worker | None" = None
    number: int = 0
    """By which its worker knows it; another one each time that it is handed over."""
    deaths: int = 0
    """Of workers that were at it."""
    given_up: bool = False
    """The client has its answer or is gone, and the worker was told to stop."""
    over: bool = False

    @property
    def size(self) -> int:
        """What it takes in memory, about."""
        return len(self.body) + EACH_BYTES


@dataclass(slots=True, eq=False)
class Client:
    """One that has something here."""

    name: bytes
    waiting: OrderedDict[Ask, None] = field(default_factory=OrderedDict)
    """The next one first."""
    bytes: int = 0
    """Of what waits."""
    holds: int = 0
    """Slots that are busy for it."""
    paused: bool = False
    """It does not take its answers; nothing is worked out for it until it does."""


@dataclass(slots=True, eq=False)
class Worker:
    """One that said hello."""

    name: bytes
    slots: int
    heard: float
    at: dict[int, Ask] = field(default_factory=dict)
    """What it is at, by number, in the order in which it was handed over."""

    @property
    def free(self) -> int:
        """Slots that it has left."""
        return self.slots - len(self.at)


class Hand(NamedTuple):
    """Give a request to a worker."""

    worker: bytes
    number: int
    left_s: float
    """Until its deadline."""
    body: bytes


class Cancel(NamedTuple):
    """Tell a worker to stop. It still says when it has."""

    worker: bytes
    number: int


class Reply(NamedTuple):
    """Send a client what a worker answered, or why there is no answer."""

    client: bytes
    ticket: Ticket
    answer: Sequence[Frame] | Fault


class Dismiss(NamedTuple):
    """End a worker: it is given up."""

    worker: bytes


Deed: TypeAlias = Hand | Cancel | Reply | Dismiss


@dataclass
class Counts:
    """What happened so far."""

    answered: int = 0
    failed: int = 0
    """With an error; those that timed out or were refused are among them."""
    timed_out: int = 0
    refused: int = 0
    """Because too much of their client waited."""
