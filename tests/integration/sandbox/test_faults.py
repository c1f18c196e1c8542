"""Every fault of the sandbox really happens when it is ordered or likely, and is counted."""

import asyncio
import json

import aiohttp
import pytest

from binance_proxy.sandbox.faults import Fault
from binance_proxy.sandbox.settings import Faults
from sandboxed import Socket, opened, quote, snapshot, trade

STREAM = "btcusdt@trade"


async def heard(client, socket: Socket, count: int, *, last: int) -> list[object]:
    """Have trades happen; return the ids in what comes up to the last one, `None` for broken JSON."""
    await client.feed.tell(*(trade(number) for number in range(1, count + 1)))
    ids: list[object] = []
    while not ids or ids[-1] != last:
        message = await socket.next()
        assert message.type is aiohttp.WSMsgType.TEXT
        try:
            ids.append(json.loads(message.data)["t"])
        except ValueError:
            ids.append(None)
    return ids


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        ("drop", [3, 4]),
        ("duplicate", [1, 1, 2, 2, 3, 4]),
        ("reorder", [2, 1, 3, 4]),
        ("corrupt", [None, None, 3, 4]),
    ],
)
async def test_a_fault_hits_the_next_frames_of_a_stream(fault, ids):
    async with opened() as client:
        socket = await client.connect(f"/ws/{STREAM}")
        await client.fault(fault, stream=STREAM, count=1 if fault == "reorder" else 2)
        assert await heard(client, socket, 4, last=4) == ids
        assert await client.fired(fault) == (1 if fault == "reorder" else 2)


async def test_a_delayed_frame_is_overtaken():
    async with opened(faults=Faults(delay_s=0.2)) as client:
        socket = await client.connect(f"/ws/{STREAM}")
        await client.fault("delay")
        assert await heard(client, socket, 4, last=1) == [2, 3, 4, 1]
        assert await client.fired("delay") == 1


async def test_a_fault_of_another_stream_hits_nobody():
    async with opened() as client:
        socket = await client.connect(f"/ws/{STREAM}")
        await client.fault("drop", stream="btcusdt@depth")
        assert await heard(client, socket, 3, last=3) == [1, 2, 3]
        assert await client.fired("drop") == 0


async def test_what_one_connection_lost_another_has():
    async with opened() as client:
        sockets = [await client.connect(f"/ws/{STREAM}") for _ in range(2)]
        await client.fault("drop", count=1)
        await client.feed.tell(trade(1), trade(2))
        firsts = [(await socket.json())["t"] for socket in sockets]
        assert sorted(firsts) == [1, 2]


@pytest.mark.parametrize("fault", ["drop", "duplicate", "delay", "reorder", "corrupt"])
async def test_frames_are_hit_by_chance(fault):
    async with opened(faults=Faults(delay_s=0.01, **{fault: 0.3})) as client:
        await client.connect(f"/ws/{STREAM}")
        await client.feed.tell(*(trade(number) for number in range(300)))
        fired = await client.fired(fault)
        assert 30 < fired < 150


async def test_the_same_seed_hits_the_same_frames():
    runs = []
    for _ in range(2):
        async with opened(faults=Faults(seed=7, drop=0.5)) as client:
            socket = await client.connect(f"/ws/{STREAM}")
            await client.feed.tell(*(trade(number) for number in range(1, 101)))
            await client.no_more_faults()
            runs.append(await heard(client, socket, 101, last=101))
    assert runs[0] == runs[1]
    assert 20 < len(runs[0]) - 101 < 80


async def test_cut_resets_the_connection():
    async with opened() as client:
        sockets = [await client.connect(path) for path in (f"/ws/{STREAM}", "/ws/btcusdt@depth")]
        assert await client.fault("cut", stream=STREAM) == {"connections": 1}
        assert await sockets[0].until_closed() in {None, 1006}
        assert (await sockets[1].ask("LIST_SUBSCRIPTIONS"))["result"]
        assert await client.fired("cut") == 1


async def test_freeze_keeps_the_connection_open_and_silent():
    async with opened() as client:
        socket = await client.connect(f"/ws/{STREAM}")
        await client.fault("freeze")
        await client.feed.tell(trade(1))
        await socket.raw.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await socket.raw.ping()
        with pytest.raises(TimeoutError):
            await socket.raw.receive(timeout=0.3)
        assert (await client.get("/sandbox/status"))["connections"] == 1
        assert await client.fired("freeze") == 1


