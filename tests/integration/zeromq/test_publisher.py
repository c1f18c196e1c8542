"""The publisher on real sockets keeps the promises of its port, and those of the wire."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import zmq
import zmq.asyncio

from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.zeromq import publisher as publisher_module
from binance_proxy.adapters.zeromq.bodies import BodyOf
from binance_proxy.adapters.zeromq.publisher import KEPT_STATUS, open_publisher
from binance_proxy.application.ports import PublisherRejected
from contract.publisher import BODIES, PublisherContract, candle, quote, snapshot, trade
from zeromq_wire import EPOCH, PATIENCE_S, ZmqWire, free_addresses, open_wire

ORDERBOOK = "binance.spot.ethusdt.orderbook"
TRADES = "binance.spot.ethusdt.trades"


@pytest.fixture
async def wire() -> AsyncIterator[ZmqWire]:
    async with open_wire() as opened:
        yield opened


class TestZmqPublisher(PublisherContract):
    @pytest.fixture
    async def wire(self) -> AsyncIterator[ZmqWire]:
        async with open_wire() as opened:
            yield opened


class TestZmqPublisherInMsgpack(PublisherContract):
    @pytest.fixture
    async def wire(self) -> AsyncIterator[ZmqWire]:
        async with open_wire() as opened:
            listen = opened.listen
            opened.listen = lambda *prefixes, holds=None: listen(*prefixes, holds=holds, encoding="msgpack")
            yield opened


async def test_a_message_is_always_two_frames(wire: ZmqWire) -> None:
    for encoding, decode in (("json", msgspec.json.decode), ("msgpack", msgspec.msgpack.decode)):
        listener = await wire.listen("", encoding=encoding)
        for event, _, _ in BODIES:
            wire.publisher.publish(event)
        wire.publisher.publish_status({"waiting": 1})
        topics = set()
        for _ in range(len(BODIES) + 2):  # the welcome, the events, the status
            message = await listener.frames()
            assert len(message) == 2
            assert decode(message[1])["sequence"] >= 1
            topics.add(message[0].decode())
        assert topics == {topic for _, topic, _ in BODIES} | {"bridge.welcome", "bridge.status"}
        listener.sub.close(linger=0)


async def test_both_encodings_say_the_same_as_the_publisher_in_memory(wire: ZmqWire) -> None:
    json = await wire.listen("binance.", "bridge.status")
    msgpack = await wire.listen("binance.", "bridge.status", encoding="msgpack")
    memory = MemoryPublisher(EPOCH)
    expected = memory.listen("binance.", "bridge.status")
    for publisher in (wire.publisher, memory):
        for event, _, _ in BODIES:
            publisher.publish(event)
        publisher.publish_status({"waiting": 7, "bad_frames": {"broken JSON": 1}})
    assert await json.receive(len(expected)) == expected
    assert await msgpack.receive(len(expected)) == expected


async def test_a_topic_has_one_numbering_whatever_the_encoding(wire: ZmqWire) -> None:
    json = await wire.listen(TRADES)
    wire.publisher.publish(trade(1))
    msgpack = await wire.listen(TRADES, encoding="msgpack")
    wire.publisher.publish(trade(2))
    assert [body["sequence"] for _, body in await json.receive(2)] == [1, 2]
    assert [body["sequence"] for _, body in await msgpack.receive(1)] == [2]


async def test_each_encoding_is_made_only_for_those_who_listen_to_it(wire: ZmqWire) -> None:
    json = await wire.listen(TRADES)
    msgpack = await wire.listen(ORDERBOOK, encoding="msgpack")
    for event in (trade(), quote(), candle()):
        wire.publisher.publish(event)
    assert [topic for topic, _ in await json.receive(1)] == [TRADES]
    assert [topic for topic, _ in await msgpack.receive(1)] == [ORDERBOOK]
    assert wire.made == 2


async def test_encodes_nothing_any_more_once_the_last_subscriber_is_gone(wire: ZmqWire) -> None:
    first, second = await wire.listen(TRADES), await wire.listen(TRADES)
    first.sub.close(linger=0)
    await asyncio.sleep(0.1)
    wire.publisher.publish(trade(1))
    assert [body["trade_id"] for _, body in await second.receive(1)] == [1]
    second.sub.close(linger=0)
    await wire.until(lambda: not wire.publisher._endpoints[0].prefixes)
    made = wire.made
    wire.publisher.publish(trade(2))
    assert wire.made == made


async def test_a_late_joiner_is_heard_and_can_be_given_the_book(wire: ZmqWire) -> None:
    early = await wire.listen(ORDERBOOK)
    wire.publisher.publish(quote(1))
    assert [body["sequence"] for _, body in await early.receive(1)] == [1]
    wire.publisher.newcomers()
    late = await wire.listen(ORDERBOOK)
    assert wire.publisher.newcomers() == {ORDERBOOK}
    wire.publisher.publish(snapshot())
    [(_, body)] = await late.receive(1)
    assert (body["type"], body["sequence"]) == ("snapshot", 2)
    assert [body["sequence"] for _, body in await early.receive(1)] == [2]


async def test_the_welcome_tells_a_subscriber_that_it_will_miss_nothing_from_now_on(wire: ZmqWire) -> None:
    context = zmq.asyncio.Context()
    sub = context.socket(zmq.SUB)
    sub.connect(wire.addresses["json"])
    sub.subscribe(TRADES)
    sub.subscribe("bridge.welcome")
    topic, body = await asyncio.wait_for(sub.recv_multipart(), PATIENCE_S)
    assert (topic, msgspec.json.decode(body)["type"]) == (b"bridge.welcome", "welcome")
    for number in range(100):
        wire.publisher.publish(trade(number))
    for number in range(100):
        _, body = await asyncio.wait_for(sub.recv_multipart(), PATIENCE_S)
        assert msgspec.json.decode(body)["trade_id"] == number
    context.destroy(linger=0)


async def test_no_body_is_made_of_what_nobody_asks_for(
    wire: ZmqWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    make = BodyOf.make

    def counting(*arguments: object) -> object:
        nonlocal made
        made += 1
        return make(*arguments)

    monkeypatch.setattr(BodyOf, "make", counting)
    for number in range(20):
        wire.publisher.publish(trade(number))
    assert made == 0
    wire.publisher.recall(TRADES, 10, most=3)
    assert made == 3


async def test_of_a_book_only_so_many_levels_are_kept_however_many_whole_books_that_is(
    wire: ZmqWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "KEPT_LEVELS", 60)
    for number in range(30):
        wire.publisher.publish(quote(number))
        wire.publisher.publish(snapshot(last_update_id=number))
    levels = [len(one.bids) + len(one.asks) for one in (quote(), snapshot())]
    newest = wire.publisher.recall(ORDERBOOK, 0).sequence
    kept = 2 * (60 // sum(levels))
    assert wire.publisher.recall(ORDERBOOK, newest - kept - 2).messages is None
    messages = wire.publisher.recall(ORDERBOOK, newest - kept).messages
    assert [body["sequence"] for body in messages] == list(range(newest - kept + 1, newest + 1))
    for number in range(3 * wire.kept):  # the number of messages is a bound too
        wire.publisher.publish(quote(number, bids=(), asks=()))
    newest = wire.publisher.recall(ORDERBOOK, 0).sequence
    assert len(wire.publisher.recall(ORDERBOOK, newest - wire.kept).messages) == wire.kept
    assert wire.publisher.recall(ORDERBOOK, newest - wire.kept - 1).messages is None


async def test_thirty_whole_books_do_not_push_out_what_was_before(wire: ZmqWire) -> None:
    for number in range(15):
        wire.publisher.publish(quote(number))
    for number in range(30):
        wire.publisher.publish(snapshot(last_update_id=number))
    assert len(wire.publisher.recall(ORDERBOOK, 0).messages) == 45


async def test_one_who_subscribes_without_end_does_not_hold_up_the_loop(wire: ZmqWire) -> None:
    keen = await wire.listen(TRADES)
    context = zmq.asyncio.Context()
    busy = context.socket(zmq.XSUB)
    busy.setsockopt(zmq.SNDHWM, 0)
    busy.connect(wire.addresses["json"])
    for number in range(3 * publisher_module.MOST_PREFIXES // 2):
        await busy.send(b"\x01topic %d" % number)
    endpoint = wire.publisher._endpoints[0]
    taken = []
    hear = endpoint.hear

    def counted() -> list[bytes]:
        taken.append(len(new := hear()))
        return new

    endpoint.hear = counted
    await wire.until(lambda: endpoint.is_full)
    assert max(taken) <= publisher_module.HEARD_AT_ONCE
    assert len(endpoint.prefixes) <= publisher_module.MOST_PREFIXES
    assert "" in wire.publisher.newcomers()
    wire.publisher.publish(trade())
    assert len(await keen.receive(1)) == 1
    made = wire.made
    wire.publisher.publish(quote())  # somebody may want it: not every prefix is known any more
    assert wire.made == made + 1
    context.destroy(linger=0)


async def test_what_the_bridge_says_of_itself_is_kept_for_a_short_while_only() -> None:
    async with open_publisher(
        json=free_addresses(1)[0], msgpack=free_addresses(1)[0], epoch="e", high_water=10, linger_s=0.0
    ) as publisher:
        for number in range(KEPT_STATUS + 1):
            publisher.publish_status({"waiting": number})
        assert publisher.recall("bridge.status", 0).messages is None
        assert len(publisher.recall("bridge.status", 1).messages) == KEPT_STATUS


def resident_bytes() -> int:
    """Return the memory that this process has now."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("this system does not say how much memory a process has")
    return int(statm.read_text().split()[1]) * 4096


