"""A network that speaks ZeroMQ: it hands on what is published, and loses messages at random."""

import random
import threading
from contextlib import suppress

import zmq


class Dropper:
    """Between a publisher and its subscribers. Use it as a context manager; it has a thread of its own."""

    def __init__(self, target: str, seed: int, chance: float = 0.0) -> None:
        self.chance = chance
        """Of a message of an instrument to be lost."""
        self.is_deaf = False
        """While it is, everything is lost."""
        self.passed = self.dropped = 0
        self._random = random.Random(seed)
        self._context = zmq.Context()
        self._in = self._context.socket(zmq.XSUB)
        self._out = self._context.socket(zmq.XPUB)
        self._out.setsockopt(zmq.XPUB_VERBOSER, 1)  # the bridge answers each subscription
        for one in (self._in, self._out):
            one.setsockopt(zmq.RCVHWM, 0)
            one.setsockopt(zmq.SNDHWM, 0)
            one.setsockopt(zmq.LINGER, 0)
        self._in.setsockopt(zmq.RECONNECT_IVL, 20)
        port = self._out.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{port}"
        self._in.connect(target)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Dropper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._in, zmq.POLLIN)
        poller.register(self._out, zmq.POLLIN)
        while not self._ended.is_set():
            for one, _ in poller.poll(100):
                with suppress(zmq.Again):
                    for _ in range(500):
                        message = one.recv_multipart(zmq.NOBLOCK)
                        if one is self._out:
                            self._in.send_multipart(message)
                        elif self._loses(message[0]):
                            self.dropped += 1
                        else:
                            self.passed += 1
                            self._out.send_multipart(message)

    def _loses(self, topic: bytes) -> bool:
        return self.is_deaf or (not topic.startswith(b"bridge.") and self._random.random() < self.chance)