async def test_a_frozen_connection_is_forgotten_once_the_client_gives_up():
    async with opened() as client:
        socket = await client.connect(f"/ws/{STREAM}")
        await client.fault("freeze")
        socket.raw._response.close()
        await client.nobody_is_connected()


async def test_shutdown_is_announced():
    async with opened() as client:
        socket = await client.connect(f"/ws/{STREAM}")
        await client.fault("shutdown")
        assert (await socket.json())["e"] == "serverShutdown"
        assert await socket.until_closed() == 1001
        assert await client.fired("shutdown") == 1


async def test_refuse_keeps_new_connections_out_until_it_is_over():
    async with opened() as client:
        socket = await client.connect(f"/ws/{STREAM}")
        await client.fault("refuse", seconds=600)
        with pytest.raises(aiohttp.ClientError):
            await client.connect("/ws")
        assert await client.fired("refuse") in {1, 2}  # aiohttp tries once more
        await client.no_more_faults()
        await client.connect("/ws")
        await client.feed.tell(trade(1))
        assert (await socket.json())["t"] == 1


@pytest.mark.parametrize("fault", ["cut", "freeze", "shutdown", "refuse", "ban"])
async def test_connections_are_hit_every_so_often(fault):
    async with opened(faults=Faults(**{f"{fault}_s": 0.02})) as client:
        while not await client.fired(fault):
            try:
                await client.connect("/ws")
            except aiohttp.ClientError:
                continue
            await client.ask("ping")
        await client.no_more_faults()
        before = await client.fired(fault)
        await asyncio.sleep(0.1)
        assert await client.fired(fault) == before


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("server_error", 500, -1000), ("throttle", 429, -1003), ("place", 451, 0), ("ban", 418, -1003)],
)
async def test_a_request_is_refused_so_many_times(fault, status, code):
    async with opened() as client:
        await client.fault(fault, **({"seconds": 600} if fault == "ban" else {"count": 1}))
        answered, headers, body = await client.ask("ping")
        assert (answered, body["code"]) == (status, code)
        assert ("Retry-After" in headers) == (status in {418, 429})
        assert await client.fired(fault) == 1
        await client.no_more_faults()
        assert await client.get("ping") == {}


async def test_a_fault_can_last_and_can_be_of_one_endpoint():
    async with opened() as client:
        await client.fault("server_error", seconds=600, endpoint="time")
        assert [(await client.ask("time"))[0] for _ in range(5)] == [500] * 5
        assert await client.get("ping") == {}


async def test_offline_gives_no_answer_at_all():
    async with opened() as client:
        await client.fault("offline", seconds=600)
        with pytest.raises(aiohttp.ClientError):
            await client.ask("ping")
        assert await client.fired("offline") >= 1


async def test_slow_answers_late():
    async with opened(faults=Faults(slow_s=0.2)) as client:
        loop = asyncio.get_running_loop()
        await client.fault("slow")
        began = loop.time()
        await client.get("ping")
        assert loop.time() - began >= 0.19
        assert await client.fired("slow") == 1


async def test_a_stale_snapshot_is_an_older_book():
    async with opened(snapshot(7), *(quote(number) for number in range(8, 1_008))) as client:
        await client.fault("stale_snapshot")
        await client.get("ping")
        old = (await client.get("depth", symbol="BTCUSDT"))["lastUpdateId"]
        assert 7 <= old <= 1_007 - 250
        assert (await client.get("depth", symbol="BTCUSDT"))["lastUpdateId"] == 1_007
        assert await client.fired("stale_snapshot") == 1


async def test_requests_are_hit_by_chance():
    async with opened(snapshot(7), faults=Faults(throttle=0.5, stale_snapshot=0.5)) as client:
        statuses = [(await client.ask("depth", symbol="BTCUSDT"))[0] for _ in range(60)]
        assert statuses.count(429) == await client.fired("throttle") > 5
        assert await client.fired("stale_snapshot") > 5


async def test_an_order_that_makes_no_sense_is_refused():
    async with opened() as client:
        for order in (
            {},
            {"fault": "nonesuch"},
            {"fault": "drop", "count": 0},
            {"fault": "drop", "often": 3},
        ):
            url = f"{client.sandbox.rest_url}/sandbox/faults"
            async with client.http.post(url, json=order) as answer:
                assert answer.status == 400


async def test_every_fault_has_a_counter():
    async with opened() as client:
        assert await client.get("/sandbox/faults") == {fault.value: 0 for fault in Fault}
