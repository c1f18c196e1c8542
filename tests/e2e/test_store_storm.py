"""A short storm over the store: everything happens to the database, the disk and the bridge, nothing is lost.

`just storm-store` is the long one.
"""

from pathlib import Path

from storm.havoc import havoc
from storm.plan import Plan


async def test_whatever_happens_to_the_store_what_is_stored_is_what_was_sent(tmp_path: Path) -> None:
    plan = Plan(
        events=60_000, seed=1, stops=3, kills=2, cuts=1, terminations=1, holes=0, full=1, mounts=False
    )
    outcome = await havoc(tmp_path, plan)
    assert outcome.wrong == []
    assert outcome.account.equal == outcome.account.stored.total() == 60_000
    assert outcome.account.candles > 300
    assert outcome.said["drained"] > outcome.said["drained_new"], (
        "a batch was stored, and handed on once more"
    )
