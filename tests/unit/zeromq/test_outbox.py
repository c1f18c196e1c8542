"""What is kept for clients who do not take their answers is bounded; the socket does as it is told."""

from collections import deque
from types import SimpleNamespace

import pytest
import zmq

from binance_proxy.adapters.zeromq import outbox as module
from binance_proxy.adapters.zeromq.outbox import LARGE, ON_THE_WAY, STUCK_S, Change, Outbox

A, B = b"a", b"b"


class Router:
    """Takes messages for those who are there, as many as there is room for."""

    def __init__(self, **room: int) -> None:
        self.room = {name.encode(): places for name, places in room.items()}
        self.sent: list[list[bytes]] = []
        self.trackers: deque[SimpleNamespace] = deque()

    def send(self, frame: bytes, flags: int = 0, *, copy: bool = True, track: bool = False) -> object:
        if not self.sent or not self.more:
            if frame not in self.room:
                raise zmq.ZMQError(zmq.EHOSTUNREACH)
            if not self.room[frame]:
                raise zmq.Again
            self.room[frame] -= 1
            self.sent.append([])
        self.sent[-1].append(frame)
        self.more = bool(flags & zmq.SNDMORE)
        if track:
            assert not copy
            self.trackers.append(SimpleNamespace(done=False))
            return self.trackers[-1]
        return None


def test_a_message_goes_out_at_once_if_there_is_room():
    router = Router(a=1)
    box = Outbox(router)
    box.send(0, A, [b"", b"body", b"arrow"])
    assert router.sent == [[A, b"", b"body", b"arrow"]]
    assert box.changes() == Change()
    assert len(box) == 0


def test_what_a_client_does_not_take_waits_in_order():
    router = Router(a=1, b=1)
    box = Outbox(router)
    for body in (b"1", b"2", b"3"):
        box.send(0, A, [body])
    box.send(0, B, [b"other"])
    assert router.sent == [[A, b"1"], [B, b"other"]]
    assert box.changes() == Change(stuck=[A])
    router.room[A] = 1
    box.again(1)
    assert box.changes() == Change()
    router.room[A] = 5
    box.send(1, A, [b"4"])
    box.again(2)
    assert [message[1] for message in router.sent if message[0] == A] == [b"1", b"2", b"3", b"4"]
    assert box.changes() == Change(flowing=[A])
    assert len(box) == 0


def test_a_client_that_is_away_is_gone():
    box = Outbox(Router())
    box.send(0, A, [b"body"])
    assert box.changes() == Change(gone=[A])


def test_a_client_that_goes_away_while_something_waits_is_gone():
    router = Router(a=0)
    box = Outbox(router)
    box.send(0, A, [b"body"])
    del router.room[A]
    box.again(0)
    assert box.changes() == Change(stuck=[A], gone=[A])
    assert len(box) == 0


def test_a_client_that_takes_nothing_for_long_is_gone():
    router = Router(a=0)
    box = Outbox(router)
    box.send(0, A, [b"1"])
    box.send(0, A, [b"2"])
    router.room[A] = 1
    box.again(STUCK_S - 1)  # it takes one, and has all the time again
    box.again(2 * STUCK_S - 2)
    assert box.changes() == Change(stuck=[A])
    box.again(2 * STUCK_S - 1)
    assert box.changes() == Change(gone=[A])
    assert len(box) == 0


def test_who_has_too_many_answers_waiting_is_gone(monkeypatch):
    monkeypatch.setattr(module, "BOX_MESSAGES", 2)
    box = Outbox(Router(a=0))
    for _ in range(3):
        box.send(0, A, [b"x"])
    assert box.changes() == Change(stuck=[A], gone=[A])


def test_who_has_too_much_waiting_is_gone_but_one_answer_may_be_large(monkeypatch):
    monkeypatch.setattr(module, "BOX_BYTES", 10)
    box = Outbox(Router(a=0))
    box.send(0, A, [b"x" * 20])
    assert box.changes() == Change(stuck=[A])
    box.send(0, A, [b"x"])
    assert box.changes() == Change(gone=[A])


def test_what_waits_for_all_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "ALL_BYTES", 10)
    router = Router(a=0, b=0)
    box = Outbox(router)
    for client in (A, A, B, B):
        box.send(0, client, [b"1234"])
    assert box.changes() == Change(stuck=[A, B], gone=[B])
    router.room[A] = 2
    box.again(0)
    assert box.changes() == Change(flowing=[A])
    for _ in range(2):
        box.send(0, B, [b"1234"])
    assert box.changes() == Change(stuck=[B])


@pytest.mark.parametrize("frames", [1, 2])
def test_large_frames_are_counted_until_they_have_left(frames):
    router = Router(a=1_000)
    box = Outbox(router)
    message = [b"x" * (ON_THE_WAY // frames)] * frames
    assert len(message[0]) >= LARGE
    box.send(0, A, message)
    box.send(0, A, [b"next"])
    assert box.changes() == Change(stuck=[A])
    for tracker in router.trackers:
        box.again(1)
        assert len(router.sent) == 1 or frames > 1
        tracker.done = True
    box.again(2)
    assert router.sent[-1] == [A, b"next"]
    assert box.changes() == Change(flowing=[A])
    assert not box._on_the_way


def test_a_large_frame_may_be_a_view_of_somebody_elses_memory():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as client:
        client.setsockopt(zmq.IDENTITY, A)
        client.setsockopt(zmq.RCVTIMEO, 60_000)
        client.connect(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")
        client.send(b"here")
        router.recv_multipart()
        large = b"0123456789abcdef" * (LARGE // 8)
        Outbox(router).send(0, A, [b"", memoryview(large), b"arrow"])
        assert client.recv_multipart() == [b"", large, b"arrow"]
