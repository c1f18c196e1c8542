"""A real crew: clients on sockets, a front and workers in processes that are killed."""

import asyncio
import json
import logging
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import zmq

from binance_proxy.adapters.zeromq.serving import LONGEST_PATH, ServeRejected, open_serving, private_folder
from binance_proxy.adapters.zeromq.settings import ServeSettings
from binance_proxy.adapters.zeromq.worker import open_worker
from zeromq_crew import (
    PATIENCE_S,
    PROGRAM,
    Office,
    alive,
    answer,
    call,
    children,
    eventually,
    fault_of,
    open_files,
    open_office,
    resident_kib,
)
from zeromq_fuzz import GREETING, fuzz
from zeromq_wire import free_addresses

LONG_MS = 50_000
"""A deadline that no test reaches."""


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with open_office() as opened:
        yield opened


def code_of(answer: dict[str, object]) -> int | None:
    error = answer.get("error")
    return error["code"] if isinstance(error, dict) else None


async def workers_of(office: Office) -> set[int]:
    """Return the processes that answer."""
    return children(office.serving.pid) - {office.report["pid"]}


def crew_of(office: Office) -> set[int]:
    return children(office.serving.pid) | {office.serving.pid}


# Asking


async def test_a_req_client_asks_one_thing_after_another(office):
    client = office.client(zmq.REQ)
    for at in range(20):
        assert await client.call("echo", at, a=at) == {"jsonrpc": "2.0", "id": at, "result": {"a": at}}


async def test_a_dealer_client_asks_many_things_at_once(office):
    client = office.client()
    for at in range(500):
        await client.send(call("echo", at, a=at))
    answers = await client.answers(500)
    assert {at: one["result"] for at, one in answers.items()} == {at: {"a": at} for at in range(500)}


async def test_a_dealer_client_may_leave_out_the_empty_frame(office):
    client = office.client()
    await client.socket.send(call("echo", 3, a=1))
    frames = await asyncio.wait_for(client.socket.recv_multipart(), PATIENCE_S)
    assert [json.loads(one)["id"] for one in frames] == [3]


async def test_messagepack_is_answered_in_messagepack(office):
    client = office.client(zmq.REQ)
    request = {"jsonrpc": "2.0", "id": "a", "method": "echo", "params": {"b": b"bytes"}}
    await client.send(msgspec.msgpack.encode(request))
    (answered,) = await client.receive()
    assert msgspec.msgpack.decode(answered) == {"jsonrpc": "2.0", "id": "a", "result": {"b": b"bytes"}}


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
async def test_more_frames_follow_the_body_as_they_are(office, kind):
    client = office.client(kind)
    await client.send(call("arrow", bytes=30_000_000))
    body, arrow = await client.receive()
    assert json.loads(body)["result"]["arrow"] == {"frame": 1, "rows": 30_000_000}
    assert arrow == b"A" * 30_000_000


async def test_a_notification_is_done_and_not_answered(office, tmp_path):
    client = office.client()
    note = {"jsonrpc": "2.0", "method": "note", "params": {"path": str(tmp_path / "note")}}
    await client.send(json.dumps(note).encode())
    await eventually((tmp_path / "note").exists)
    assert await client.hears_nothing()


async def test_errors_say_what_they_are(office):
    client = office.client(zmq.REQ)
    assert code_of(await client.call("no.such")) == -32601
    assert code_of(await client.call("sleep", s="long")) == -32602
    assert code_of(await client.call("fail")) == -32603
    assert code_of(await client.call("half")) == -32603
    refused = await client.call("refuse")
    assert refused["error"]["code"] == -32003
    assert refused["error"]["data"] == {"kind": "Away", "retry": True}
    assert code_of(await client.call("large", bytes=70_000_000)) == -32007


async def test_a_request_is_cancelled_at_its_deadline_and_its_slot_is_free(office):
    client = office.client()
    for at in range(50):
        await client.send(call("sleep", at, s=1_000, timeout_ms=100))
    assert {code_of(one) for one in (await client.answers(50)).values()} == {-32001}
    assert "result" in await client.call("echo", timeout_ms=LONG_MS)
    await office.reported(waiting=0, in_progress=0, clients=0, timed_out=50)


async def test_a_worker_knows_how_long_it_has(office):
    assert 0 < (await office.client().call("left", timeout_ms=LONG_MS))["result"] <= LONG_MS / 1_000