async def test_a_subscriber_that_never_reads_costs_no_more_than_its_high_water() -> None:
    async with open_wire(high_water=100) as wire:
        await wire.listen("", holds=1)
        whole = snapshot(bids=tuple((price, 10**8) for price in range(10**12, 10**12 - 2_000, -1)))
        for _ in range(300):  # let every buffer on the way fill
            wire.publisher.publish(whole)
            await asyncio.sleep(0)
        before = resident_bytes()
        for _ in range(2_000):
            wire.publisher.publish(whole)
            await asyncio.sleep(0)
        sent = 2_000 * len(msgspec.json.encode([("10000.0000000", "1")] * 2_000))
        assert resident_bytes() - before < sent // 4
        keen = await wire.listen(TRADES)
        wire.publisher.publish(trade())
        assert len(await keen.receive(1)) == 1


async def test_a_subscriber_that_dies_in_the_middle_harms_nobody(wire: ZmqWire) -> None:
    keen = await wire.listen(TRADES)
    for number in range(200):
        if number % 20 == 0:
            dying = await wire.listen("", holds=1)
        wire.publisher.publish(trade(number))
        if number % 20 == 10:
            dying.sub.close(linger=0)
    assert [body["trade_id"] for _, body in await keen.receive(200)] == list(range(200))


