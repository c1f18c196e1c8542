"""A proxy that speaks ZeroMQ: what is published passes through it, but for some messages, at random."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import zmq


class Dropper:
    """Forwards from a publisher to its subscribers, and subscriptions the other way."""

    def __init__(self, publisher: str, seed: int) -> None:
        self.publisher = publisher
        self.address = ""
        self.chance = 0.0
        """Of a message to vanish."""
        self.passed = self.dropped = 0
        self._chance = random.Random(seed)
        self._ended = threading.Event()

    @contextmanager
    def run(self) -> Iterator["Dropper"]:
        """Forward until the block ends; `address` is where to subscribe."""
        with zmq.Context() as context:
            front, back = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
            for socket in (front, back):
                for option in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):
                    socket.setsockopt(option, 0)
            back.setsockopt(zmq.RECONNECT_IVL, 20)
            back.connect(self.publisher)
            front.bind("tcp://127.0.0.1:0")
            self.address = front.getsockopt_string(zmq.LAST_ENDPOINT)
            thread = threading.Thread(target=self._forward, args=(front, back), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self._ended.set()
                thread.join(60)
                front.close()
                back.close()

    def _forward(self, front: zmq.Socket[bytes], back: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(front, zmq.POLLIN)
        poller.register(back, zmq.POLLIN)
        while not self._ended.is_set():
            for socket, _ in poller.poll(100):
                message = socket.recv_multipart()
                if socket is front:
                    back.send_multipart(message)
                elif self._chance.random() < self.chance:
                    self.dropped += 1
                else:
                    self.passed += 1
                    front.send_multipart(message)