async def test_a_client_that_asks_too_much_is_told(office):
    async with open_office(queue=10, workers=1, at_once=1) as small:
        client = small.client()
        for at in range(30):
            await client.send(call("sleep", at, s=0.001, timeout_ms=LONG_MS))
        answers = await client.answers(30)
    codes = [code_of(one) for one in answers.values()]
    assert set(codes) == {None, -32002}
    assert codes.count(None) >= 11


# Fairness


async def test_a_client_that_asks_for_much_does_not_hold_up_another(office):
    greedy, modest = office.client(), office.client()
    for at in range(200):
        await greedy.send(call("sleep", at, s=1_000, timeout_ms=LONG_MS))
    await office.reported(in_progress=7, waiting=193)
    for at in range(20):
        assert "result" in await modest.call("echo", at, timeout_ms=LONG_MS)
    assert await greedy.hears_nothing()


async def test_two_clients_that_ask_for_much_get_the_same(office):
    first, second = office.client(), office.client()
    for at in range(400):
        for client in (first, second):
            await client.send(call("sleep", at, s=0.001, timeout_ms=LONG_MS))
    await first.answers(400)
    # When the first has everything, the second has nearly everything.
    assert len(await second.answers(400)) == 400
    assert (await office.reported(waiting=0))["failed"] == 0


# Those who die


async def test_a_worker_that_dies_is_replaced_and_another_answers(office, tmp_path):
    before = await workers_of(office)
    client = office.client()
    for at in range(8):
        await client.send(call("until", at, path=str(tmp_path / "go"), timeout_ms=LONG_MS))
    await office.reported(in_progress=7)
    os.kill(min(before), signal.SIGKILL)
    await office.reported(workers=2, workers_replaced=1)
    (tmp_path / "go").touch()
    assert {code_of(one) for one in (await client.answers(8)).values()} == {None}
    after = await workers_of(office)
    assert min(before) not in after
    assert len(after) == 2


async def test_what_kills_workers_fails_and_the_next_request_is_answered(office):
    client = office.client(zmq.REQ)
    for at in range(3):
        assert code_of(await client.call("die", at, timeout_ms=LONG_MS)) == -32008
        assert "result" in await client.call("echo", at, timeout_ms=LONG_MS)


async def test_a_worker_that_says_nothing_any_more_is_ended():
    async with open_office({"SILENT_S": 3.0}) as office:
        client = office.client()
        await client.send(call("stop", 1, timeout_ms=LONG_MS))
        await client.send(call("stop", 2, timeout_ms=200))
        answers = await client.answers(2)
        assert code_of(answers[1]) == -32008
        assert code_of(answers[2]) in {-32001, -32008}
        assert "result" in await client.call("echo", timeout_ms=LONG_MS)
        await office.reported(workers=2, in_progress=0, clients=0)


async def test_a_worker_that_does_not_stop_is_ended():
    async with open_office({"SILENT_S": 3.0}) as office:
        before = await workers_of(office)
        client = office.client()
        assert code_of(await client.call("stubborn", timeout_ms=100)) == -32001
        await office.reported(workers=2, in_progress=0, clients=0)
        assert await workers_of(office) != before


async def test_workers_killed_at_random_under_load_lose_no_request(office):
    """Every request is answered, or fails with a clear error, within its deadline."""
    chance = random.Random(6)
    clients = [office.client() for _ in range(4)]
    done = asyncio.Event()
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while not done.is_set():
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            if workers := sorted(await workers_of(office)):
                os.kill(chance.choice(workers), signal.SIGKILL)
                killed += 1

    killing = asyncio.create_task(kill())
    codes: list[int | None] = []
    loop = asyncio.get_running_loop()
    for _ in range(5):
        asked = loop.time()
        for client in clients:
            for at in range(60):
                await client.send(call("sleep", at, s=chance.uniform(0, 0.05), timeout_ms=LONG_MS))
        for client in clients:
            codes += [code_of(one) for one in (await client.answers(60)).values()]
        assert loop.time() - asked < LONG_MS / 1_000
    done.set()
    await killing
    assert killed > 5
    assert len(codes) == 5 * 4 * 60
    assert set(codes) <= {None, -32008}
    assert codes.count(None) > 0.8 * len(codes)
    await office.reported(workers=2, waiting=0, in_progress=0, clients=0)


async def test_a_front_that_dies_is_replaced(office):
    client = office.client(zmq.DEALER)
    before = crew_of(office)
    os.kill(office.report["pid"], signal.SIGKILL)
    await office.reported(workers=2, fronts_replaced=1)
    assert "result" in await client.call("echo", timeout_ms=LONG_MS)  # the client's own socket found it again
    assert crew_of(office) & before == {office.serving.pid}


