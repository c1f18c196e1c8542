"""A short storm over the store: everything happens to the database, the disk and the bridge, nothing is lost.

`just storm-store` is the long one.
"""

from pathlib import Path

import asyncpg
import pytest

from binance_proxy.adapters.timescale.store import open_timescale
from storm.account import settle
from storm.havoc import havoc
from storm.plan import Plan
from storm.sent import block

A_GAP = """
INSERT INTO gaps SELECT instrument_id, 'trades', 1, 2, now(), now(), now(), 0, 'lost' FROM instruments LIMIT 1
"""
A_TRADE = """
INSERT INTO trades (ts_event, ts_recv, trade_id, price, size, instrument_id, aggressor, off_book)
SELECT ts_event - interval '40 minutes', 1, 1, 1, 1, instrument_id, 1, false FROM trades LIMIT 1
"""


async def test_whatever_happens_to_the_store_what_is_stored_is_what_was_sent(tmp_path: Path) -> None:
    plan = Plan(
        events=60_000, seed=6, stops=3, kills=2, cuts=1, terminations=1, holes=0, full=1, mounts=False
    )
    outcome = await havoc(tmp_path, plan)
    assert outcome.wrong == []
    assert outcome.account.equal == outcome.account.stored.total() == 60_000
    assert outcome.account.candles > 300
    assert outcome.happened["stopped"] + outcome.happened["stopped at once"] == 3
    assert outcome.happened["stopped at once"], "as in a crash"
    assert outcome.said["drained"] > outcome.said["drained_new"], (
        "a batch was stored, and handed on once more"
    )


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        ("DELETE FROM trades WHERE trade_id = (SELECT max(trade_id) FROM trades)", "1 TradeTick missing"),
        ("UPDATE quotes SET bid_sizes[1] = bid_sizes[1] + 1 WHERE ctid = '(0,1)'", "QuoteTick missing"),
        ("UPDATE trades SET ts_event = ts_event - interval '40 minutes' WHERE ctid = '(0,1)'", "missing"),
        ("UPDATE trades SET size = size + 1 WHERE ctid = '(0,1)'", "the view candles_1d"),
        (A_TRADE, " rows, "),
        (A_GAP, "1 gaps"),
    ],
)  # fmt: skip
async def test_the_account_finds_what_is_not_as_it_was_sent(
    database_url: str, tamper: str, said: str
) -> None:
    total = 2_000
    async with open_timescale(database_url) as store:
        await store.append(await block(1, 0, total))
    assert (await settle(database_url, 1, total, print)).wrong == []
    sql = await asyncpg.connect(database_url)
    await sql.execute(tamper)
    await sql.close()
    assert any(said in one for one in (await settle(database_url, 1, total, print)).wrong)
