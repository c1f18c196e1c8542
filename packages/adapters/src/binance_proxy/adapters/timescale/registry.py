"""Tracked pairs and instruments, in PostgreSQL."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import asyncpg
from msgspec import Struct

from binance_proxy.adapters.timescale.listen import notices
from binance_proxy.adapters.timescale.session import Session
from binance_proxy.application.ports import EventsRejected, StoreRejected, TrackedPair
from binance_proxy.domain.instrument import MICROSECOND_NS, Instrument, Market, Stream, is_symbol

LOCK_PAIR = "SELECT enabled FROM tracked_pairs WHERE (symbol, market) = ($1, $2) FOR UPDATE"
LOCK_STREAMS = "SELECT stream FROM tracked_pair_streams WHERE (symbol, market) = ($1, $2) FOR UPDATE"
PAIRS = """
SELECT symbol, market, enabled, array(
    SELECT stream FROM tracked_pair_streams s
    WHERE (s.symbol, s.market) = (p.symbol, p.market)
) AS streams
FROM tracked_pairs p
ORDER BY symbol, market
"""
CHANNEL = "tracked_pairs"
"""The triggers of the tables notify here."""
PUT_PAIR = """
INSERT INTO tracked_pairs (symbol, market, enabled) VALUES ($1, $2, $3)
ON CONFLICT (symbol, market) DO UPDATE SET enabled = excluded.enabled
"""
PUT_STREAMS = """
INSERT INTO tracked_pair_streams (symbol, market, stream) SELECT $1, $2, unnest($3::text[])
ON CONFLICT DO NOTHING
"""
DROP_STREAMS = "DELETE FROM tracked_pair_streams WHERE (symbol, market) = ($1, $2) AND stream <> ALL ($3)"
REMOVE_PAIR = "DELETE FROM tracked_pairs WHERE (symbol, market) = ($1, $2) RETURNING symbol"
COLUMNS = (
    "instrument_id, venue, market, symbol, price_precision, size_precision, tick_size, step_size,"
    " time_resolution_ns"
)
INSTRUMENTS = f"SELECT {COLUMNS} FROM instruments"  # noqa: S608  our own words
ONE = f"{INSTRUMENTS} WHERE (venue, market, symbol) = ($1, $2, $3)"
REGISTER = f"""
INSERT INTO instruments (venue, market, symbol, price_precision, size_precision, tick_size, step_size,
    time_resolution_ns)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING
RETURNING {COLUMNS}
"""  # noqa: S608  our own words


class Recorded(Struct, frozen=True):
    """An instrument as it was first registered, and the database's id for it."""

    instrument_id: int
    instrument: Instrument