async def test_a_crew_that_dies_is_replaced(office):
    before = crew_of(office)
    os.kill(office.serving.pid, signal.SIGKILL)
    await eventually(lambda: office.serving.pid not in before)
    await office.reported(workers=2, fronts_replaced=0)
    assert "result" in await office.client().call("echo", timeout_ms=LONG_MS)
    await eventually(lambda: not any(map(alive, before)))


async def test_nobody_is_left_at_the_end():
    async with open_office() as office:
        client = office.client()
        await client.send(call("stubborn", 1, timeout_ms=LONG_MS))
        await client.send(call("sleep", 2, s=1_000, timeout_ms=LONG_MS))
        await office.reported(in_progress=2)
        crew = crew_of(office)
        folder = Path(office.serving.workers_address.removeprefix("ipc://")).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(crew) == 4
    assert not any(map(alive, crew))
    assert not folder.exists()


async def test_those_who_still_wait_at_the_end_are_told():
    async with open_office() as office:
        client = office.client()
        await client.send(call("sleep", 1, s=1_000, timeout_ms=LONG_MS))
        await office.reported(in_progress=1)
        told = asyncio.create_task(client.receive())
        await asyncio.sleep(0)
        office.close, close = (lambda: None), office.close
    try:
        assert code_of(json.loads((await told)[0])) == -32003
    finally:
        close()


BRIDGE = """
import asyncio, sys
from zeromq_crew import open_office, children
async def main():
    async with open_office() as office:
        print(*children(office.serving.pid), office.serving.pid, flush=True)
        await asyncio.sleep(1000)
asyncio.run(main())
"""


async def test_a_bridge_that_is_killed_takes_everybody_with_it():
    bridge = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BRIDGE, stdout=subprocess.PIPE, env=_env()
    )
    crew = [int(word) for word in (await bridge.stdout.readline()).split()]
    assert len(crew) == 4
    assert all(map(alive, crew))
    bridge.kill()
    await bridge.wait()
    await eventually(lambda: not any(map(alive, crew)))


async def test_signals_of_a_terminal_do_not_reach_the_crew(office):
    for pid in crew_of(office):
        assert os.getsid(pid) == office.serving.pid
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, sign)
    before = crew_of(office)
    assert "result" in await office.client().call("echo", timeout_ms=LONG_MS)
    await office.reported(workers=2, workers_replaced=0, fronts_replaced=0)
    assert crew_of(office) == before


def _env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


# Bad input


async def test_other_frames_are_dropped(office):
    client = office.client()
    body = call("echo")
    for frames in (
        [b""],
        [b"", b"", body],
        [body, body],
        [b"x", body],
        [b"", body, b""],
        [body, b""],
        [b""] * 9,
    ):
        await client.socket.send_multipart(frames)
    assert "result" in await client.call("echo", timeout_ms=LONG_MS)
    assert await client.hears_nothing()
    await office.reported(misshapen=7)


async def test_a_frame_of_100_mb_cuts_off_who_sent_it_and_nobody_else(office):
    front = office.report["pid"]
    before = resident_kib(front)
    other = office.client(zmq.REQ)
    for _ in range(3):
        client = office.client(reconnect_ivl=60_000)
        await client.send(b"{" * 100_000_000)
        assert "result" in await other.call("echo", timeout_ms=LONG_MS)
        assert await client.hears_nothing()
        client.socket.close()
    assert resident_kib(front) < before + 50_000


async def test_a_message_without_an_end_does_not_use_up_the_memory():
    limit = 300 * 2**20
    frame = struct.pack("!BQ", 3, 1_000_000) + bytes(1_000_000)  # one of a message, and more follow

    def talk(host: str, port: int) -> int:
        with socket.create_connection((host, port), PATIENCE_S) as raw:
            raw.sendall(GREETING)
            for at in range(1_000):
                try:
                    raw.sendall(frame)
                except OSError:
                    return at
        return 1_000

    async with open_office({"MEMORY": limit}) as office:
        host, port = office.address.removeprefix("tcp://").split(":")
        assert await asyncio.to_thread(talk, host, int(port)) < 900
        assert "result" in await office.client().call("echo", timeout_ms=LONG_MS)
        await office.reported(workers=2)
        assert resident_kib(office.report["pid"]) < limit / 1_024 / 3


