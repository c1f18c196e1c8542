"""The spool's file: first in, first out, whole or set aside, whatever happened to it meanwhile."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from binance_proxy.adapters.spool import file as file_module
from binance_proxy.adapters.spool.file import SpoolFile
from binance_proxy.adapters.spool.tables import check_room, current_file, look
from binance_proxy.application.ports import StoredEvent, StoreFull, StoreRejected
from contract.market_store import quote, trade

NOW = 1_760_000_000_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SpoolFile]:
    spool = SpoolFile(tmp_path, limit_bytes=10**9)
    spool.open()
    yield spool
    spool.close()


@pytest.fixture(autouse=True)
def _one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "PORTION_BYTES", 1)


def batch(number: int, size: int = 20) -> list[StoredEvent]:
    return [trade(one) for one in range(number * size, (number + 1) * size)]


def emptied(file: SpoolFile) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    while portion := file.take():
        found += portion.events
        file.done(portion, NOW, len(portion.events))
    return found


def everything(batches: Sequence[int], size: int = 20) -> list[StoredEvent]:
    return [event for number in batches for event in batch(number, size)]


def test_batches_come_out_in_the_order_in_which_they_came(file: SpoolFile) -> None:
    for number in range(10):
        file.put(batch(number), NOW + number)
    assert emptied(file) == everything(range(10))
    assert file.is_empty
    assert file.take() is None


def test_many_small_batches_come_out_at_once(file: SpoolFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "PORTION_BYTES", 10**6)
    for number in range(10):
        file.put(batch(number), NOW)
    portion = file.take()
    assert portion is not None
    assert portion.events == everything(range(10))
    file.done(portion, NOW, 200)
    assert file.is_empty


def test_what_is_not_done_comes_again(file: SpoolFile) -> None:
    file.put(batch(1), NOW)
    assert file.take() == file.take()
    assert file.depth().waiting == 20


def test_what_waits_is_known_after_a_restart(file: SpoolFile, tmp_path: Path) -> None:
    file.put(batch(1), NOW)
    file.put(batch(2), NOW + 1)
    before = file.depth()
    file.close()
    again = SpoolFile(tmp_path, limit_bytes=10**9)
    again.open()
    assert again.depth().waiting == before.waiting == 40
    assert again.depth().size_bytes == before.size_bytes
    assert again.depth().oldest == NOW
    assert look(tmp_path) == (40, before.size_bytes, 0)
    again.put(batch(3), NOW + 2)
    assert emptied(again) == everything([1, 2, 3])
    again.close()


def test_numbers_rise_through_restarts_and_empty_times(file: SpoolFile, tmp_path: Path) -> None:
    numbers = []
    for _ in range(3):
        file.put(batch(1), NOW)
        portion = file.take()
        assert portion is not None
        numbers += portion.numbers
        file.done(portion, NOW, 20)
        file.close()
        file = SpoolFile(tmp_path, limit_bytes=10**9)
        file.open()
    file.close()
    assert numbers == [1, 2, 3]


def test_each_commit_waits_for_the_disk(file: SpoolFile) -> None:
    assert file._connection is not None
    [synchronous] = file._connection.execute("PRAGMA synchronous").fetchone()
    [mode] = file._connection.execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, mode) == (2, "wal")


@pytest.mark.parametrize("what", ["payload", "checksum", "ts", "events", "number"])
def test_a_batch_that_was_changed_is_set_aside_and_the_rest_goes_on(
    file: SpoolFile, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 6):
        file.put(batch(number), NOW)
    change = {
        "payload": "payload = zeroblob(length(payload))",
        "checksum": "checksum = x'00'",
        "ts": "ts = ts + 1",
        "events": "events = events - 1",
        "number": "number = 99",
    }[what]
    with closing(sqlite3.connect(current_file(tmp_path))) as other, other:
        other.execute(f"UPDATE batches SET {change} WHERE number = 3")
    found = emptied(file)
    assert found == everything([1, 2, 4, 5])
    assert file.depth().set_aside == (19 if what == "events" else 20)
    assert file.is_empty
    assert "its checksum does not match" in caplog.text
    with closing(sqlite3.connect(current_file(tmp_path))) as other:
        [(reason, payload)] = other.execute("SELECT reason, payload FROM damaged").fetchall()
        assert other.execute("SELECT count(*) FROM batches").fetchone() == (0,)
    assert f"batch {99 if what == 'number' else 3}" in reason
    assert payload


def test_bytes_of_another_make_are_set_aside(file: SpoolFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "pack", lambda _: b"\x95\x90\x90\x90\x90\xa1x")
    file.put(batch(1), NOW)
    monkeypatch.undo()
    file.put(batch(2), NOW)
    assert emptied(file) == batch(2)
    assert file.depth().set_aside == 20


def test_a_page_that_was_overwritten_costs_its_batches_and_no_others(
    file: SpoolFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20):
        file.put(batch(number, 2_000), NOW)
    file.close()
    path = current_file(tmp_path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 16_384 * 16_384
    content[middle : middle + 16_384] = b"\xa5" * 16_384
    path.write_bytes(content)
    again = SpoolFile(tmp_path, limit_bytes=10**9)
    again.open()
    found = emptied(again)
    whole = {number for number in range(20) if set(batch(number, 2_000)) <= set(found)}
    assert found == everything(sorted(whole), 2_000)
    assert 15 <= len(whole) < 20
    assert again.depth().set_aside == 2_000 * (20 - len(whole))
    assert "is damaged" in caplog.text or "damaged batch" in caplog.text
    again.put(batch(1), NOW)
    assert emptied(again) == batch(1)
    again.close()


def test_a_file_that_is_none_is_left_and_another_one_begun(tmp_path: Path) -> None:
    (tmp_path / "ticks.sqlite").write_bytes(b"nothing that SQLite knows" * 1_000)
    spool = SpoolFile(tmp_path, limit_bytes=10**9)
    spool.open()
    spool.put(batch(1), NOW)
    assert spool.path.name == "ticks-2.sqlite"
    assert (tmp_path / "ticks.sqlite").read_bytes().startswith(b"nothing")
    spool.close()
    again = SpoolFile(tmp_path, limit_bytes=10**9)
    again.open()
    assert emptied(again) == batch(1)
    again.close()


def test_a_file_of_a_newer_bridge_is_refused(file: SpoolFile, tmp_path: Path) -> None:
    file.close()
    with closing(sqlite3.connect(current_file(tmp_path))) as other, other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreRejected, match="newer bridge"):
        SpoolFile(tmp_path, limit_bytes=10**9).open()


def test_events_of_one_database_are_not_for_another(file: SpoolFile, tmp_path: Path) -> None:
    file.belong_to("one")
    file.put(batch(1), NOW)
    file.belong_to("one")
    with pytest.raises(StoreRejected, match=r"20 events wait in the spool .* for another database.* move"):
        file.belong_to("another")
    file.close()
    again = SpoolFile(tmp_path, limit_bytes=10**9)
    again.open()
    with pytest.raises(StoreRejected, match=str(tmp_path)):
        again.belong_to("another")
    again.belong_to("one")
    assert emptied(again) == batch(1)
    again.belong_to("another")
    again.put(batch(2), NOW)
    with pytest.raises(StoreRejected):
        again.belong_to("one")
    again.close()


def test_what_an_earlier_bridge_left_goes_to_the_first_database(file: SpoolFile, tmp_path: Path) -> None:
    file.put(batch(1), NOW)
    file.close()
    with closing(sqlite3.connect(current_file(tmp_path))) as other, other:
        other.execute("DROP TABLE owner")
    again = SpoolFile(tmp_path, limit_bytes=10**9)
    again.open()
    again.belong_to("one")
    with pytest.raises(StoreRejected):
        again.belong_to("another")
    assert emptied(again) == batch(1)
    again.close()


def test_what_is_saved_from_a_damaged_file_still_belongs_to_its_database(
    file: SpoolFile, tmp_path: Path
) -> None:
    file.belong_to("one")
    for number in range(20):
        file.put(batch(number, 2_000), NOW)
    file.close()
    path = current_file(tmp_path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 16_384 * 16_384
    content[middle : middle + 16_384] = b"\xa5" * 16_384
    path.write_bytes(content)
    again = SpoolFile(tmp_path, limit_bytes=10**9)
    again.open()
    taken = again.take()
    while again.path == path and taken:
        again.done(taken, NOW, len(taken.events))
        taken = again.take()
    assert again.path != path
    with pytest.raises(StoreRejected, match="another database"):
        again.belong_to("another")
    again.close()


def test_numbers_that_are_too_long_are_set_aside_as_text(file: SpoolFile, tmp_path: Path) -> None:
    file.put([trade(1), trade(2, price=2**80), quote(3, bids=((1, 2**90),)), trade(4)], NOW)
    assert emptied(file) == [trade(1), trade(4)]
    assert file.depth().set_aside == 2
    with closing(sqlite3.connect(current_file(tmp_path))) as other:
        [(events, payload)] = other.execute("SELECT events, payload FROM damaged").fetchall()
    assert events == 2
    assert str(2**80) in payload.decode()


def test_refused_events_are_kept_as_they_were(file: SpoolFile, tmp_path: Path) -> None:
    file.put(batch(1), NOW)
    portion = file.take()
    assert portion is not None
    file.done(portion, NOW, 18, portion.events[:2], "because")
    assert (file.depth().set_aside, file.depth().drained, file.depth().drained_new) == (2, 18, 18)
    with closing(sqlite3.connect(current_file(tmp_path))) as other:
        [(reason, payload)] = other.execute("SELECT reason, payload FROM damaged").fetchall()
    assert reason == "because"
    assert file_module.unpack(payload) == batch(1)[:2]


def test_the_limit_counts_what_waits_and_what_was_set_aside(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path, limit_bytes=2_000)
    spool.open()
    spool.put(batch(1), NOW)
    with pytest.raises(StoreFull, match="bring the database back"):  # noqa: PT012  which one, is the question
        for number in range(2, 9):
            spool.put(batch(number), NOW)
    assert spool.depth().size_bytes <= 2_000
    emptied(spool)
    spool.put(batch(1), NOW)
    spool.close()


def test_another_program_that_holds_the_file_is_named(
    file: SpoolFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.close()
    monkeypatch.setattr("binance_proxy.adapters.spool.tables.BUSY_S", 0.05)
    with closing(sqlite3.connect(current_file(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFull, match="held by another program"):
            file.put(batch(1), NOW)
    file.put(batch(1), NOW)
    assert emptied(file) == batch(1)


def test_an_emptied_file_gives_its_space_back(
    file: SpoolFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "SHRINK_FROM_BYTES", 100_000)
    for number in range(20):
        file.put(batch(number, 1_000), NOW)
    emptied(file)
    assert current_file(tmp_path).stat().st_size < 100_000
    file.put(batch(1), NOW)
    assert emptied(file) == batch(1)


def test_room_is_looked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    assert check_room(tmp_path / "not" / "yet") > 0
    assert list(tmp_path.iterdir()) == []
    assert look(tmp_path / "not" / "yet") == (0, 0, 0)