async def test_a_listener_that_talks_nonsense_harms_nobody(wire: ZmqWire) -> None:
    keen = await wire.listen(TRADES)
    context = zmq.asyncio.Context()
    rude = context.socket(zmq.XSUB)
    rude.connect(wire.addresses["json"])
    for nonsense in (
        b"",
        b"\x00",
        b"\x00never",
        b"\x02x",
        b"\x01\xff\xfe",
        b"\x01" + b"x" * 1_000,
        b"hello",
    ):
        await rude.send(nonsense)
    await wire.until(lambda: b"\xff\xfe" in wire.publisher._endpoints[0].prefixes)
    wire.publisher.publish(trade())
    assert len(await keen.receive(1)) == 1
    assert any("\ufffd" in prefix for prefix in wire.publisher.newcomers())
    talking = context.socket(zmq.XSUB)
    talking.connect(wire.addresses["json"])
    await talking.send(b"\x01" + b"x" * 100_000)  # whose connection is ended
    wire.publisher.publish(trade(2))
    assert len(await keen.receive(1)) == 1
    context.destroy(linger=0)


async def test_an_address_in_use_is_refused_and_says_so() -> None:
    async with open_wire() as wire:
        [free] = free_addresses(1)
        for json, msgpack in ((wire.addresses["json"], free), (free, wire.addresses["json"]), (free, free)):
            with pytest.raises(PublisherRejected, match=r"cannot publish on tcp://127.*: it is in use"):
                async with open_publisher(
                    json=json, msgpack=msgpack, epoch="e2", high_water=10, linger_s=0.0
                ):
                    pytest.fail("it was opened")


@pytest.mark.parametrize(
    "address", ["", "nonsense", "tcp://", "tcp://127.0.0.1", "tcp://256.0.0.1:5", "x://y:1"]
)
async def test_an_address_that_is_none_is_refused_and_named(address: str) -> None:
    [free] = free_addresses(1)
    with pytest.raises(PublisherRejected, match=r"cannot publish on"):
        async with open_publisher(json=free, msgpack=address, epoch="e2", high_water=10, linger_s=0.0):
            pytest.fail("it was opened")


async def test_an_address_can_be_used_again_at_once_after_the_end() -> None:
    json, msgpack = free_addresses(2)
    for _ in range(3):
        async with open_publisher(json=json, msgpack=msgpack, epoch="e", high_water=10, linger_s=1.0):
            pass


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_messages_sent_just_before_the_end_arrive(encoding: str) -> None:
    async with open_wire(high_water=100_000, linger_s=PATIENCE_S) as wire:
        listener = await wire.listen(
            TRADES, encoding=encoding, holds=10
        )  # so nearly all are still to be sent
        for number in range(20_000):
            wire.publisher.publish(trade(number))
        receiving = asyncio.create_task(listener.receive(20_000))
        # The publisher ends here, in the middle of sending; the listener lives until it has read.
        wire.close, close = (lambda: None), wire.close
    assert [body["trade_id"] for _, body in await receiving] == list(range(20_000))
    close()


async def test_the_end_waits_no_longer_than_the_linger_for_one_who_never_reads() -> None:
    loop = asyncio.get_running_loop()
    async with open_wire(high_water=100_000, linger_s=0.2) as wire:
        await wire.listen(TRADES, holds=1)
        for number in range(50_000):
            wire.publisher.publish(trade(number))
        began = loop.time()
        wire.close, close = (lambda: None), wire.close
    assert loop.time() - began < PATIENCE_S
    close()
