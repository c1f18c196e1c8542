"""Long answers in short turns: whoever asks for much must not hold up those who ask for little."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar

TURN = 500
"""Rows that are read, looked at or made in one turn of the loop."""

One = TypeVar("One")
Made = TypeVar("Made")


async def read_in_turns(rows: AsyncIterator[One]) -> AsyncIterator[One]:
    """Yield what is read; others get a turn of the loop meanwhile, however fast it comes."""
    count = 0
    async for one in rows:
        yield one
        count += 1
        if count % TURN == 0:
            await asyncio.sleep(0)


async def made_in_turns(make: Callable[[Sequence[One]], Iterable[Made]], of: Sequence[One]) -> list[Made]:
    """Return what is made of so many rows, a part of them at a time."""
    made: list[Made] = []
    for at in range(0, len(of), TURN):
        made += make(of[at : at + TURN])
        if len(of) > at + TURN:
            await asyncio.sleep(0)
    return made
