"""The programs on the pages about the client do what the pages say."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.publisher import ETH, SOL, candle, quote, snapshot, trade
from integration.client.test_requests import CANDLES
from served import Refused, publishing, serving
from zeromq_wire import free_addresses

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "docs/how-to/use-the-python-client.md", ROOT / "packages/client/README.md"]
FENCED = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = [
    (page.name, number, program)
    for page in PAGES
    for number, program in enumerate(FENCED.findall(page.read_text()))
]
DEADLINE_S = 60.0


def no_such(params: dict[str, object]) -> object:
    raise Refused(-32004, "NothingStored", f"{params['symbol']} was never recorded", retry=False)


@pytest.fixture
async def given() -> AsyncIterator[str]:
    """Run a bridge with two pairs, and yield what `Bridge` is given to find it."""
    json, msgpack, front_at = free_addresses(3)
    async with serving(front_at) as front, publishing(json, msgpack, epoch="e1") as venue:
        front.venue = venue
        front.answers |= {
            "candles.list": lambda _: {"rows": CANDLES, "next": None},
            "stats.spread": lambda _: {"spread_bps": 0.07},
            "instruments.get": no_such,
        }
        venue.publish(snapshot())

        async def publish() -> None:
            number = 0
            while True:
                number += 1
                for ahead, instrument in ((0, ETH), (10**6, SOL)):
                    venue.publish(trade(number + ahead, ts_event=number, instrument=instrument))
                venue.publish(candle())
                venue.publish(quote(7 + number * 3, bids=((304_000_000_000 + number, 5),)))
                venue.publish_status({"instruments": {ETH.name: "in step", SOL.name: "in step"}})
                await asyncio.sleep(0.02)

        publishing_all = asyncio.create_task(publish())
        yield f'Bridge(publish="{msgpack}", requests="{front_at}", control="")'
        publishing_all.cancel()


@pytest.mark.parametrize(("page", "number", "program"), PROGRAMS, ids=lambda value: str(value)[:30])
async def test_a_program_of_the_page_runs(
    page: str, number: int, program: str, given: str, tmp_path: Path
) -> None:
    assert "Bridge()" in program
    endless = page == "README.md"  # it goes on until it is interrupted
    file = tmp_path / "program.py"
    file.write_text(program.replace("Bridge()", given))
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-u", str(file), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            if endless:
                said = b"".join([await running.stdout.readline() for _ in range(3)])
                running.kill()
            else:
                said, _ = await running.communicate()
            status = await running.wait()
    finally:
        if running.returncode is None:
            running.kill()
    assert b"Traceback" not in said, said.decode()
    assert endless or status == 0, said.decode()
    assert len(said.splitlines()) >= 3
