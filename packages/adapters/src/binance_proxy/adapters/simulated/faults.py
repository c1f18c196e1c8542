"""A bad line: what it carries may vanish, come twice, come late, or be lost with the connection."""

import random
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from binance_proxy.adapters.simulated.settings import Faults
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import Disconnect, Tick

OUTAGE_TICKS = 20.0
"""How many trades and updates are lost with a connection, on average."""


class Fault(StrEnum):
    """What a line can do wrong."""

    GAP = "gap"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    DISCONNECT = "disconnect"


class FaultyLine:
    """Carries ticks from the market to the reader, with faults at given rates.

    Each fault has a randomness of its own, asked once for every tick: switching one on does not move
    another, as long as the line stays up. The market knows nothing of it all.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.fired: Counter[Fault] = Counter()
        """How often each fault has really happened. A reorder has once the late tick was delivered."""
        self._instruments: tuple[Instrument, ...] = ()
        self._chances = {
            fault: (random.Random(f"{seed}/{fault}"), chance)  # noqa: S311  a simulation
            for fault, chance in (
                (Fault.GAP, faults.gap),
                (Fault.DUPLICATE, faults.duplicate),
                (Fault.REORDER, faults.reorder),
                (Fault.DISCONNECT, faults.disconnect),
            )
            if chance > 0
        }
        self._late: dict[tuple[type, Instrument], Tick] = {}
        self._lost = 0  # ticks still to be lost with the connection
        self.is_down = False
        """True from a `Disconnect` on until the end of the round in which enough was lost."""
        self.came_back = False
        """True if the last `carry` ended an outage."""

    def connect(self, instruments: Sequence[Instrument]) -> None:
        """Begin a connection that carries these instruments. What an earlier one owed is lost."""
        self._instruments = tuple(instruments)
        self._late.clear()
        self.is_down = False

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Carry these from now on, over the same connection. What it owed of others is lost."""
        self._instruments = tuple(instruments)
        self._late = {kind: tick for kind, tick in self._late.items() if kind[1] in self._instruments}

    def carry(self, ticks: Sequence[Tick]) -> list[Tick | Disconnect]:
        """Take the ticks of one round; return what arrives of them."""
        if not self._chances:
            return list(ticks)
        arrived: list[Tick | Disconnect] = []
        for tick in ticks:
            if self.is_down:
                self._lost -= 1
            else:
                self._carry_one(tick, arrived)
        self.came_back = self.is_down and self._lost <= 0
        if self.came_back:
            self.is_down = False
        return arrived

    def _carry_one(self, tick: Tick, arrived: list[Tick | Disconnect]) -> None:
        struck = {fault for fault, (dice, chance) in self._chances.items() if dice.random() < chance}
        if Fault.DISCONNECT in struck:
            arrived.append(self._disconnect(tick.ts_recv))
            return
        if Fault.GAP in struck:
            self.fired[Fault.GAP] += 1
            return
        kind = (type(tick), tick.instrument)
        late = self._late.pop(kind, None)
        if late is None and Fault.REORDER in struck:
            self._late[kind] = tick
            return
        arrived.append(tick)
        if Fault.DUPLICATE in struck:
            self.fired[Fault.DUPLICATE] += 1
            arrived.append(tick)
        if late is not None:
            self.fired[Fault.REORDER] += 1
            arrived.append(msgspec.structs.replace(late, ts_recv=tick.ts_recv))

    def _disconnect(self, ts_recv: int) -> Disconnect:
        self.fired[Fault.DISCONNECT] += 1
        self.is_down = True
        self._lost = 1 + int(self._chances[Fault.DISCONNECT][0].expovariate(1 / OUTAGE_TICKS))
        self._late.clear()
        return Disconnect(instruments=self._instruments, ts_recv=ts_recv, reason="a simulated outage")
