"""What those do who answer requests: processes beside the bridge, or itself for a store in memory."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import msgspec

from binance_proxy.adapters.zeromq.answering import Answering, fault_of
from binance_proxy.adapters.zeromq.crew import Crew, Life, Told, hear
from binance_proxy.adapters.zeromq.front import INSIDE
from binance_proxy.adapters.zeromq.live import open_remote_live
from binance_proxy.adapters.zeromq.rpc import Request, away
from binance_proxy.adapters.zeromq.serving import open_serving, python
from binance_proxy.adapters.zeromq.worker import Answered, open_worker
from binance_proxy.application.alongside import alongside
from binance_proxy.application.ports import Live, StoreUnavailable
from binance_proxy.application.serve.answers import Answers
from binance_proxy.application.serve.sources import Ages
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.container import Cached, Container, Kept
from binance_proxy.bridge.options import finish
from binance_proxy.bridge.terminal import LogFormat, chosen_log_format, set_up_log

log = logging.getLogger(__name__)

PROGRAM = python("binance_proxy.bridge.serve:main")
PAUSE_S = 1.0
"""Between two tries to reach a database that is away."""


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker must know."""

    config: Config
    live: str
    """Where the recording answers."""
    log_format: LogFormat


def live_address(folder: str) -> str:
    """Return where other processes reach the recording."""
    return f"ipc://{folder}/live"


@asynccontextmanager
async def open_front(
    config: Config,
    kept: Kept,
    container: Container,
    cached: Cached,
    live: Live,
    folder: str,
    tell: Callable[[dict[str, object]], None],
) -> AsyncIterator[None]:
    """Answer requests until the block is left.

    Args:
        config: The effective configuration.
        kept: What the bridge itself has open, for a store that is in its memory.
        container: The bridge's own.
        cached: The cache, and how others open it.
        live: The recording.
        folder: Private, for sockets; other processes reach the recording by the one called ``live`` in it. It
            is removed at the end, however that comes.
        tell: Is called once a second with what the front reports.

    Raises:
        ServeRejected: The address for requests cannot be used.
    """
    inside = config.store.use == "memory"
    settings = dataclasses.replace(config.serve, workers=0) if inside else config.serve
    theirs = dataclasses.replace(config, cache=cached.settings)
    post = Post(config=theirs, live=live_address(folder), log_format=chosen_log_format())
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(
            open_serving(settings, PROGRAM, msgspec.msgpack.encode(post), tell, folder)
        )
        if inside:
            answering = Answering(answers_from(kept, container, cached, live))
            worker = await stack.enter_async_context(
                open_worker(serving.workers_address, INSIDE, settings.at_once, answering, fault_of)
            )
            await stack.enter_async_context(alongside(worker.run()))
        yield


def main() -> None:
    """Be the process that forks the front and the workers. The bridge starts it, and tells it what to do."""
    told = hear()
    post = msgspec.msgpack.decode(told.more, type=Post)
    set_up_log(post.log_format)
    Crew(told, lambda life: finish(work(told, post, life))).run()


async def work(told: Told, post: Post, life: Life) -> None:
    """Answer requests until it is time to end. While the store cannot be opened, that is the answer."""
    container = Container(config=post.config, owner="bridge run", attach=True, stays=True)
    answering: Answering | None = None
    tried = asyncio.Event()

    async def answer(request: Request, left_s: float) -> Answered:
        await tried.wait()
        if answering is None:
            raise away("the store cannot be reached")
        return await answering(request, left_s)

    async def open_answers(stack: AsyncExitStack) -> None:
        nonlocal answering
        cached = await stack.enter_async_context(container.cache())
        live = await stack.enter_async_context(open_remote_live(post.live))
        kept = await _store(container, stack, tried)
        answers = answers_from(kept, container, cached, live)
        with suppress(StoreUnavailable):
            await answers.prepare()
        answering = Answering(answers)
        tried.set()

    at_once = told.settings.at_once
    with life.ends() as end:
        async with (
            AsyncExitStack() as stack,
            open_worker(told.workers_address, life.name, at_once, answer, fault_of) as worker,
            asyncio.TaskGroup() as group,
        ):
            opening = group.create_task(open_answers(stack))
            await worker.run_until(end)
            opening.cancel()


async def _store(container: Container, stack: AsyncExitStack, tried: asyncio.Event) -> Kept:
    """Open the store, as soon as it is there; set ``tried`` if it is not at once."""
    while True:
        try:
            return await stack.enter_async_context(container.store())
        except StoreUnavailable as error:
            log.warning("what is stored can be asked for as soon as the database is there: %s", error)
            tried.set()
            await asyncio.sleep(PAUSE_S)


def answers_from(kept: Kept, container: Container, cached: Cached, live: Live) -> Answers:
    """Make answers of what is open."""
    return Answers(
        store=kept.past or kept.store,
        registry=kept.registry,
        pairs=kept.pairs,
        archive=kept.archive,
        live=live,
        cache=cached.cache,
        clock=container.clock(),
        ages=Ages(present_s=cached.settings.ttl_s, past_s=cached.settings.past_ttl_s),
    )
