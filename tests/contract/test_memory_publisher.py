"""The publisher in memory keeps the promises of its port."""

import pytest

from binance_proxy.adapters.memory.publisher import MemoryPublisher
from contract.publisher import Message, PublisherContract


class MemoryListener:
    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages

    async def receive(self, count: int) -> list[Message]:
        assert len(self.messages) >= count
        return [self.messages.pop(0) for _ in range(count)]

    async def received(self) -> list[Message]:
        return await self.receive(len(self.messages))


class MemoryWire:
    epoch = "e1"
    kept = 50

    def __init__(self) -> None:
        self.publisher = MemoryPublisher(self.epoch, kept=self.kept)

    @property
    def made(self) -> int:
        return self.publisher.made

    async def listen(self, *prefixes: str, holds: int | None = None) -> MemoryListener:
        return MemoryListener(self.publisher.listen(*prefixes, holds=holds))


class TestMemoryPublisher(PublisherContract):
    @pytest.fixture
    async def wire(self) -> MemoryWire:
        return MemoryWire()
