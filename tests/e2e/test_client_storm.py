"""The client library against a real bridge: links are cut, the bridge is killed, book and trades are right.

`just storm-requests` plays these scenes for longer.
"""

from pathlib import Path

from storm import scenes


async def test_a_client_whose_link_is_cut_ten_times_has_every_trade_once_and_no_wrong_book(
    tmp_path: Path,
) -> None:
    outcome = await scenes.cut(tmp_path, 6.0, 10, 1, rate=1_000)
    assert outcome.wrong == []
    assert outcome.missed == []
    assert outcome.happened["messages dropped"] > 10
    assert outcome.breaks >= 4
    assert outcome.books > 100
    assert outcome.out_of_step > 2
    assert outcome.trades == outcome.stored > 500


async def test_a_bridge_that_is_killed_and_started_again_costs_its_clients_no_trade(tmp_path: Path) -> None:
    outcome = await scenes.restarts(tmp_path, 7.0, 4, 2, rate=150, kills=1)
    assert outcome.wrong == []
    assert outcome.missed == []
    assert outcome.happened["bridge killed"] == 1
    assert outcome.books > 50
    assert outcome.trades == outcome.stored > 100


async def test_without_a_request_side_a_client_says_what_it_missed(tmp_path: Path) -> None:
    outcome = await scenes.without_requests(tmp_path, 4.0, 6, 3)
    assert outcome.wrong == []
    assert outcome.missed
    assert outcome.told > 0
    assert outcome.books > 50
