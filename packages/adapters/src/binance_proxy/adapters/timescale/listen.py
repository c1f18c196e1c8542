"""What the database notifies, heard over a connection that is replaced whenever it is lost."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import asyncpg
import backoff

from binance_proxy.adapters.timescale.session import Open
from binance_proxy.application.ports import StoreError

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
"""A connection that has not answered for so long is lost, though nobody has closed it."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
"""Between two attempts to connect; the limits double, and each pause is drawn at random below its limit."""


async def notices(open_connection: Open, channel: str) -> AsyncGenerator[None]:
    """Yield after each connect, and after each notice on a channel; many at a time are one.

    Never ends and never raises: a connection that is lost, in silence too, is replaced.
    """
    pauses = _growing_pauses()
    while True:
        try:
            async with aclosing(_heard(open_connection, channel)) as heard:
                async for _ in heard:
                    pauses = _growing_pauses()
                    yield
        except StoreError as error:
            pause_s = next(pauses)
            log.warning(
                "changes of %s are not heard, connecting again in %.1f s: %s", channel, pause_s, error
            )
            await asyncio.sleep(pause_s)


async def _heard(open_connection: Open, channel: str) -> AsyncGenerator[None]:
    """Yield at first, and at each notice over one connection. Raises `StoreError` once it is lost."""
    async with open_connection() as connection:
        stirred = asyncio.Event()
        told: list[None] = []

        def hear(*_: Any) -> None:  # noqa: ANN401  the driver's own arguments
            told.append(None)
            stirred.set()

        def end(_: asyncpg.Connection) -> None:
            stirred.set()

        connection.add_termination_listener(end)
        async with asyncio.timeout(HEARTBEAT_S):
            await connection.add_listener(channel, hear)
        told.append(None)  # whatever happened before it listened
        while True:
            if told:
                told.clear()
                yield
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await stirred.wait()
            stirred.clear()
            if not told:
                async with asyncio.timeout(HEARTBEAT_S):
                    await connection.execute("SELECT")


def _growing_pauses() -> Iterator[float]:
    limits = backoff.expo(base=2, factor=FIRST_PAUSE_S, max_value=LONGEST_PAUSE_S)
    next(limits)  # the generator waits to be started
    while True:
        yield backoff.full_jitter(next(limits))
