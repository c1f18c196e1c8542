"""Requests to a real bridge while those are killed who answer them: right answers, or clear errors in time.

`just storm-requests` plays these scenes for longer.
"""

from pathlib import Path

from storm import scenes


async def test_workers_that_are_killed_cost_nobody_an_answer(tmp_path: Path) -> None:
    outcome = await scenes.workers(tmp_path, 5.0, 8, 1)
    assert outcome.wrong == []
    assert outcome.happened["worker killed"] >= 5
    assert outcome.under_way > 5
    assert sum(outcome.checked.values()) > 100


async def test_a_front_that_is_killed_breaks_connections_and_nothing_else(tmp_path: Path) -> None:
    outcome = await scenes.fronts(tmp_path, 5.0, 4, 2)
    assert outcome.wrong == []
    assert outcome.happened["front killed"] >= 1
    assert outcome.happened["crew killed"] == 1
    assert sum(outcome.checked.values()) > 100


async def test_nobody_notices_what_becomes_of_the_cache(tmp_path: Path) -> None:
    outcome = await scenes.cache(tmp_path, 5.0, 6, 3)
    assert outcome.wrong == []
    assert set(outcome.happened) == {"Valkey killed", "Valkey frozen", "Valkey filled"}
    assert sum(outcome.checked.values()) > 100


async def test_the_live_book_is_answered_while_the_database_is_stopped(tmp_path: Path) -> None:
    outcome = await scenes.database(tmp_path, 6.0, 1, 4, longest_s=5.0, clients=16)
    assert outcome.wrong == []
    assert outcome.happened["database stopped"] == 1
    assert outcome.errors["-32003"] > 10
    assert sum(outcome.checked.values()) > 100
