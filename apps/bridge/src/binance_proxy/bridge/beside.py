"""What runs beside a recording: the sockets on which it answers, the cache, and the processes that ask it."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from rich.markup import escape

from binance_proxy.adapters.zeromq.control import open_control
from binance_proxy.adapters.zeromq.live import open_live_socket
from binance_proxy.adapters.zeromq.publisher import ZmqPublisher
from binance_proxy.adapters.zeromq.serving import private_folder, try_address
from binance_proxy.adapters.zeromq.subscribers import Subscribers
from binance_proxy.application.alongside import alongside
from binance_proxy.application.latest import open_latest
from binance_proxy.application.live import open_live
from binance_proxy.application.ports import Live
from binance_proxy.application.record import Recording
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Container, Kept, Source
from binance_proxy.bridge.serve import live_address, open_front
from binance_proxy.bridge.terminal import err

log = logging.getLogger(__name__)


class Running(NamedTuple):
    """A recording, and all that it is made of."""

    recording: Recording
    publisher: ZmqPublisher
    kept: Kept
    source: Source
    container: Container


@asynccontextmanager
async def open_beside(config: Config, running: Running) -> AsyncIterator[None]:
    """Answer on the control socket, and have requests answered, until the block is left.

    What can fail at once fails here: an address in use. All that takes its time begins with the recording,
    and if it fails the recording goes on without.

    Raises:
        ControlRejected: The address of the control socket cannot be used.
        ServeRejected: The address for requests cannot be used.
    """
    recording, publisher, kept, source, _ = running
    subscribers = Subscribers(publisher, publisher.connections)
    recording.tell_also("subscribers", subscribers.status)
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(
            open_live(recording, publisher, kept.past or kept.store, source.history)
        )
        if config.control.bind:
            await stack.enter_async_context(open_control(config.control.bind, live, subscribers))
        if config.serve.bind:
            try_address(config.serve.bind)
            await stack.enter_async_context(alongside(_serve(config, running, live)))
        yield


async def _serve(config: Config, running: Running, live: Live) -> None:
    """Have requests answered until cancelled. No fault of it may end the recording."""
    recording, publisher = running.recording, running.publisher
    folder = private_folder()
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(open_live_socket(live, live_address(folder)))
            cached = await stack.enter_async_context(running.container.cache())
            recording.tell_also("cache", cached.status)
            await stack.enter_async_context(open_latest(recording, publisher, cached.cache))
            front: dict[str, object] = {"workers": 0}  # and what the front says of itself, once it has
            recording.tell_also("serve", lambda: front)
            await stack.enter_async_context(
                open_front(config, running.kept, running.container, cached, live, folder, front.update)
            )
            await asyncio.Event().wait()
    except Exception:
        log.exception("requests are not answered any more; the recording goes on")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def announce(config: Config) -> None:
    """Say where requests are answered, if they are."""
    where = [config.serve.bind] if config.serve.bind else []
    where += [f"control {config.control.bind}"] if config.control.bind else []
    if where:
        err.print(f"answering     {escape(', '.join(where))}")