async def test_a_thousand_half_open_connections_harm_nobody(office):
    host, port = office.address.removeprefix("tcp://").split(":")
    pid = office.report["pid"]
    files = open_files(pid)
    opened = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(1_000)]
    try:
        for at, one in enumerate(opened):
            if at % 2:
                one.send(b"\xff\x00\x00\x00"[: at % 5])
        await eventually(lambda: open_files(pid) > files + 900)
        assert "result" in await office.client(zmq.REQ).call("echo", timeout_ms=LONG_MS)
        # None of them says what it is, so they are closed although their owners keep them.
        await eventually(lambda: open_files(pid) < files + 20)
    finally:
        for one in opened:
            one.close()


async def test_a_client_that_never_reads_costs_little_and_harms_nobody(office):
    front = office.report["pid"]
    deaf = office.client(rcvhwm=1, rcvbuf=4_096)
    for at in range(300):
        await deaf.send(call("large", at, bytes=5_000_000, timeout_ms=LONG_MS))
    await eventually(lambda: office.report["stuck"] == 1)
    before = resident_kib(front)
    other = office.client(zmq.REQ)
    for at in range(20):
        assert "result" in await other.call("echo", at, timeout_ms=LONG_MS)
    await office.reported(stuck=0, waiting=0, in_progress=0, clients=0)  # it has been dropped
    assert resident_kib(front) < before + 150_000


async def test_a_client_that_vanishes_leaves_nothing(office):
    for _ in range(5):
        client = office.client()
        for at in range(100):
            await client.send(call("sleep", at, s=0.01, timeout_ms=LONG_MS))
        await client.receive()
        client.socket.close()
    assert "result" in await office.client().call("echo", timeout_ms=LONG_MS)
    await office.reported(waiting=0, in_progress=0, clients=0)


async def test_nonsense_by_the_thousand_is_answered_or_met_with_silence(office):
    before = crew_of(office)
    codes = await fuzz(office, 5_000, seed=1)
    assert codes.keys() >= {None, -32700, -32600, -32601, -32602, -32003}
    await office.reported(waiting=0, in_progress=0, clients=0)
    assert crew_of(office) == before


# Where


async def test_an_address_that_is_in_use_is_refused_at_once():
    (address,) = free_addresses(1)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as other:
        other.bind(address)
        with pytest.raises(ServeRejected, match="is in use"):
            async with open_serving(ServeSettings(bind=address), PROGRAM, b"", print):
                pass


async def test_what_is_no_address_is_refused_at_once():
    with pytest.raises(ServeRejected, match="cannot take requests on tcp://nowhere:x"):
        async with open_serving(ServeSettings(bind="tcp://nowhere:x"), PROGRAM, b"", print):
            pass


async def test_a_worker_may_be_a_task_of_the_bridge():
    async with open_office(workers=0) as office:
        client = office.client()
        await client.send(call("pid", timeout_ms=LONG_MS))
        async with open_worker(office.serving.workers_address, b"inside", 2, answer, fault_of) as worker:
            working = asyncio.create_task(worker.run())
            assert json.loads((await client.receive())[0])["result"] == os.getpid()
            os.kill(office.report["pid"], signal.SIGKILL)
            await office.reported(workers=1, fronts_replaced=1)
            assert (await client.call("pid", timeout_ms=LONG_MS))["result"] == os.getpid()
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working


async def test_a_crew_that_cannot_start_is_tried_again(caplog):
    caplog.set_level(logging.WARNING)
    (address,) = free_addresses(1)
    async with open_serving(
        ServeSettings(bind=address), [sys.executable, "-c", "raise SystemExit(3)"], b"", print
    ):
        await eventually(lambda: len(caplog.records) >= 3)
    assert "status 3" in caplog.text


def test_the_folder_of_a_bridge_that_was_killed_is_removed_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import os, signal; from binance_proxy.adapters.zeromq.serving import private_folder;"
        "print(private_folder(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    left = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True).stdout
    left = Path(left.strip())
    (left / "live").touch()
    others = tmp_path / "bridge-sockets-mine", tmp_path / f"bridge-sockets-{os.getppid()}-abc"
    for other in others:
        other.mkdir()
    linked = tmp_path / left.name.replace("-sockets-", "-sockets-0")
    linked.symlink_to(others[0])
    mine = private_folder()
    assert not left.exists()
    assert Path(mine).stat().st_mode & 0o777 == 0o700
    assert all(one.exists() for one in (*others, linked))
    second = private_folder()
    assert Path(mine).exists()
    assert mine != second


def test_a_folder_for_sockets_has_a_path_that_is_short_enough(tmp_path, monkeypatch):
    far = tmp_path / ("x" * 90)
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    folder = private_folder()
    assert len(folder) < LONGEST_PATH - len("/workers")
    Path(folder).rmdir()
