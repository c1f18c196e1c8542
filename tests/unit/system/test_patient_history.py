"""A venue that is away for a while is asked again behind what it gave, and not for ever."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from binance_proxy.adapters.memory.history import MemoryHistory
from binance_proxy.adapters.system.patient_history import PatientHistory
from binance_proxy.application.ports import HistoryRejected, HistoryUnavailable
from contract.exchange_history import FOREVER, candles_of, past, plain, trades_of
from contract.market_store import ETH

SOME = past(*range(5_000, 6_000))


class Shaky(MemoryHistory):
    """Is away so many times before each page."""

    def __init__(
        self, trades: Sequence[object], away: int, error: type[Exception] = HistoryUnavailable
    ) -> None:
        super().__init__(trades, page=300)
        self.away = self.left = away
        self.error = error

    def fail(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error("away")
        self.left = self.away

    async def ids(self, *asked: object) -> object:
        self.fail()
        return await super().ids(*asked)

    async def trades(self, *asked: object) -> AsyncGenerator[object]:
        async for page in super().trades(*asked):
            self.fail()
            yield page

    async def candles(self, *asked: object) -> AsyncGenerator[object]:
        async for page in super().candles(*asked):
            self.fail()
            yield page


class Patience:
    """Writes down how long it was to wait."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, pause_s: float) -> None:
        self.pauses.append(pause_s)


def patient(away: int, error: type[Exception] = HistoryUnavailable) -> tuple[PatientHistory, Patience]:
    patience = Patience()
    return PatientHistory(Shaky(SOME, away, error), tries=4, longest_s=3, sleep=patience), patience


async def test_asks_again_behind_what_it_was_given() -> None:
    history, patience = patient(away=3)
    assert await trades_of(history, 5_000, 5_999) == plain(SOME)
    assert len(patience.pauses) == 3 * 4  # four pages
    assert all(pause_s <= limit for pause_s, limit in zip(patience.pauses, [1, 2, 3] * 4, strict=True))


async def test_ids_and_candles_too() -> None:
    history, _ = patient(away=3)
    assert await history.ids(ETH, *FOREVER) == (5_000, 5_999)
    assert await candles_of(history) == await candles_of(MemoryHistory(SOME))


async def test_gives_up_after_so_many_tries_that_brought_nothing() -> None:
    for work in (lambda one: one.ids(ETH, *FOREVER), lambda one: trades_of(one, 5_000, 5_999), candles_of):
        history, patience = patient(away=4)
        with pytest.raises(HistoryUnavailable):
            await work(history)
        assert len(patience.pauses) == 3


async def test_a_refusal_is_passed_on_at_once() -> None:
    history, patience = patient(away=1, error=HistoryRejected)
    with pytest.raises(HistoryRejected):
        await trades_of(history, 5_000, 5_999)
    assert patience.pauses == []
