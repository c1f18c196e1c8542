"""Frames that nobody in his right mind would send, by the thousand, at a real crew.

Requests are damaged, made of anything, or bytes at random, in either encoding; a raw connection says nonsense
to ZeroMQ itself now and then. Whatever is owed an answer gets one, in its own encoding, and no more comes.
"""

import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from binance_proxy.adapters.zeromq.rpc import Encoding, Request, encoding_of, read
from zeromq_crew import Office, call

BATCH = 200
METHODS = ("echo", "left", "refuse", "no.such", "large")
TEXTS = ("", "a", "id", "params", "method", "2.0", "\N{SNOWMAN}", "ETH/USDT", "a" * 300, "\x00", "NaN")
NUMBERS = (0, 1, -1, 7, 10_000, 2**31, 2**63, -(2**63), 2**64 - 1, 0.5, 1e308, float("nan"), float("inf"))
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48) + b"\x04" + bytes([len(READY)]) + READY


class Fuzz:
    """Bodies and whole messages from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._kinds: tuple[Callable[[], bytes], ...] = (
            self.valid,
            self.damaged,
            self.damaged,
            self.made,
            self.noise,
        )

    def body(self) -> bytes:
        return self.chance.choice(self._kinds)()

    def anything(self, depth: int = 0) -> Any:
        chance = self.chance
        kind = chance.randrange(9 if depth < 4 else 6)
        if kind < 2:
            return chance.choice(NUMBERS)
        if kind < 4:
            return chance.choice(TEXTS)
        if kind < 6:
            return chance.choice((None, True, False, b"bytes", 10**30))
        if kind < 7:
            return [self.anything(depth + 1) for _ in range(chance.randrange(4))]
        return {chance.choice(TEXTS): self.anything(depth + 1) for _ in range(chance.randrange(4))}

    def encoded(self, what: Any) -> bytes:
        encode = self.chance.choice((msgspec.json.encode, msgspec.msgpack.encode))
        with suppress(OverflowError):
            return encode(what)
        return msgspec.json.encode(what)

    def valid(self) -> bytes:
        chance = self.chance
        request = {"jsonrpc": "2.0", "method": chance.choice(METHODS), "params": {"a": chance.random()}}
        if chance.random() < 0.9:
            request["id"] = chance.choice((chance.randrange(10**6), "text", None))
        return self.encoded(request)

    def made(self) -> bytes:
        request = {name: self.anything() for name in ("jsonrpc", "id", "method", "params", "more")}
        for name, value in (("jsonrpc", "2.0"), ("id", 5), ("method", "echo"), ("params", {})):
            if self.chance.random() < 0.6:
                request[name] = value
            elif self.chance.random() < 0.2:
                del request[name]
        return self.encoded(request if self.chance.random() < 0.9 else self.anything())

    def damaged(self) -> bytes:
        chance = self.chance
        body = bytearray(self.valid() if chance.random() < 0.7 else self.made())
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(body) + 1)
            kind = chance.randrange(4)
            if kind == 0:
                body[at : at + 1] = bytes([chance.randrange(256)])
            elif kind == 1:
                del body[at : at + chance.randrange(1, 9)]
            elif kind == 2:
                body[at:at] = chance.randbytes(chance.randrange(1, 5))
            else:
                # Either within what can be nested or far beyond: the limit itself is the stack's, not ours.
                nested = chance.choice((b"[", b'{"a":', b"\x91", b"\x81\xa1a"))
                body[at:at] = nested * chance.choice((chance.randrange(100), 3_000))
        return bytes(body)

    def noise(self) -> bytes:
        return self.chance.randbytes(self.chance.randrange(60))

    def nonsense(self) -> bytes:
        """Return what is said on a raw connection."""
        chance = self.chance
        said = GREETING
        for _ in range(chance.randrange(4)):
            body = self.body()
            said += struct.pack("!BQ", chance.choice((2, 2, 3, 6)), len(body)) + body
        said = bytearray(said)
        for _ in range(chance.randrange(3)):
            said[chance.randrange(len(said))] = chance.randrange(256)
        return bytes(said[: chance.randrange(len(said))] if chance.random() < 0.3 else said)


def owed(body: bytes) -> bool:
    """Say whether something is owed an answer."""
    found = read(body, 10_000, 60_000)
    return found.wants_answer if isinstance(found, Request) else found is not None


def check(answer: bytes) -> int | None:
    """Return the code of an answer, which must be one."""
    decode = msgspec.json.decode if encoding_of(answer) is Encoding.JSON else msgspec.msgpack.decode
    said = decode(answer)
    assert said["jsonrpc"] == "2.0"
    assert said.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    return said["error"]["code"] if "error" in said else None


async def fuzz(
    office: Office, frames: int, seed: int, tell: Callable[[int], None] = lambda _: None
) -> Counter[int | None]:
    """Send so many frames; return how many answers had which code."""
    source = Fuzz(seed)
    host, port = office.address.removeprefix("tcp://").split(":")
    codes: Counter[int | None] = Counter()
    client, other = office.client(), office.client()
    for sent in range(0, frames, BATCH):
        bodies = [source.body() for _ in range(BATCH)]
        expected = Counter(encoding_of(body) for body in bodies if owed(body))
        for body in bodies:
            await client.send(body)
            if source.chance.random() < 0.02:  # and shapes that are nothing at all
                await client.socket.send_multipart([b"x"] * source.chance.randrange(2, 9))
        with suppress(OSError), socket.create_connection((host, int(port)), 10) as raw:
            raw.sendall(source.nonsense())
        came: Counter[Encoding] = Counter()
        for _ in range(expected.total()):
            (answer,) = await client.receive()
            came[encoding_of(answer)] += 1
            codes[check(answer)] += 1
        assert came == expected
        await other.send(call("echo", sent))
        assert json.loads((await other.receive())[0]) == {"jsonrpc": "2.0", "id": sent, "result": {}}
        tell(sent + BATCH)
    assert await client.hears_nothing()
    return codes
