"""Connections to the sandbox live and die by Binance's rules."""

from contextlib import suppress

import aiohttp
import pytest

from sandboxed import Socket, opened, trade


async def test_a_ping_comes_and_a_client_that_answers_stays():
    async with opened(ping_s=0.02, pong_s=60.0, messages_per_second=1_000) as client:
        socket = await client.connect("/ws/btcusdt@trade")
        for _ in range(20):
            message = await socket.next()
            assert message.type is aiohttp.WSMsgType.PING
            assert message.data  # the pong has to have the same
            await socket.raw.pong(message.data)
        await client.feed.tell(trade(1))


async def test_a_client_that_does_not_answer_pings_is_closed():
    async with opened(ping_s=0.05, pong_s=0.2) as client:
        socket = await client.connect("/ws/btcusdt@trade")
        assert await socket.until_closed() == 1008


async def test_a_pong_with_another_payload_is_no_answer():
    async with opened(ping_s=0.05, pong_s=0.2, messages_per_second=1_000) as client:
        socket = await client.connect("/ws/btcusdt@trade")
        for _ in range(100):
            message = await socket.next()
            if message.type is not aiohttp.WSMsgType.PING:
                break
            await socket.raw.pong(b"another")
        assert message.type is aiohttp.WSMsgType.CLOSE


async def test_a_ping_of_the_client_is_answered():
    async with opened() as client:
        socket = await client.connect("/ws")
        await socket.raw.ping(b"are you there?")
        message = await socket.next()
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"are you there?")


@pytest.mark.parametrize("kind", ["json", "ping", "pong"])
async def test_the_sixth_message_within_a_second_closes(kind):
    async with opened() as client:
        socket = await client.connect("/ws")
        for _ in range(60):  # some six of them lie within a second, however slow this machine is
            with suppress(ConnectionError):
                match kind:
                    case "json":
                        await socket.raw.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
                    case "ping":
                        await socket.raw.ping()
                    case "pong":
                        await socket.raw.pong()
        assert await socket.until_closed() == 1008


async def test_at_most_1024_streams():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@trade")
        names = [f"coin{number}usdt@trade" for number in range(1_024)]
        answer = await socket.ask("SUBSCRIBE", names)
        assert answer["error"]["code"] == 2
        assert await socket.ask("LIST_SUBSCRIPTIONS") == {"result": ["btcusdt@trade"], "id": 1}
        assert (await socket.ask("SUBSCRIBE", names[1:]))["result"] is None


async def test_too_many_streams_in_the_address_close():
    async with opened(streams_per_connection=3) as client:
        socket = await client.connect("/ws/a@trade/b@trade/c@trade/d@trade")
        assert await socket.until_closed() == 1008


async def test_too_many_attempts_to_connect_are_refused():
    async with opened(connection_attempts=3) as client:
        for _ in range(3):
            await client.connect("/ws")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.connect("/ws")
        assert refused.value.status == 429


async def test_a_connection_is_told_of_its_end_and_then_closed():
    async with opened(lifetime_s=0.3, shutdown_notice_s=0.2) as client:
        raw, combined = await client.connect("/ws"), await client.connect("/stream")
        event = await raw.json()
        assert event["e"] == "serverShutdown"
        assert event["E"] > 0
        assert (await combined.json())["stream"] == "!serverShutdown"
        assert await raw.until_closed() == 1001


async def test_the_end_of_the_sandbox_is_announced():
    async with aiohttp.ClientSession() as http:
        async with opened() as client:
            socket = Socket(await http.ws_connect(f"{client.sandbox.stream_url}/stream"))
        assert (await socket.json())["stream"] == "!serverShutdown"
        assert await socket.until_closed() in {1001, None}


async def test_a_client_that_does_not_read_is_cut_off_and_nobody_else_is():
    async with opened(outbox=2_000) as client:
        deaf = await client.connect("/ws/btcusdt@trade")
        deaf.raw._response.connection.transport.pause_reading()
        other = await client.connect("/ws/btcusdt@trade")
        number = 0
        while (await client.get("/sandbox/status"))["connections"] == 2:
            await client.feed.tell(*(trade(number := number + 1) for _ in range(500)))
            assert (await other.jsons(500))[-1]["t"] == number
            assert number < 1_000_000
        await client.feed.tell(trade(number + 1))
        assert (await other.json())["t"] == number + 1


async def test_who_leaves_is_forgotten():
    async with opened() as client:
        socket = await client.connect("/ws/btcusdt@trade")
        await socket.ask("LIST_SUBSCRIPTIONS")
        status = await client.get("/sandbox/status")
        assert (status["connections"], status["symbols"]["BTCUSDT"]["subscribers"]) == (1, 1)
        await socket.raw.close()
        await client.nobody_is_connected()
        assert (await client.get("/sandbox/status"))["symbols"]["BTCUSDT"]["subscribers"] == 0
