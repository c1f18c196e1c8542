"""A recording itself keeps the promises of the `Live` port; so does who asks it from another process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from binance_proxy.adapters.zeromq.live import open_live_socket, open_remote_live
from binance_proxy.application.ports import Live
from contract.live import PATIENCE_S, LiveContract, SlowHistory, World, recorded


@dataclass
class Asked:
    live: Live
    world: World


class TestLiveRecording(LiveContract):
    @pytest.fixture
    async def asked(self) -> AsyncIterator[Asked]:
        world = World(SlowHistory(self.HISTORY))
        async with recorded(world) as live:
            yield Asked(live, world)


class TestRemoteLive(LiveContract):
    @pytest.fixture
    async def asked(self) -> AsyncIterator[Asked]:
        world = World(SlowHistory(self.HISTORY))
        with TemporaryDirectory() as folder:  # a socket's path has to be short
            address = f"ipc://{Path(folder) / 'live'}"
            async with (
                recorded(world) as own,
                open_live_socket(own, address),
                open_remote_live(address, PATIENCE_S) as live,
            ):
                yield Asked(live, world)
