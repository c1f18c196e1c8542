"""The control socket answers those who ask well, tells the others why not, and is harmed by nobody."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import msgspec
import pytest
import zmq
import zmq.asyncio

from binance_proxy.adapters.zeromq.control import ControlRejected, open_control
from binance_proxy.adapters.zeromq.subscribers import Subscribers
from contract.live import ETH, PATIENCE_S, TRADES, World, quote, recorded, snapshot, trade
from zeromq_wire import free_addresses


class Desk:
    """A recording behind a control socket, and those who ask there."""

    def __init__(self, world: World, address: str) -> None:
        self.world = world
        self.address = address
        self.context = zmq.asyncio.Context()

    def client(self, kind: int = zmq.DEALER) -> "zmq.asyncio.Socket":
        client = self.context.socket(kind)
        client.connect(self.address)
        return client

    async def ask(self, method: str, encoding: str = "json", **params: object) -> dict:
        client = self.client(zmq.REQ)
        code = {"json": msgspec.json, "msgpack": msgspec.msgpack}[encoding]
        await client.send(code.encode({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
        answer = code.decode(await asyncio.wait_for(client.recv(), PATIENCE_S))
        client.close(linger=0)
        assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
        return answer


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    world = World()
    [address] = free_addresses(1)
    async with recorded(world) as live:
        subscribers = Subscribers(world.publisher)
        world.recording.tell_also("subscribers", subscribers.status)
        async with open_control(address, live, subscribers):
            desk = Desk(world, address)
            try:
                yield desk
            finally:
                desk.context.destroy(linger=0)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_says_how_the_bridge_is_in_the_encoding_of_the_request(desk: Desk, encoding: str) -> None:
    await desk.world.give(snapshot(10), quote(11), trade(1))
    told = (await desk.ask("bridge.status", encoding))["result"]
    assert (told["type"], told["epoch"], told["protocol"]) == ("status", "e1", "1")
    assert told["instruments"][ETH.name] == "in step"
    assert (told["trades"], told["quotes"]) == (1, 1)
    assert told["subscribers"]["reporting"] == 0
    messages = desk.world.publisher.listen("bridge.status")
    desk.world.recording._tell_status()
    assert messages[0][1].keys() - told.keys() == {"sequence"}


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_takes_the_reports_of_subscribers(desk: Desk, encoding: str) -> None:
    await desk.world.give(*(trade(number) for number in range(1, 11)))
    topics = {TRADES: {"epoch": "e1", "sequence": 4}}
    answer = await desk.ask("subscribers.report", encoding, client="bot", topics=topics, missed=3)
    assert answer["result"] == {}
    [client] = (await desk.ask("bridge.status"))["result"]["subscribers"]["clients"]
    assert (client["client"], client["lag"], client["missed"]) == ("bot", 6, 3)


async def test_answers_a_pipelining_dealer_in_its_own_envelope_and_order(desk: Desk) -> None:
    bare, wrapped = desk.client(), desk.client()
    for number in range(50):
        body = b'{"jsonrpc":"2.0","id":%d,"method":"bridge.status"}' % number
        await bare.send(body)
        await wrapped.send_multipart([b"", body])
    for number in range(50):
        [body] = await asyncio.wait_for(bare.recv_multipart(), PATIENCE_S)
        assert json.loads(body)["id"] == number
        empty, body = await asyncio.wait_for(wrapped.recv_multipart(), PATIENCE_S)
        assert (empty, json.loads(body)["id"]) == (b"", number)


@pytest.mark.parametrize(
    ("method", "params", "code", "names"),
    [
        ("trades.list", {}, -32601, "trades.list"),
        ("bridge.status", {"symbol": "ETH/USDT"}, -32602, "symbol"),
        ("subscribers.report", {}, -32602, "client"),
        ("subscribers.report", {"client": "bot", "topics": 5}, -32602, "topics"),
        ("subscribers.report", {"client": "bot", "topics": {"t": {"epoch": "e"}}}, -32602, "sequence"),
    ],
)
async def test_says_what_is_wrong_with_a_request(
    desk: Desk, method: str, params: dict, code: int, names: str
) -> None:
    for encoding in ("json", "msgpack"):
        error = (await desk.ask(method, encoding, **params))["error"]
        assert error["code"] == code
        assert names in error["message"]


async def test_a_notification_is_done_and_never_answered(desk: Desk) -> None:
    client = desk.client()
    said = {"client": "quiet", "topics": {}}
    await client.send(msgspec.json.encode({"jsonrpc": "2.0", "method": "subscribers.report", "params": said}))
    await client.send(msgspec.json.encode({"jsonrpc": "2.0", "method": "no.such"}))
    await client.send(b'{"jsonrpc":"2.0","id":1,"method":"bridge.status"}')
    answer = json.loads(await asyncio.wait_for(client.recv(), PATIENCE_S))
    assert answer["id"] == 1
    assert [one["client"] for one in answer["result"]["subscribers"]["clients"]] == ["quiet"]


RUBBISH = [
    b"", b"{", b"[]", b"null", b"7", b'"text"', b"\x80", b"\xc1", b"\xff" * 100, b"[" * 10_000,
    os.urandom(999),
    b'{"jsonrpc":"2.0","id":1}', b'{"jsonrpc":"1.0","id":1,"method":"bridge.status"}',
    b'{"jsonrpc":"2.0","id":[],"method":"bridge.status"}',
    b'{"jsonrpc":"2.0","id":1,"method":"bridge.status","params":[1]}',
    b'{"jsonrpc":"2.0","id":1,"method":"bridge.status","params":{"timeout_ms":1e400}}',
]  # fmt: skip


async def test_rubbish_harms_nobody(desk: Desk) -> None:
    rude = desk.client()
    for body in RUBBISH:
        await rude.send(body)
        await rude.send_multipart([b"", body])
        await rude.send_multipart([body, body, body])
        await rude.send_multipart([b"", b"", b"", b""])
    assert "result" in await desk.ask("bridge.status")
    answers = 0
    while await rude.poll(500):
        frames = await rude.recv_multipart()
        assert json_or_msgpack(frames[-1])["error"]["code"] in {-32700, -32600, -32601, -32602}
        answers += 1
    assert answers >= 2 * (len(RUBBISH) - 2)


def json_or_msgpack(body: bytes) -> dict:
    return json.loads(body) if body[:1] == b"{" else msgspec.msgpack.decode(body)


async def test_who_sends_too_much_is_cut_off_and_nobody_else(desk: Desk) -> None:
    rude = desk.client()
    await rude.send(b"x" * 10_000_000)
    half_open = [
        socket.create_connection(("127.0.0.1", urlsplit(desk.address).port), timeout=PATIENCE_S)
        for _ in range(200)
    ]
    assert "result" in await desk.ask("bridge.status")
    for one in half_open:
        one.close()
    assert "result" in await desk.ask("bridge.status")


async def test_who_never_reads_and_who_leaves_harms_nobody(desk: Desk) -> None:
    never = desk.context.socket(zmq.DEALER)
    never.setsockopt(zmq.RCVHWM, 1)
    never.setsockopt(zmq.RCVBUF, 4_096)
    never.connect(desk.address)
    for number in range(500):
        await never.send(b'{"jsonrpc":"2.0","id":%d,"method":"bridge.status"}' % number)
        if number % 50 == 0:
            leaving = desk.client()
            await leaving.send(b'{"jsonrpc":"2.0","id":1,"method":"bridge.status"}')
            leaving.close(linger=1_000)
    assert "result" in await desk.ask("bridge.status")


async def test_a_flood_leaves_the_recording_its_turns(desk: Desk) -> None:
    flooding = desk.client()
    for number in range(2_000):
        flooding.send(b'{"jsonrpc":"2.0","id":%d,"method":"bridge.status"}' % number)
    for number in range(1, 50):
        await desk.world.give(trade(number))
    assert desk.world.recording.report.trades == 49


async def test_what_is_in_use_is_refused_and_the_setting_is_named(desk: Desk) -> None:
    with pytest.raises(ControlRejected, match=r"cannot take control requests on tcp://.*control\.bind sets"):
        async with open_control(desk.address, object(), object()):
            pytest.fail("it was opened")
    with pytest.raises(ControlRejected, match="cannot take control requests on nonsense"):
        async with open_control("nonsense", object(), object()):
            pytest.fail("it was opened")
