"""How the client connects: to follow, to ask only, and to what is no bridge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import zmq
import zmq.asyncio

from binance_proxy.client import Bridge, BridgeAway, Traffic, WrongAddress
from contract.publisher import ETH, trade
from served import publishing, serving
from zeromq_wire import free_addresses

DEADLINE_S = 60.0
STATUS = {"instruments": {ETH.name: "in step"}, "batch": 7}


@asynccontextmanager
async def speaking(publisher) -> AsyncIterator[None]:
    """Have a bridge say how it is, as often as a test needs it."""

    async def speak() -> None:
        while True:
            publisher.publish_status(STATUS)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(speak())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_that_only_asks_needs_nothing_that_is_published() -> None:
    [address] = free_addresses(1)
    async with serving(address) as front, Bridge(publish="", requests=address, control="") as bridge:
        front.answers["bridge.status"] = lambda _: {"type": "status", "epoch": "e1"}
        assert await bridge.request("bridge.status") == {"type": "status", "epoch": "e1"}
        with pytest.raises(BridgeAway, match="without its publishing side"):
            await anext(bridge.trades("ETH/USDT"))


async def test_says_all_that_the_bridge_said_and_counts_what_came() -> None:
    json, msgpack = free_addresses(2)
    for address in (json, msgpack):
        async with (
            publishing(json, msgpack, epoch="e1") as venue,
            speaking(venue),
            Bridge(publish=address, requests="", control="") as bridge,
        ):
            assert bridge.said["batch"] == 7
            assert bridge.said["epoch"] == "e1"
            assert bridge.traffic == Traffic()
            stream = bridge.trades("ETH/USDT")
            first = asyncio.ensure_future(anext(stream))
            number = 0
            async with asyncio.timeout(DEADLINE_S):
                while not first.done():
                    number += 1
                    venue.publish(trade(number))
                    await asyncio.sleep(0.02)
                before = bridge.traffic
                assert before == Traffic(messages=before.messages)
                assert before.messages > 0
                venue.dropped = 1.0
                for _ in range(3):
                    number += 1
                    venue.publish(trade(number))
                venue.dropped = 0.0
                venue.publish(trade(number + 1))
                while not bridge.traffic.holes:  # noqa: ASYNC110  nothing says when
                    await asyncio.sleep(0.02)
            await stream.aclose()
            assert (bridge.traffic.holes, bridge.traffic.missed) == (1, 3)


async def test_what_is_no_bridge_is_told_apart_from_nobody() -> None:
    [address] = free_addresses(1)
    with pytest.raises(BridgeAway, match="no bridge is heard") as nobody:
        async with Bridge(publish=address, requests="", control="", timeout_s=0.3):
            pass
    assert not isinstance(nobody.value, WrongAddress)
    with zmq.asyncio.Context() as context, context.socket(zmq.PUB) as other:
        other.setsockopt(zmq.LINGER, 0)
        other.bind(address)

        async def babble() -> None:
            while True:
                await other.send_multipart([b"bridge.status", b"{}"])
                await asyncio.sleep(0.02)

        babbling = asyncio.create_task(babble())
        with pytest.raises(WrongAddress, match="is not that of a bridge"):
            async with Bridge(publish=address, requests="", control="", timeout_s=2.0):
                pass
        babbling.cancel()
        await asyncio.gather(babbling, return_exceptions=True)


async def test_text_that_is_no_address_is_told() -> None:
    with pytest.raises(WrongAddress, match="'localhost' is not an address"):
        async with Bridge(publish="localhost", requests="", control=""):
            pass
