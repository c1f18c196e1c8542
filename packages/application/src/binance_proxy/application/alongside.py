"""Something that goes on beside something else."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Have work going on until the block is left; then it is cancelled, and waited for.

    How it ended does not matter: whoever needs to know has to wait for it in some other way.
    """
    going_on = asyncio.create_task(work)
    try:
        yield
    finally:
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)