class TimescaleRegistry:
    """A `PairRegistry` and `InstrumentRegistry` in PostgreSQL.

    Instruments never change once they are there, so each is looked up once for as long as connections last.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._recorded: dict[tuple[str, str, str], Recorded] = {}
        self._arrivals = 0

    async def pairs(self) -> Sequence[TrackedPair]:
        """Return the tracked pairs by symbol: at first ETH/USDT and SOL/USDT."""
        async with self._session.transaction() as connection:
            rows = await connection.fetch(PAIRS)
        return [
            TrackedPair(
                symbol=row["symbol"],
                market=Market(row["market"]),
                enabled=row["enabled"],
                streams=tuple(stream for stream in Stream if stream in row["streams"]),
            )
            for row in rows
        ]

    async def changes(self) -> AsyncGenerator[None]:
        """Yield after each connect, and whenever the tracked pairs may have changed. Never ends."""
        async with aclosing(notices(self._session.alone, CHANNEL)) as heard:
            async for _ in heard:
                yield

    async def put(self, pair: TrackedPair, *, instead_of: TrackedPair | None = None) -> bool:
        """Track a pair, or change what is wanted of it; false if something else is tracked than was said.

        Raises:
            StoreUnavailable: The store is away.
            StoreRejected: The symbol is none such as ETH/USDT.
        """
        if not is_symbol(pair.symbol):
            raise StoreRejected(f"{pair.symbol!r} is not a symbol such as ETH/USDT.")
        name, streams = (pair.symbol, pair.market.value), [stream.value for stream in pair.streams]
        async with self._session.transaction() as connection:
            if instead_of is not None and not await _is_tracked(connection, instead_of):
                return False
            await connection.execute(PUT_PAIR, *name, pair.enabled)
            await connection.execute(PUT_STREAMS, *name, streams)
            await connection.execute(DROP_STREAMS, *name, streams)
        return True

    async def remove(self, symbol: str, market: Market) -> bool:
        """Track a pair no more; return whether it was tracked.

        Raises:
            StoreUnavailable: The store is away.
        """
        async with self._session.transaction() as connection:
            return await connection.fetchrow(REMOVE_PAIR, symbol, market.value) is not None

    async def instruments(self) -> Sequence[Instrument]:
        """Return every instrument that was ever registered, by name."""
        async with self._session.transaction() as connection:
            found = await instruments_by_id(connection)
        return sorted(found.values(), key=lambda one: one.name)

    async def register(self, instrument: Instrument) -> Instrument:
        """Make an instrument known, and return it as it is recorded.

        Raises:
            StoreUnavailable: The store is away.
            EventsRejected: The instrument's times are finer than the microseconds that PostgreSQL keeps.
        """
        return (await self.record(instrument)).instrument

    async def record(self, instrument: Instrument) -> Recorded:
        """Do what `register` does, and return the database's id too."""
        found = await self.find(instrument)
        if found is not None:
            return found
        if instrument.time_resolution_ns % MICROSECOND_NS:
            raise EventsRejected(
                f"{instrument.name} has a time resolution of {instrument.time_resolution_ns} ns, and"
                " PostgreSQL keeps whole microseconds."
            )
        async with self._session.transaction() as connection:
            row = await connection.fetchrow(
                REGISTER,
                *_key(instrument),
                instrument.price_precision,
                instrument.size_precision,
                instrument.tick_size,
                instrument.step_size,
                instrument.time_resolution_ns,
            )
            # Without a row another process was quicker, and the statement has waited for its commit.
            row = row or await connection.fetchrow(ONE, *_key(instrument))
        return self._remember(row)

    async def find(self, instrument: Instrument) -> Recorded | None:
        """Return the instrument of that venue, market and symbol as it is recorded; `None` if it is not."""
        if self._arrivals != self._session.arrivals:
            self._recorded.clear()  # an older copy of the database may have other ids
            self._arrivals = self._session.arrivals
        found = self._recorded.get(_key(instrument))
        if found is not None:
            return found
        async with self._session.transaction() as connection:
            row = await connection.fetchrow(ONE, *_key(instrument))
        return None if row is None else self._remember(row)

    def _remember(self, row: asyncpg.Record) -> Recorded:
        recorded = _recorded(row)
        self._recorded[_key(recorded.instrument)] = recorded
        return recorded


async def instruments_by_id(connection: asyncpg.Connection) -> dict[int, Instrument]:
    """Return every instrument by the database's id of it."""
    recorded = [_recorded(row) for row in await connection.fetch(INSTRUMENTS)]
    return {one.instrument_id: one.instrument for one in recorded}


async def _is_tracked(connection: asyncpg.Connection, pair: TrackedPair) -> bool:
    """Say whether exactly this is tracked, and let nobody change it before the transaction ends."""
    name = pair.symbol, pair.market.value
    # One after the other: the streams have to be those that are there once the lock of the pair is held.
    row = await connection.fetchrow(LOCK_PAIR, *name)
    streams = {stream for (stream,) in await connection.fetch(LOCK_STREAMS, *name)}
    return row is not None and row["enabled"] == pair.enabled and streams == set(pair.streams)


def _key(instrument: Instrument) -> tuple[str, str, str]:
    return instrument.venue, instrument.market.value, instrument.symbol


def _recorded(row: asyncpg.Record) -> Recorded:
    return Recorded(
        row["instrument_id"],
        Instrument(
            venue=row["venue"],
            market=Market(row["market"]),
            symbol=row["symbol"],
            price_precision=row["price_precision"],
            size_precision=row["size_precision"],
            tick_size=row["tick_size"],
            step_size=row["step_size"],
            time_resolution_ns=row["time_resolution_ns"],
        ),
    )
